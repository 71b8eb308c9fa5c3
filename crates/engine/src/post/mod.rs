//! What is done to a model's numbers after the device: activations of logits, the
//! chain of modules over token states, sparse vectors, similarities, vectors as stores want them.
//!
//! Pure functions over `f32` slices, shared by all paths.
//! A result that leaves the engine is finite or it is [`crate::ItemFault::NonFinite`].

mod activation;
mod chain;
mod cosine;
mod dense;
mod dot;
mod late;
mod norm;
mod pooling;
mod quantize;
mod sparse;

pub use activation::{Activation, activate};
pub(crate) use chain::{Chain, Pool, Step, TokenMask};
pub use cosine::cosine;
pub(crate) use dense::{Dense, DenseActivation, Residual};
pub use late::{LateSimilarity, late_similarity};
pub(crate) use norm::LayerNorm;
pub(crate) use pooling::largest;
pub use quantize::{Quantization, Ranges, quantize};
pub use sparse::heaviest;
pub(crate) use sparse::{SparseRule, SparseTransform};

use crate::item::ItemFault;

/// Fails with [`ItemFault::NonFinite`] where a number is infinite or not a number.
pub(crate) fn all_finite(values: &[f32]) -> Result<(), ItemFault> {
    if values.iter().all(|v| v.is_finite()) { Ok(()) } else { Err(ItemFault::NonFinite) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn one_bad_number_is_found_wherever_it_is(
            mut values in prop::collection::vec(-1e30f32..1e30, 1..64),
            at in any::<prop::sample::Index>(),
            bad in prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
        ) {
            prop_assert_eq!(all_finite(&values), Ok(()));
            let at = at.index(values.len());
            values[at] = bad;
            prop_assert_eq!(all_finite(&values), Err(ItemFault::NonFinite));
        }
    }
}
