//! What scores labels that come with each request: what stands on an encoder in place of a head, and which tensors hold its
//! numbers.

use super::parts::Linear;

/// Scores words, or stretches of words, against labels whose tokens stand before the text.
#[derive(Clone, Debug)]
pub(crate) struct Tagger {
    /// Width of the vectors of labels and words.
    pub(crate) width: usize,
    /// From the encoder's width, where that is another.
    pub(crate) projection: Option<Linear>,
    /// Layers of LSTMs over the words of each text.
    pub(crate) recurrent: Vec<BothWays>,
    pub(crate) scorer: TagScorer,
}

impl Tagger {
    /// Numbers of a pair of a word and a label that a run has at once, where words are scored; 0 elsewhere.
    pub(crate) fn pair_numbers(&self) -> usize {
        match &self.scorer {
            TagScorer::Spans { .. } => 0,
            // What is met, twice, and its two parts; then the inner state and what is added to it.
            TagScorer::Words { joined, .. } => 3 * self.width + 4 * joined.up.to(),
        }
    }
}

/// Two LSTMs over the same words, from the first to the last and from the last to the first; what both give stands side by side.
#[derive(Clone, Debug)]
pub(crate) struct BothWays {
    pub(crate) forward: Lstm,
    pub(crate) backward: Lstm,
}

/// An LSTM. Rows of its products are the gates in, forget, new and out, each as wide as its state.
#[derive(Clone, Debug)]
pub(crate) struct Lstm {
    /// Of what it reads.
    pub(crate) read: Linear,
    /// Of its state a step before.
    pub(crate) before: Linear,
    /// Numbers in its state.
    pub(crate) size: usize,
}

/// Two products, the first of which is followed by ReLU.
#[derive(Clone, Debug)]
pub(crate) struct TwoProducts {
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

/// What is scored, and by what.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one")]
pub(crate) enum TagScorer {
    /// A stretch of up to `longest` words: ReLU over its first word's vector and its last's, side by side, then `joined`;
    /// times the label's vector.
    Spans { longest: usize, first: TwoProducts, last: TwoProducts, joined: TwoProducts, label: TwoProducts },
    /// A word: both halves of what `word` and `label` give are met, the first side by side and the second multiplied; `joined`
    /// makes three scores of all three.
    Words { word: Linear, label: Linear, joined: TwoProducts },
}
