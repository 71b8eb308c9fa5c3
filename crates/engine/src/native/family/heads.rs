//! What a family's heads are made of.

use super::parts::{Linear, Norm, Pointwise, Taken, TensorRows};

/// What a family's heads are made of. A head that it has none of is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heads {
    pub(crate) sequence: Option<SequenceHead>,
    pub(crate) tokens: Option<Classifier>,
    pub(crate) vocabulary: Option<VocabularyHead>,
    /// Of a causal language model: tensor (vocabulary × hidden) that gives the logits of the token to come, without a bias.
    pub(crate) causal: Option<String>,
}

/// Logits of a sequence.
#[derive(Clone, Debug)]
pub(crate) struct SequenceHead {
    pub(crate) reads: Reads,
    pub(crate) classifier: Classifier,
}

/// What of a sequence its classifier reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    First,
    /// The last token that is not the pad: transformers looks for it by its id, also where a text ends in it.
    Last {
        pad: Option<u32>,
    },
    /// The mean of its states.
    Mean,
    /// Every token; the mean is of the logits.
    EachLogit,
}

/// Steps, and the product that gives the logits: one a label.
#[derive(Clone, Debug)]
pub(crate) struct Classifier {
    pub(crate) steps: Vec<HeadStep>,
    /// Name of the last product's tensors, without `.weight` and `.bias`.
    pub(crate) out: String,
    pub(crate) has_bias: bool,
}

/// A step of a head.
#[derive(Clone, Debug)]
pub(crate) enum HeadStep {
    Linear(Linear),
    Act(Pointwise),
    Norm(Norm),
}

/// Logits over the vocabulary.
#[derive(Clone, Debug)]
pub(crate) struct VocabularyHead {
    /// What states go through first.
    pub(crate) transform: Option<Transform>,
    /// Tensor of the last product; the word table where it is not stored.
    pub(crate) decoder: String,
    /// Its bias, under the first of these names that is stored; none where no name is given.
    pub(crate) biases: Vec<String>,
}

/// The step of a masked-LM head before its last product.
#[derive(Clone, Debug)]
pub(crate) struct Transform {
    pub(crate) dense: Linear,
    pub(crate) act: Pointwise,
    pub(crate) norm: Norm,
}

impl Classifier {
    /// The product that gives logits of states of `width`.
    pub(crate) fn last(&self, width: usize, labels: usize) -> Linear {
        let rows = |end: &str| TensorRows { name: format!("{}.{end}", self.out), stored: labels, taken: Taken::All };
        Linear { weight: rows("weight"), bias: self.has_bias.then(|| rows("bias")), from: width }
    }
}
