//! How a sequence is made to fit, and how its texts are read.

#[cfg(doc)]
use crate::error::InputError;
use crate::task::Role;

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
