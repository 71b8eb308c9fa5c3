//! Masked-LM logits of a text's tokens to a sparse vector (SPLADE).
//!
//! Each logit `x` becomes `ln(1 + max(0, x))`, or `ln(1 + ln(1 + max(0, x)))`; the largest or the sum over the tokens is the
//! weight. Zeros are dropped.

use crate::item::ItemFault;

/// What one logit becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SparseTransform {
    /// `ln(1 + max(0, x))`: sentence-transformers' `relu`.
    #[default]
    Log,
    /// `ln(1 + ln(1 + max(0, x)))`: its `log1p_relu`.
    LogLog,
}

impl SparseTransform {
    /// Of one logit.
    pub(crate) fn of(self, x: f32) -> f32 {
        // Not f32::max, which would hide a NaN.
        let log = if x < 0.0 { 0.0 } else { x.ln_1p() };
        match self {
            SparseTransform::Log => log,
            SparseTransform::LogLog => log.ln_1p(),
        }
    }
}

/// How logits become weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseRule {
    /// What one logit becomes.
    pub(crate) transform: SparseTransform,
    /// The sum over the tokens; else the largest.
    pub(crate) sum: bool,
    /// Most weights that are kept, the largest; `None` keeps all.
    pub(crate) most: Option<usize>,
}

impl SparseRule {
    /// Weights of a text's largest logits, one a vocabulary entry. Only for a rule that takes the largest: it may come
    /// before the transform, which never falls.
    ///
    /// # Errors
    /// [`ItemFault::NonFinite`] where a logit is NaN or +∞; −∞ is a weight of zero.
    pub(crate) fn of_largest(&self, logits: &[f32]) -> Result<Vec<(u32, f32)>, ItemFault> {
        if logits.iter().any(|&x| x.is_nan() || x == f32::INFINITY) {
            return Err(ItemFault::NonFinite);
        }
        let row: Vec<f32> = logits.iter().map(|&x| self.transform.of(x)).collect();
        self.of_weights(&row)
    }

    /// Weights of a text's logits, row-major (tokens × `width`).
    ///
    /// # Errors
    /// As [`Self::of_largest`].
    pub(crate) fn of_tokens(&self, logits: &[f32], width: usize) -> Result<Vec<(u32, f32)>, ItemFault> {
        if !self.sum {
            return self.of_largest(&super::largest(logits, width));
        }
        let mut sums = vec![0.0f32; width];
        for row in logits.chunks_exact(width.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += self.transform.of(x));
        }
        self.of_weights(&sums)
    }

    /// The weights above zero of a row of them: (id, weight), ids ascending.
    ///
    /// # Errors
    /// [`ItemFault::NonFinite`].
    pub(crate) fn of_weights(&self, row: &[f32]) -> Result<Vec<(u32, f32)>, ItemFault> {
        super::all_finite(row)?;
        let weights = (0u32..).zip(row.iter().copied()).filter(|&(_, w)| w > 0.0).collect();
        Ok(heaviest(weights, self.most.unwrap_or(usize::MAX)))
    }
}

/// The `most` largest of (id, weight), ids ascending; of equal weights the lower id stays.
#[must_use]
pub fn heaviest(mut weights: Vec<(u32, f32)>, most: usize) -> Vec<(u32, f32)> {
    if most < weights.len() {
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        weights.truncate(most);
        weights.sort_unstable_by_key(|&(id, _)| id);
    }
    weights
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_heaviest_stay_in_id_order() {
        let entries = vec![(1, 0.5), (4, 2.0), (7, 0.5), (9, 1.0)];
        assert_eq!(heaviest(entries.clone(), 3), [(1, 0.5), (4, 2.0), (9, 1.0)]);
        assert_eq!(heaviest(entries.clone(), 10), entries);
    }

    proptest! {
        #[test]
        fn holds_exactly_the_positive_entries_in_order(row in prop::collection::vec(prop_oneof![-9f32..9.0, Just(0.0), Just(f32::NEG_INFINITY), Just(f32::MAX)], 0..200)) {
            let sparse = SparseRule::default().of_largest(&row).unwrap();
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
        fn bad_logits_are_a_fault(mut row in prop::collection::vec(-9f32..9.0, 1..50), at in any::<prop::sample::Index>(), bad in prop::sample::select(vec![f32::NAN, f32::INFINITY]), sum in any::<bool>()) {
            let (at, width) = (at.index(row.len()), row.len());
            row[at] = bad;
            let rule = SparseRule { sum, ..SparseRule::default() };
            prop_assert_eq!(rule.of_tokens(&row, width), Err(ItemFault::NonFinite));
        }

        #[test]
        fn a_sum_is_over_transformed_logits(rows in prop::collection::vec(prop::collection::vec(-4f32..9.0, 5), 1..6), twice in any::<bool>()) {
            let transform = if twice { SparseTransform::LogLog } else { SparseTransform::Log };
            let rule = SparseRule { transform, sum: true, most: None };
            let weights = rule.of_tokens(&rows.concat(), 5).unwrap();
            for id in 0..5 {
                let log = |x: f32| (1.0 + f64::from(x).max(0.0)).ln();
                let want: f64 = rows.iter().map(|r| if twice { log(log(r[id]) as f32) } else { log(r[id]) }).sum();
                let got = weights.iter().find(|w| w.0 == id as u32).map_or(0.0, |w| f64::from(w.1));
                prop_assert!((got - want).abs() < 1e-5, "{got} {want}");
            }
        }
    }

    #[test]
    fn the_largest_are_kept_where_there_is_a_limit() {
        let rule = SparseRule { most: Some(2), ..SparseRule::default() };
        let ids: Vec<u32> = rule.of_weights(&[1.0, 3.0, 0.0, 2.0]).unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [1, 3]);
    }
}
