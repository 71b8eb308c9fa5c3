//! Texts whose labels come with them: each label behind a token of its own, then a token that ends them, then the text word by
//! word.
//!
//! ```text
//! [CLS] <label> person <label> north star <end> Ada lives in Paris . [SEP]
//! ```
//!
//! A word is what Python's `\w+(?:[-_]\w+)*|\S` finds, where a letter or digit is a character of one of Unicode's categories L and N;
//! Rust's own `\w` has marks and joiners too. Each word, and each label, becomes tokens by itself, as `tokenizers` does it with
//! texts that are split already. A word of which the tokenizer leaves nothing is no word: it has no vector.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use regex::Regex;

use super::{EncodeOptions, Tokenizer, Truncation, TruncationSide, piece::Stop};
use crate::{
    error::{InputError, LoadError},
    folder::TaggerFolder,
    item::{Sequence, WordPlace, WordPlaces},
};

/// Most labels of a request: ten times what such models are trained with.
pub const MAX_LABELS: usize = 256;

/// Longest label: a sentence.
pub const MAX_LABEL_BYTES: usize = 512;

/// How labels and words stand in a sequence, and which tokens they are read from.
#[derive(Clone, Debug)]
pub(super) struct LabelRules {
    /// Token before each label.
    marker: u32,
    /// Tokens behind the last.
    end: Vec<u32>,
    /// A label is read from the token behind its marker.
    reads_label: bool,
    /// A word is read from its last token.
    reads_last: bool,
    most_words: usize,
}

/// The labels of a request, tokenized once for all of its texts. Belongs to the [`Tokenizer`] that made them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LabelPrompt {
    ids: Arc<[u32]>,
    /// Token of each label among them.
    places: Arc<[u32]>,
    labels: Arc<[String]>,
}

impl LabelPrompt {
    /// Its tokens, those of the template not counted.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The labels in the order of scores: each once.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }
}

impl Tokenizer {
    /// Reads labels that come with texts as `folder` says.
    ///
    /// # Errors
    /// Where the tokenizer has not the tokens that the folder names.
    pub(crate) fn with_labels(mut self, folder: &TaggerFolder) -> Result<Self, LoadError> {
        let bad = |why: String| LoadError::invalid(folder.path(), why);
        let (label, end) = (&folder.label_token, &folder.end_token);
        let Some(marker) = self.token_id(label) else {
            return Err(bad(format!("ent_token {label:?} is no token of tokenizer.json")));
        };
        if let Some(id) = folder.label_id.filter(|&id| id != marker) {
            return Err(bad(format!("class_token_index is {id}, but ent_token {label:?} is token {marker}")));
        }
        if words(label).count() < 2 {
            return Err(bad(format!("ent_token {label:?} is a word that a text may hold")));
        }
        if self.template.is_none() {
            return Err(bad(
                "the special tokens of tokenizer.json depend on the text, which is not served here".to_owned()
            ));
        }
        let ids =
            |text: &str| self.word_ids(text, Stop::NOWHERE, &EncodeOptions::default()).map_err(|e| bad(e.to_string()));
        if ids(label)? != [marker] {
            return Err(bad(format!("ent_token {label:?} is not read as one token")));
        }
        let end = ids(end)?;
        if end.is_empty() || end.contains(&marker) {
            return Err(bad(format!("sep_token {:?} is not read as tokens of its own", folder.end_token)));
        }
        self.labelled = Some(Arc::new(LabelRules {
            marker,
            end,
            reads_label: folder.reads_label,
            reads_last: folder.reads_last,
            most_words: folder.most_words,
        }));
        Ok(self)
    }

    /// The labels of a request; one that is named twice counts once, as with the package.
    ///
    /// # Errors
    /// [`InputError::BadOption`] for no labels, too many, too long ones, and ones without a token or with a special one.
    pub fn label_prompt(&self, labels: &[String]) -> Result<LabelPrompt, InputError> {
        let bad = |why: String| InputError::BadOption { option: "labels", why };
        let rules = self.labelled.as_ref().ok_or_else(|| bad("the model has labels of its own".to_owned()))?;
        if labels.is_empty() || labels.len() > MAX_LABELS {
            let why = format!("there are {}, not from 1 to {MAX_LABELS}: the model finds what they name", labels.len());
            return Err(bad(why));
        }
        let (mut ids, mut places, mut kept) = (Vec::new(), Vec::new(), Vec::<String>::new());
        for (at, label) in labels.iter().enumerate() {
            if label.len() > MAX_LABEL_BYTES {
                return Err(bad(format!("label {at} has {} bytes, at most {MAX_LABEL_BYTES} are taken", label.len())));
            }
            if kept.contains(label) {
                continue;
            }
            let own = self.word_ids(label, Stop::NOWHERE, &EncodeOptions::default())?;
            if own.is_empty() {
                return Err(bad(format!("label {at} has no token")));
            }
            let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
            if own.iter().any(|id| *id == rules.marker || added.get(id).is_some_and(|token| token.special)) {
                return Err(bad(format!("label {at} holds a special token of the model")));
            }
            places.push((ids.len() + usize::from(rules.reads_label)) as u32);
            ids.push(rules.marker);
            ids.extend(own);
            kept.push(label.clone());
        }
        ids.extend(&rules.end);
        Ok(LabelPrompt { ids: ids.into(), places: places.into(), labels: kept.into() })
    }

    /// A text behind its labels.
    ///
    /// A text that is too long, in words or in tokens, is refused unless `options` name what to cut: whole words at its end are,
    /// and [`Sequence::truncated`] says so. A text without words has none in its places.
    ///
    /// # Errors
    /// [`InputError::TooManyWords`], [`InputError::TooLong`], [`InputError::BadMaxLength`], [`InputError::BadOption`],
    /// [`InputError::Tokenizer`].
    pub fn encode_labelled(
        &self,
        prompt: &LabelPrompt,
        text: &str,
        options: &EncodeOptions,
    ) -> Result<Sequence, InputError> {
        let bad = |option, why: &str| InputError::BadOption { option, why: why.to_owned() };
        let (Some(rules), Some(template)) = (&self.labelled, &self.template) else {
            return Err(bad("labels", "the model has labels of its own"));
        };
        if options.side == Some(TruncationSide::Left) {
            return Err(bad("options.truncation_side", "a text behind its labels loses its end"));
        }
        let cuts = options.truncation != Truncation::Error;
        let limit = self.limit(options, template.specials(false))?;
        let taken = template.specials(false) + prompt.tokens();
        if taken >= limit {
            return Err(bad(
                "labels",
                &format!("they take {taken} tokens of {limit}, which leaves no room for a text"),
            ));
        }
        let room = limit - template.specials(false);
        let before = template.before_single();
        let mut ids = prompt.ids.to_vec();
        let mut places =
            WordPlaces { labels: prompt.places.iter().map(|place| place + before as u32).collect(), words: Vec::new() };
        let mut truncated = false;
        let mut tokens = ids.len();
        for (at, word) in words(text).enumerate() {
            if at == rules.most_words || truncated {
                truncated = true;
                break;
            }
            let own = self.word_ids(&text[word.clone()], Stop::at(limit + 1, TruncationSide::Right), options)?;
            tokens += own.len();
            if tokens > room {
                truncated = cuts;
                continue;
            }
            let Some(last) = own.len().checked_sub(1) else { continue };
            let token = before + ids.len() + if rules.reads_last { last } else { 0 };
            places.words.push(WordPlace { token: token as u32, start: word.start, end: word.end });
            ids.extend(own);
        }
        if truncated && !cuts {
            return Err(InputError::TooManyWords { words: words(text).count(), limit: rules.most_words });
        }
        if tokens > room && !cuts {
            return Err(InputError::TooLong { tokens: tokens + limit - room, limit });
        }
        let (ids, type_ids) = template.assemble(&ids, None);
        Ok(Sequence { places: Some(Arc::new(places)), ..self.sequence(ids, type_ids, truncated) })
    }

    /// Whether labels come with its texts.
    #[must_use]
    pub fn reads_labels(&self) -> bool {
        self.labelled.is_some()
    }

    /// Tokens of a word or a label.
    fn word_ids(&self, word: &str, stop: Stop, options: &EncodeOptions) -> Result<Vec<u32>, InputError> {
        Ok(self.piece(word, stop, self.form(0), false, options)?.ids)
    }
}

/// The words of a text, by their bytes.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    static WORD: OnceLock<Result<Regex, regex::Error>> = OnceLock::new();
    // Python's spaces are Unicode's and four separators of ASCII.
    let word = WORD.get_or_init(|| Regex::new(r"[\p{L}\p{N}_]+(?:[-_][\p{L}\p{N}_]+)*|[^\s\x1c-\x1f]"));
    word.as_ref().into_iter().flat_map(move |word| word.find_iter(text)).map(|found| found.range())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_pythons() {
        for (text, want) in [
            ("Old-York, b_o-b@acme", vec!["Old-York", ",", "b_o-b", "@", "acme"]),
            ("-a- a--b __", vec!["-", "a", "-", "a", "-", "-", "b", "__"]),
            ("one\x1ctwo\u{a0}three\u{200b}", vec!["one", "two", "three", "\u{200b}"]),
            // A vowel sign is no letter to Python.
            ("नमस्ते x²", vec!["नमस", "्", "त", "े", "x²"]),
            (" \t\n", vec![]),
        ] {
            let got: Vec<&str> = words(text).map(|word| &text[word]).collect();
            assert_eq!(got, want, "{text:?}");
        }
    }
}
