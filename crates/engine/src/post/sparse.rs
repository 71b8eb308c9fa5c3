//! The largest masked-LM logits over the tokens to a sparse vector (SPLADE):
//! `w = ln(1 + max(0, x))`; zeros are dropped.

use crate::item::ItemFault;

/// Weights of a row of largest logits, one a vocabulary entry: (id, weight > 0), ids ascending.
///
/// # Errors
/// [`ItemFault::NonFinite`] where a logit is NaN or +∞; -∞ is a weight of zero.
pub(crate) fn sparse_weights(max_logits: &[f32]) -> Result<Vec<(u32, f32)>, ItemFault> {
    let mut weights = Vec::new();
    for (id, &x) in (0u32..).zip(max_logits) {
        if x.is_nan() || x == f32::INFINITY {
            return Err(ItemFault::NonFinite);
        }
        if x > 0.0 {
            weights.push((id, x.ln_1p()));
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_exactly_the_positive_entries_in_order(row in prop::collection::vec(prop_oneof![-9f32..9.0, Just(0.0), Just(f32::NEG_INFINITY), Just(f32::MAX)], 0..200)) {
            let sparse = sparse_weights(&row).unwrap();
            prop_assert!(sparse.windows(2).all(|w| w[0].0 < w[1].0));
            let mut dense = vec![0.0; row.len()];
            for &(id, w) in &sparse {
                prop_assert!(w > 0.0 && w.is_finite());
                dense[id as usize] = w;
            }
            for (&x, &w) in row.iter().zip(&dense) {
                let want = (1.0 + f64::from(x.max(0.0))).ln();
                prop_assert!((f64::from(w) - want).abs() <= 1e-6 * want.max(1.0));
            }
        }

        #[test]
        fn bad_logits_are_a_fault(mut row in prop::collection::vec(-9f32..9.0, 1..50), at in any::<prop::sample::Index>(), bad in prop::sample::select(vec![f32::NAN, f32::INFINITY])) {
            let at = at.index(row.len());
            row[at] = bad;
            prop_assert_eq!(sparse_weights(&row), Err(ItemFault::NonFinite));
        }
    }
}
