//! What a graph is written for.
//!
//! | | CPU | CUDA |
//! | --- | --- | --- |
//! | weights | f32 | f16, bf16 or f32 |
//! | BERT's attention | our operator | `com.microsoft.PackedMultiHeadAttention` |
//! | what goes into it | one projection | three in f16, one else |
//! | other attention | our operator | our operator, by our own kernels |
//! | head | f32 | f32 past a cast; a vocabulary projection stays narrow |
//! | pooling, largest logits | on the host, by an operator of ours | by standard operators on the device |

use super::{MICROSOFT, SORTIE, proto::Elem};
use crate::device::Precision;

/// Operators of ours that a graph for CUDA may have; the first two are f16 alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SortieOperators {
    /// The first feed-forward product with bias and GELU inside: `MatMulBiasGelu`.
    pub(crate) gelu: bool,
    /// Queries, keys and values as matrices of their own: `QueryKeyValue`.
    pub(crate) apart: bool,
    /// Products, attention, norms and gates by our own kernels, in every format: all that families beyond BERT's are made of.
    pub(crate) kernels: bool,
}

#[cfg(test)]
impl SortieOperators {
    /// None, each alone, both.
    pub(crate) const EVERY: [Self; 4] = [
        Self { gelu: false, apart: false, kernels: false },
        Self { gelu: true, apart: false, kernels: false },
        Self { gelu: false, apart: true, kernels: false },
        Self::ALL,
    ];
    /// All of BERT's.
    pub(crate) const ALL: Self = Self { gelu: true, apart: true, kernels: false };
    /// All of other families'.
    pub(crate) const KERNELS: Self = Self { gelu: true, apart: false, kernels: true };
}

/// What a graph is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// ONNX Runtime's CPU provider and our operators.
    Cpu,
    /// ONNX Runtime's CUDA provider: its operators, and ours that have a kernel there.
    Cuda(Precision),
    /// CUDA's graph, with an operator of ours in the place of CUDA's attention, so
    /// that everything else of it can be proven on a machine without a GPU; and with stand-ins for those of our operators
    /// that [`SortieOperators`] names.
    #[cfg(test)]
    StandIn(Precision, SortieOperators),
}

impl Target {
    /// Whether this is the CPU's graph.
    pub(crate) fn is_cpu(self) -> bool {
        self == Target::Cpu
    }

    /// Number format of weights and activations inside the encoder.
    pub(crate) fn elem(self) -> Elem {
        let precision = match self {
            Target::Cpu => Precision::F32,
            Target::Cuda(p) => p,
            #[cfg(test)]
            Target::StandIn(p, _) => p,
        };
        match precision {
            Precision::F32 => Elem::F32,
            Precision::F16 => Elem::F16,
            Precision::Bf16 => Elem::BF16,
            // No GPU has these, and what is asked of one is resolved before.
            Precision::Bf16x3 | Precision::Int8 | Precision::Auto => Elem::F32,
        }
    }

    /// Where the attention operator comes from.
    pub(crate) fn attention_domain(self) -> &'static str {
        match self {
            Target::Cpu => SORTIE,
            Target::Cuda(_) => MICROSOFT,
            #[cfg(test)]
            Target::StandIn(..) => SORTIE,
        }
    }
}
