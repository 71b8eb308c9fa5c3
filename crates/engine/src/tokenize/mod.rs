//! Text to token ids, special tokens in place, cut to fit.
//!
//! The `tokenizers` crate is the reference: whatever this module returns equals
//! what that crate's `encode` and truncation give. Ids alone come from a faster
//! one where it is proven to give the same ([`fast`]). What is ours is the order of
//! work. A query becomes ids once a job ([`Query`]), each document alone, and the
//! file's *template* (`[CLS] a [SEP] b [SEP]` and the like) is worked out once at
//! load and filled in by copying ids:
//!
//! ```text
//! single = prefix + a + suffix          pair = prefix + a + middle + b + suffix
//! ```
//!
//! Where the file's post-processor does not fit that form, or a self-check at
//! load disagrees, every sequence goes through the post-processor itself
//! ([`Tokenizer::template_is_derived`] tells). Padding and truncation baked into
//! the file are ignored. Nothing here depends on batch-mates or on
//! `TOKENIZERS_PARALLELISM`, and no text makes it panic.

mod detail;
mod fast;
mod file;
mod guard;
mod piece;
mod query;
mod template;
#[cfg(test)]
mod tests;
mod truncate;

use std::{fmt, sync::Arc};

pub use self::{
    detail::{TokenDetail, Tokenized},
    fast::{TextCounts, TokenizerPath},
    query::Query,
};
use self::{
    fast::Fast,
    piece::{Piece, contained},
    template::Template,
};
use crate::{error::InputError, item::Sequence};

/// Segments a model is taken to have until [`Tokenizer::with_type_vocab`] says otherwise: BERT's two.
const DEFAULT_TYPE_VOCAB: usize = 2;

/// What gives way when a sequence is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncation {
    /// The end of the second text of a pair, or of a single text. The first text
    /// of a pair (the query) is never cut.
    #[default]
    DocumentOnly,
    /// The ends of both texts, the longer first: the `longest_first` of `tokenizers`.
    LongestFirst,
    /// Nothing: too long is [`InputError::TooLong`].
    Error,
}

/// How a sequence is made to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// What gives way.
    pub truncation: Truncation,
    /// Longest sequence in tokens, specials included; the model's own where `None`.
    pub max_length: Option<usize>,
}

/// Makes sequences for one model. Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// Makes ids where nothing else is asked for, or why it does not.
    fast: Result<Fast, Arc<str>>,
    /// `None` where the post-processor does not fit the form.
    template: Option<Template>,
    max_length: usize,
    /// Rows of the embedding table: the ids a sequence may hold.
    model_vocab: usize,
    /// Rows of the segment table.
    type_vocab: usize,
    pad_id: Option<u32>,
    /// Counts bytes instead of tokenizing.
    #[cfg(feature = "timed")]
    counting: bool,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("max_length", &self.max_length)
            .field("pad_id", &self.pad_id)
            .field("template", &self.template)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Longest sequence in tokens, specials included.
    #[must_use]
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Entries of the file's vocabulary, added tokens included. It may be smaller than the model's table.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Id that fills padded places: the file's padding section says, else a `[PAD]` or `<pad>` token.
    #[must_use]
    pub fn pad_id(&self) -> Option<u32> {
        self.pad_id
    }

    /// Whether specials are placed by the template worked out at load rather than by the post-processor each time.
    #[must_use]
    pub fn template_is_derived(&self) -> bool {
        self.template.is_some()
    }

    /// Which way its texts go.
    #[must_use]
    pub fn path(&self) -> TokenizerPath {
        match &self.fast {
            Ok(_) => TokenizerPath::Fast,
            Err(why) => TokenizerPath::Reference { why: why.to_string() },
        }
    }

    /// Texts by the way they went since it was loaded; all zero where there is no fast path. Clones count together.
    #[must_use]
    pub fn text_counts(&self) -> TextCounts {
        self.fast.as_ref().map_or_else(|_| TextCounts::default(), Fast::counts)
    }

    /// Tells how many segments the model knows (`type_vocab_size`), for [`Tokenizer::from_ids`]. Two unless told.
    #[must_use]
    pub fn with_type_vocab(mut self, rows: usize) -> Self {
        self.type_vocab = rows.max(1);
        self
    }

    /// A single text.
    ///
    /// # Errors
    /// [`InputError::TooLong`] with [`Truncation::Error`], [`InputError::BadMaxLength`], [`InputError::Tokenizer`].
    pub fn encode(&self, text: &str, options: &EncodeOptions) -> Result<Sequence, InputError> {
        let limit = self.limit(options, self.specials(false))?;
        let stop = self.stop(text, options.truncation == Truncation::Error, limit);
        let piece = self.piece(text, stop, self.form(0), false)?;
        self.join(&piece, None, limit, options.truncation)
    }

    /// Two texts in one sequence.
    ///
    /// An empty second text is valid even where the first fills the whole length.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and [`InputError::QueryTooLong`] where the first text must not be cut and alone leaves
    /// no room for the second.
    pub fn encode_pair(&self, a: &str, b: &str, options: &EncodeOptions) -> Result<Sequence, InputError> {
        let query = self.first_text(a, options)?;
        self.encode_with(&query, b)
    }

    /// Ready ids, used as they are: special tokens in place. They are never cut,
    /// whatever `options.truncation` says. Empty `type_ids` means all zero.
    ///
    /// # Errors
    /// [`InputError::BadIds`] for no ids, another number of type ids or a type id the model has no segment for;
    /// [`InputError::BadId`] for an id outside the model's table; [`InputError::TooLong`]; [`InputError::BadMaxLength`].
    pub fn from_ids(&self, ids: Vec<u32>, type_ids: Vec<u32>, options: &EncodeOptions) -> Result<Sequence, InputError> {
        let limit = self.limit(options, 0)?;
        if ids.is_empty() {
            return Err(InputError::BadIds("there are no token ids".to_owned()));
        }
        if !type_ids.is_empty() && type_ids.len() != ids.len() {
            return Err(InputError::BadIds(format!("{} token ids, but {} type ids", ids.len(), type_ids.len())));
        }
        if ids.len() > limit {
            return Err(InputError::TooLong { tokens: ids.len(), limit });
        }
        self.check_ids(&ids)?;
        if let Some((at, id)) = type_ids.iter().enumerate().find(|&(_, &id)| id as usize >= self.type_vocab) {
            return Err(InputError::BadIds(format!(
                "type id {id} at place {at} is outside the {} segments of the model",
                self.type_vocab
            )));
        }
        Ok(sequence(ids, type_ids, false))
    }

    /// Checks that the model has a row for each id.
    fn check_ids(&self, ids: &[u32]) -> Result<(), InputError> {
        match ids.iter().enumerate().find(|&(_, &id)| id as usize >= self.model_vocab) {
            Some((at, &id)) => Err(InputError::BadId { id, at, vocab: self.model_vocab }),
            None => Ok(()),
        }
    }

    /// Longest sequence for a call, which must hold `specials` and one token more.
    fn limit(&self, options: &EncodeOptions, specials: usize) -> Result<usize, InputError> {
        let limit = options.max_length.unwrap_or(self.max_length);
        let least = specials + 1;
        if limit < least || limit > self.max_length {
            return Err(InputError::BadMaxLength { asked: limit, least, most: self.max_length });
        }
        Ok(limit)
    }

    /// Special tokens the template adds.
    fn specials(&self, pair: bool) -> usize {
        match &self.template {
            Some(template) => template.specials(pair),
            None => template::added(&self.inner, pair),
        }
    }

    /// Where tokenizing may stop. A text that must fit is counted whole, so that the error can say how long it is;
    /// one beyond [`guard::COUNTED_BYTES`] only until it is known not to fit.
    fn stop(&self, text: &str, must_fit: bool, limit: usize) -> usize {
        if must_fit && text.len() <= guard::COUNTED_BYTES { usize::MAX } else { limit }
    }

    /// What a piece must carry: encodings only where the post-processor will ask for them.
    fn form(&self, segment: u32) -> piece::Form {
        if self.template.is_some() { piece::Form::Ids } else { piece::Form::Encoding { segment } }
    }

    /// Tokens of `text` without specials, the first `stop` of them at least; with `words`, up to the end of the word
    /// that reaches `stop`.
    fn piece(&self, text: &str, stop: usize, form: piece::Form, words: bool) -> Result<Piece, InputError> {
        #[cfg(feature = "timed")]
        if self.counting {
            let (ids, more) = crate::timed::first_ids(text, stop);
            return Ok(Piece { ids, more, encoding: None });
        }
        if let (Ok(fast), piece::Form::Ids) = (&self.fast, form)
            && let Some(piece) = fast.piece(text, stop, words)
        {
            return Ok(piece);
        }
        contained(|| Piece::of_text(&self.inner, text, stop, form))
    }

    /// Cuts the pieces to `limit` and puts the specials in place.
    fn join(&self, a: &Piece, b: Option<&Piece>, limit: usize, rule: Truncation) -> Result<Sequence, InputError> {
        let kept = truncate::fit(a, b, limit, self.specials(b.is_some()), rule)?;
        let Some(template) = &self.template else {
            let encoding = contained(|| template::processed(&self.inner, a, b, &kept, true))?;
            if encoding.len() > limit {
                return Err(InputError::TooLong { tokens: encoding.len(), limit });
            }
            let (ids, type_ids) = (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec());
            return Ok(sequence(ids, type_ids, kept.truncated));
        };
        let (ids, type_ids) = template.assemble(&a.ids[..kept.first], b.map(|b| &b.ids[..kept.second]));
        Ok(sequence(ids, type_ids, kept.truncated))
    }
}

/// A [`Sequence`] in its short form: type ids that are all zero are left out.
fn sequence(ids: Vec<u32>, mut type_ids: Vec<u32>, truncated: bool) -> Sequence {
    if type_ids.iter().all(|&id| id == 0) {
        type_ids = Vec::new();
    }
    Sequence { ids, type_ids, truncated }
}
