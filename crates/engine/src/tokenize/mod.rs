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

mod chat;
mod class;
mod decode;
mod detail;
mod encode;
mod fast;
mod file;
mod guard;
mod labels;
mod load;
mod options;
mod piece;
mod prompt;
mod query;
mod reading;
mod script;
mod self_check;
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

use self::{chat::Chat, fast::Fast, labels::LabelRules, reading::Readings, template::Template};
pub(crate) use self::{
    class::special_text,
    load::{Baked, TokenizerSpec},
    reading::{Filler, Reading, StaticRules},
};
pub use self::{
    detail::{TokenDetail, TokenizedText},
    fast::{TextCounts, TokenizerPath},
    file::VOCABULARIES,
    labels::{LabelPrompt, MAX_LABEL_BYTES, MAX_LABELS},
    options::{EncodeOptions, Truncation, TruncationSide},
    query::Query,
    windows::{MAX_WINDOWS, Passage, WindowPlan, WindowScore, Windows, mean_of_windows},
};
use crate::entities::WordRules;

/// Segments a model is taken to have until [`Tokenizer::with_type_vocab`] says otherwise: BERT's two.
const DEFAULT_TYPE_VOCAB: usize = 2;

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
    /// Set where pairs are put into a chat template.
    chat: Option<Arc<Chat>>,
    /// Set where labels come with each text.
    labelled: Option<Arc<LabelRules>>,
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
}
