//! What is done to a model's numbers after the device: activations of logits,
//! pooling of token states, the finish of dense and sparse vectors, similarity.
//!
//! Pure functions over `f32` slices, shared by the native and the generic path.
//! A result that leaves the engine is finite or it is [`crate::ItemFault::NonFinite`].

mod activation;
mod cosine;
mod dense;
mod embedding;
mod pooling;
mod sparse;

pub use activation::{Activation, activate};
pub use cosine::cosine;
pub(crate) use dense::{Dense, DenseActivation};
pub(crate) use embedding::{embed, finish};
pub(crate) use pooling::pool;
pub(crate) use sparse::sparse_weights;

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
