//! What flows through the engine: a [`Sequence`] of ids with what is [`Want`]ed
//! of it goes in, an [`Output`] or an [`ItemFault`] comes out, one for one and
//! in order. Items of one batch never change one another's numbers beyond
//! floating-point noise.

use crate::task::Pooling;

/// Token ids ready for the model: special tokens in place, cut to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Vocabulary ids.
    pub ids: Vec<u32>,
    /// Segment of each id; empty means all zero.
    pub type_ids: Vec<u32>,
    /// Whether text was cut to fit.
    pub truncated: bool,
}

impl Sequence {
    /// Number of tokens, specials included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True when there is no token at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Segment of token `i`.
    #[must_use]
    pub fn type_id(&self, i: usize) -> u32 {
        self.type_ids.get(i).copied().unwrap_or(0)
    }
}

/// How a dense vector is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbedSpec {
    /// How token states become one vector.
    pub pooling: Pooling,
    /// Whether the vector is scaled to length 1, last of all.
    pub normalize: bool,
    /// Keep only the first so many dimensions, before normalising.
    pub dimensions: Option<usize>,
}

/// What is wanted of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// One raw logit per label.
    Logits,
    /// One raw logit per token and label.
    TokenLogits,
    /// One dense vector.
    Embedding(EmbedSpec),
    /// One sparse vector over the vocabulary.
    Sparse,
}

impl Want {
    /// For messages: "this model does not give …".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Want::Logits => "label scores",
            Want::TokenLogits => "token labels",
            Want::Embedding(_) => "dense vectors",
            Want::Sparse => "sparse vectors",
        }
    }
}

/// A unit of work.
#[derive(Clone, Debug)]
pub struct WorkItem {
    /// The tokens.
    pub sequence: Sequence,
    /// What to compute.
    pub want: Want,
}

/// What came of one item. All numbers are finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// One raw logit per label.
    Logits(Vec<f32>),
    /// Row-major (tokens × labels) raw logits, special tokens included.
    TokenLogits(Vec<f32>),
    /// A dense vector.
    Embedding(Vec<f32>),
    /// (vocabulary id, weight > 0), ids ascending.
    Sparse(Vec<(u32, f32)>),
}

/// Why one item has no output; its batch-mates have theirs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ItemFault {
    /// An output was infinite or not a number.
    #[error("the model gave a number that is not finite; try bf16 or f32 weights")]
    NonFinite,
    /// The sequence does not suit this model, for example an id outside the vocabulary.
    #[error("{0}")]
    BadSequence(String),
    /// The model cannot give what was wanted.
    #[error("this model does not give {0}")]
    WrongWant(&'static str),
    /// The run failed as a whole, for this item and whatever ran with it.
    #[error("the run failed: {0}")]
    Run(String),
}
