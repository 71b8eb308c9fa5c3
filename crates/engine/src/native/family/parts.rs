//! Parts that layers and heads are made of: products, norms, activations, and the rows of stored tensors behind them.

/// A norm over the width of what it is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Norm {
    pub(crate) kind: NormKind,
    /// Tensors of its weights.
    pub(crate) weight: String,
    pub(crate) bias: Option<String>,
    pub(crate) eps: f32,
}

/// What a norm does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// `(x − mean)/√(variance + eps)·weight + bias`
    Layer,
    /// `x/√(mean(x²) + eps)·weight`
    Rms,
    /// `x/√(mean(x²) + eps)·(1 + weight)`
    RmsOnePlus,
}

/// `x·Wᵀ + b`.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: TensorRows,
    pub(crate) bias: Option<TensorRows>,
    /// Width of what it takes.
    pub(crate) from: usize,
}

/// Rows of a stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorRows {
    pub(crate) name: String,
    /// Rows that the tensor has.
    pub(crate) stored: usize,
    /// Which of them, in this order.
    pub(crate) taken: Taken,
}

/// Which rows of a stored tensor are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    All,
    From { first: usize, rows: usize },
    Each(Vec<usize>),
}

/// Pointwise activation of a feed-forward part or head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointwise {
    /// `x·Φ(x)`, by the error function.
    Gelu,
    /// The tanh form of GELU.
    GeluTanh,
    Relu,
    /// `x·σ(x)`
    Silu,
    Tanh,
}

impl Linear {
    /// Width of what it gives.
    pub(crate) fn to(&self) -> usize {
        self.weight.len()
    }

    /// Numbers of its weight.
    pub(crate) fn numbers(&self) -> usize {
        self.from * self.to()
    }
}

impl TensorRows {
    /// How many are taken.
    pub(crate) fn len(&self) -> usize {
        match &self.taken {
            Taken::All => self.stored,
            Taken::From { rows, .. } => *rows,
            Taken::Each(rows) => rows.len(),
        }
    }
}

impl Pointwise {
    /// By its name in `config.json`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" => Pointwise::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Pointwise::GeluTanh,
            "relu" => Pointwise::Relu,
            "silu" | "swish" => Pointwise::Silu,
            "tanh" => Pointwise::Tanh,
            _ => return None,
        })
    }
}
