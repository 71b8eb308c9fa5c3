//! What flows through the engine: a [`Sequence`] of ids with what is [`Want`]ed
//! of it goes in, an [`Output`] or an [`ItemFault`] comes out, one for one and
//! in order. Items of one batch never change one another's numbers beyond
//! floating-point noise.

use std::sync::Arc;

use crate::{
    spans::SpanScores,
    task::{Pooling, Role},
};

/// Token ids ready for the model: special tokens in place, cut to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Vocabulary ids.
    pub ids: Vec<u32>,
    /// Segment of each id; empty means all zero.
    pub type_ids: Vec<u32>,
    /// Whether text was cut to fit.
    pub truncated: bool,
    /// What the text is for: it picks the route through a model that has one a role.
    pub role: Option<Role>,
    /// Tokens at the start that are a prompt's, special tokens among them. A folder may leave them out of its pooling.
    pub prompt_tokens: usize,
    /// Tokens at the end that query expansion added.
    pub expansion: usize,
    /// Where labels and words stand in it, where labels came with the text.
    pub places: Option<Arc<WordPlaces>>,
}

/// Where the labels and the words of a text stand in a sequence that has both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordPlaces {
    /// Place of the token that each label is read from, ascending.
    pub labels: Vec<u32>,
    /// The words, in order.
    pub words: Vec<WordPlace>,
}

/// A word of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordPlace {
    /// Place of the token that it is read from.
    pub token: u32,
    /// Its first byte in the text.
    pub start: usize,
    /// The byte behind its last.
    pub end: usize,
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

/// How a dense vector is made, where a caller wants it otherwise than the folder says. The default is the folder's way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbedSpec {
    /// Pooling in the place of the folder's.
    pub pooling: Option<Pooling>,
    /// `true`: the vector is scaled to length 1, last of all. `false`: it is not, whatever the folder ends with.
    pub normalize: Option<bool>,
    /// Keep only the first so many dimensions. Where the folder ends with Normalize, the cut comes before it.
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
    /// One vector a token: those of a late-interaction model, or the token states of an embedding model.
    TokenEmbeddings,
    /// One logit per stretch of words and label, or three per word and label.
    SpanScores,
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
            Want::TokenEmbeddings => "token vectors",
            Want::SpanScores => "scores of labels that come with a text",
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
    /// One vector a token that counts.
    TokenEmbeddings(TokenVectors),
    /// Scores of a text's stretches or words against its labels.
    SpanScores(SpanScores),
}

/// Vectors of the tokens of one text. Tokens that the model leaves out, for example those on its skip list, have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenVectors {
    /// Numbers in a vector.
    pub dimensions: usize,
    /// Row-major (tokens × dimensions).
    pub values: Vec<f32>,
    /// Place of each vector's token in its sequence, ascending.
    pub tokens: Vec<u32>,
}

impl TokenVectors {
    /// The vectors, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions.max(1))
    }
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
