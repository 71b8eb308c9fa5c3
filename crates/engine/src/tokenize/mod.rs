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
mod law;
mod piece;
mod query;
mod reading;
mod script;
mod template;
#[cfg(test)]
mod tests;
mod truncate;
mod windows;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;

pub use self::{
    detail::{TokenDetail, TokenizedText},
    fast::{TextCounts, TokenizerPath},
    file::VOCABULARIES,
    query::Query,
    windows::{MAX_WINDOWS, Passage, WindowScore, Windows, mean_of_windows},
};
use self::{
    fast::Fast,
    piece::{Piece, contained},
    reading::Readings,
    template::Template,
    truncate::Kept,
};
pub(crate) use self::{
    file::{Baked, TokenizerSpec},
    reading::{Filler, Reading, StaticRules},
};
use crate::{entities::WordRules, error::InputError, item::Sequence, task::Role};

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

/// Which end of a text that is too long stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TruncationSide {
    /// The beginning of a text is cut off: its end stays. The whole text is tokenized for it.
    Left,
    /// The end of a text is cut off.
    Right,
}

/// How a sequence is made to fit, and how its texts are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// What gives way.
    pub truncation: Truncation,
    /// Longest sequence in tokens, specials included; the model's own where `None`.
    pub max_length: Option<usize>,
    /// Where a text is cut; as the folder says where `None`.
    pub side: Option<TruncationSide>,
    /// What the text is for. Models with a route, a marker or a length of its own for queries or documents read it so.
    pub role: Option<Role>,
    /// Special tokens that a text spells out (`[SEP]`, `<s>`) are read as plain text, so that a text cannot change the
    /// frame it is put into.
    pub plain: bool,
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
    /// Where texts are cut where a caller does not say.
    side: TruncationSide,
    /// The same tokenizer, to which special tokens in a text are plain text; made when first asked for.
    plain: Arc<OnceLock<tokenizers::Tokenizer>>,
    /// The prompt that was counted last, how, and its tokens: all texts of a job have the same.
    counted: Arc<Mutex<Option<(String, EncodeOptions, usize)>>>,
    /// How texts of no role, queries and documents are read; `None` where all are read alike.
    readings: Option<Arc<Readings>>,
    /// Set where texts are read as model2vec reads them.
    static_rules: Option<StaticRules>,
    /// What tells the pieces of a word.
    words: WordRules,
    /// The model is not told segments.
    one_segment: bool,
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

    /// Where texts are cut where a caller does not say.
    #[must_use]
    pub fn truncation_side(&self) -> TruncationSide {
        self.side
    }

    /// Id of a token of the vocabulary.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Median number of characters in a token of the vocabulary, as model2vec counts it.
    pub(crate) fn median_token_length(&self) -> usize {
        let mut lengths: Vec<usize> = self.inner.get_vocab(true).keys().map(|token| token.chars().count()).collect();
        lengths.sort_unstable();
        let middle = |at: usize| lengths.get(at).copied().unwrap_or(1);
        match lengths.len() {
            0 => 1,
            n if n % 2 == 1 => middle(n / 2),
            n => (middle(n / 2 - 1) + middle(n / 2)) / 2,
        }
    }

    /// What tells the pieces of a word, for [`entities`](crate::entities).
    #[must_use]
    pub fn word_rules(&self) -> WordRules {
        self.words
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
        let (reader, rule) = self.reading(options)?;
        if let Some(rules) = reader.static_rules {
            return reader.static_ids(text, options, rules);
        }
        let limit = reader.limit_of(options, rule, reader.specials(false))?;
        let stop = reader.stop(text, options.truncation == Truncation::Error, limit, options);
        let piece = reader.piece(text, stop, reader.form(0), false, options)?;
        let sequence = reader.join(&piece, None, limit, options)?;
        Ok(reading::finished(sequence, rule, options.role))
    }

    /// A single text after a prompt. The sequence says how many of its tokens are the prompt's, so that a folder can
    /// leave them out of its pooling.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_after(&self, prompt: &str, text: &str, options: &EncodeOptions) -> Result<Sequence, InputError> {
        let mut sequence = if options.plain {
            self.encode_split(prompt, text, options)?
        } else {
            self.encode(&format!("{prompt}{text}"), options)?
        };
        sequence.prompt_tokens = self.prompt_tokens(prompt, options)?;
        Ok(sequence)
    }

    /// A plain text after a prompt whose special tokens stay special: the text joins what stands behind the last of them.
    fn encode_split(&self, prompt: &str, text: &str, options: &EncodeOptions) -> Result<Sequence, InputError> {
        let (reader, rule) = self.reading(options)?;
        let head = reader.special_end(prompt)?;
        if head == 0 || reader.static_rules.is_some() {
            return self.encode(&format!("{prompt}{text}"), options);
        }
        let limit = reader.limit_of(options, rule, reader.specials(false))?;
        let form = reader.form(0);
        let frame = EncodeOptions { plain: false, ..*options };
        let first = reader.piece(&prompt[..head], usize::MAX, form, false, &frame)?;
        let rest = format!("{}{text}", &prompt[head..]);
        let stop = reader.stop(&rest, options.truncation == Truncation::Error, limit, options);
        let piece = first.before(reader.piece(&rest, stop, form, false, options)?);
        let sequence = reader.join(&piece, None, limit, options)?;
        Ok(reading::finished(sequence, rule, options.role))
    }

    /// Where the last special token that `text` spells out ends; 0 where there is none.
    fn special_end(&self, text: &str) -> Result<usize, InputError> {
        let piece = self.piece(
            text,
            usize::MAX,
            piece::SessionShape::Encoding { segment: 0 },
            false,
            &EncodeOptions::default(),
        )?;
        let Some(encoding) = &piece.encoding else { return Ok(0) };
        let places = encoding.get_ids().iter().zip(encoding.get_offsets());
        let ends = places.filter(|&(&id, _)| self.is_special(id)).map(|(_, &(_, end))| text.floor_char_boundary(end));
        Ok(ends.max().unwrap_or(0))
    }

    /// Tokens of a prompt on its own, the special tokens before it among them: the count of sentence-transformers, which
    /// does not look at where the text begins.
    fn prompt_tokens(&self, prompt: &str, options: &EncodeOptions) -> Result<usize, InputError> {
        if prompt.is_empty() {
            return Ok(0);
        }
        // A prompt is the folder's or the operator's: its special tokens are special whatever the text's are.
        let alone = EncodeOptions { truncation: Truncation::LongestFirst, max_length: None, plain: false, ..*options };
        if let Some((counted, how, tokens)) = &*self.counted.lock()
            && counted == prompt
            && *how == alone
        {
            return Ok(*tokens);
        }
        let sequence = self.encode(prompt, &alone)?;
        let own = &sequence.ids[..sequence.len() - sequence.expansion];
        let last_is_special = own.last().is_some_and(|&id| self.is_special(id));
        let tokens = own.len() - usize::from(last_is_special);
        *self.counted.lock() = Some((prompt.to_owned(), alone, tokens));
        Ok(tokens)
    }

    /// Whether an id is a special token's.
    fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary();
        added.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
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

    /// Ready ids, used as they are: special tokens, markers and what fills a query up in place. They are never cut,
    /// whatever `options.truncation` says. Empty `type_ids` means all zero. The route and the limit are those of the role.
    ///
    /// # Errors
    /// [`InputError::BadIds`] for no ids, another number of type ids or a type id the model has no segment for;
    /// [`InputError::BadId`] for an id outside the model's table; [`InputError::TooLong`]; [`InputError::BadMaxLength`].
    pub fn from_ids(&self, ids: Vec<u32>, type_ids: Vec<u32>, options: &EncodeOptions) -> Result<Sequence, InputError> {
        let (reader, rule) = self.reading(options)?;
        let limit = reader.own_limit(options, rule, 0)?;
        if ids.is_empty() {
            return Err(InputError::BadIds("there are no token ids".to_owned()));
        }
        if !type_ids.is_empty() && type_ids.len() != ids.len() {
            return Err(InputError::BadIds(format!("{} token ids, but {} type ids", ids.len(), type_ids.len())));
        }
        if ids.len() > limit {
            return Err(InputError::TooLong { tokens: ids.len(), limit });
        }
        reader.check_ids(&ids)?;
        if let Some((at, id)) = type_ids.iter().enumerate().find(|&(_, &id)| id as usize >= self.type_vocab) {
            return Err(InputError::BadIds(format!(
                "type id {id} at place {at} is outside the {} segments of the model",
                self.type_vocab
            )));
        }
        let filler = rule.and_then(|rule| rule.filler);
        let expansion = filler.map_or(0, |f| ids.iter().rev().take_while(|&&id| id == f.id).count());
        Ok(Sequence { role: options.role, expansion, ..sequence(ids, type_ids, false) })
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
    fn stop(&self, text: &str, must_fit: bool, limit: usize, options: &EncodeOptions) -> usize {
        // The end of a text is known only once all of it was read.
        let whole = self.side_of(options) == TruncationSide::Left;
        if whole || (must_fit && text.len() <= guard::COUNTED_BYTES) { usize::MAX } else { limit }
    }

    fn side_of(&self, options: &EncodeOptions) -> TruncationSide {
        options.side.unwrap_or(self.side)
    }

    /// The tokenizer that reads texts as plain text, special tokens too.
    fn plain(&self) -> &tokenizers::Tokenizer {
        self.plain.get_or_init(|| {
            let mut plain = (*self.inner).clone();
            plain.set_encode_special_tokens(true);
            plain
        })
    }

    /// What a piece must carry: encodings only where the post-processor will ask for them.
    fn form(&self, segment: u32) -> piece::SessionShape {
        if self.template.is_some() { piece::SessionShape::Ids } else { piece::SessionShape::Encoding { segment } }
    }

    /// Tokens of `text` without specials, the first `stop` of them at least; with `words`, up to the end of the word
    /// that reaches `stop`.
    fn piece(
        &self,
        text: &str,
        stop: usize,
        form: piece::SessionShape,
        words: bool,
        options: &EncodeOptions,
    ) -> Result<Piece, InputError> {
        #[cfg(feature = "timed")]
        if self.counting {
            let (ids, more) = crate::timed::first_ids(text, stop);
            return Ok(Piece { ids, more, encoding: None });
        }
        if options.plain {
            return contained(|| Piece::of_text(self.plain(), text, stop, form));
        }
        if let (Ok(fast), piece::SessionShape::Ids) = (&self.fast, form)
            && let Some(piece) = fast.piece(text, stop, words)
        {
            return Ok(piece);
        }
        contained(|| Piece::of_text(&self.inner, text, stop, form))
    }

    /// Cuts the pieces to `limit` and puts the specials in place.
    fn join(
        &self,
        a: &Piece,
        b: Option<&Piece>,
        limit: usize,
        options: &EncodeOptions,
    ) -> Result<Sequence, InputError> {
        let kept = truncate::fit(a, b, limit, self.specials(b.is_some()), options.truncation)?;
        let kept = Kept { left: self.side_of(options) == TruncationSide::Left, ..kept };
        let Some(template) = &self.template else {
            let encoding = contained(|| template::processed(&self.inner, a, b, &kept, true))?;
            if encoding.len() > limit {
                return Err(InputError::TooLong { tokens: encoding.len(), limit });
            }
            let (ids, type_ids) = (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec());
            return Ok(self.sequence(ids, type_ids, kept.truncated));
        };
        let (ids, type_ids) = template.assemble(kept.of(&a.ids, kept.first), b.map(|b| kept.of(&b.ids, kept.second)));
        Ok(self.sequence(ids, type_ids, kept.truncated))
    }

    /// What the tokenizer made, in the segments that the model is told.
    fn sequence(&self, ids: Vec<u32>, type_ids: Vec<u32>, truncated: bool) -> Sequence {
        sequence(ids, if self.one_segment { Vec::new() } else { type_ids }, truncated)
    }
}

/// A [`Sequence`] in its short form: type ids that are all zero are left out.
fn sequence(ids: Vec<u32>, mut type_ids: Vec<u32>, truncated: bool) -> Sequence {
    if type_ids.iter().all(|&id| id == 0) {
        type_ids = Vec::new();
    }
    Sequence { ids, type_ids, truncated, ..Sequence::default() }
}
