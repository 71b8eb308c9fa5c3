//! The feed-forward part of a layer.

use std::ops::Range;

use super::parts::{Linear, Pointwise};

/// What a layer does with each token by itself.
#[derive(Clone, Debug)]
pub(crate) enum FeedForward {
    /// `down(act(up x))`
    Plain { up: Linear, act: Pointwise, down: Linear },
    /// `down(act(gate x)·up x)`
    Gated { gate: Linear, up: Linear, act: Pointwise, down: Linear },
    /// A few of many parts, chosen for each token.
    Experts(Box<Experts>),
}

/// Experts: a router weighs them for each token by the softmax of its product, the heaviest `chosen` read the token, and what
/// they give is added up by those weights, which are not scaled to one.
#[derive(Clone, Debug)]
pub(crate) struct Experts {
    /// From a token to a number for each expert.
    pub(crate) router: Linear,
    /// Experts that read a token. Of equal ones the first.
    pub(crate) chosen: usize,
    pub(crate) act: Pointwise,
    pub(crate) each: Vec<Expert>,
    /// Tensor of what is added once, whoever was chosen.
    pub(crate) bias: Option<String>,
}

/// One of them: `act(up x)·down`.
#[derive(Clone, Debug)]
pub(crate) struct Expert {
    pub(crate) up: Linear,
    /// Tensor of the second product, (inner × width) as it is multiplied, and the rows of it that are this expert's.
    pub(crate) down: String,
    pub(crate) rows: Range<usize>,
    /// Rows that the tensor has.
    pub(crate) stored: usize,
}

impl FeedForward {
    /// Widest state of a token between its products, both halves of a gated part counted.
    pub(crate) fn inner(&self) -> usize {
        match self {
            FeedForward::Plain { up, .. } => up.to(),
            FeedForward::Gated { gate, up, .. } => gate.to() + up.to(),
            FeedForward::Experts(experts) => experts.chosen * experts.inner(),
        }
    }

    /// Weights of the products that a token goes through.
    pub(crate) fn numbers(&self) -> usize {
        match self {
            FeedForward::Plain { up, down, .. } => up.numbers() + down.numbers(),
            FeedForward::Gated { gate, up, down, .. } => gate.numbers() + up.numbers() + down.numbers(),
            FeedForward::Experts(experts) => {
                let first = experts.each.first().map_or(0, |expert| 2 * expert.up.numbers());
                experts.router.numbers() + experts.chosen * first
            }
        }
    }
}

impl Experts {
    /// Width of a token's state inside an expert.
    pub(crate) fn inner(&self) -> usize {
        self.each.first().map_or(0, |expert| expert.up.to())
    }
}
