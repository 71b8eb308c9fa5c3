//! The order of scores, the same on both sides of the wire: highest first, equal ones as they came, `-0` equal to `0`;
//! failed ones (NaN) never show.

use std::cmp::Ordering;

/// Which of two scores comes first: `Less` where `a` is the higher one. NaN comes last.
#[must_use]
pub fn by_score(a: f32, b: f32) -> Ordering {
    // `-0` and `0` are equal scores, which total_cmp alone would not say.
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Indices of the best `n` scores, best first.
#[must_use]
pub fn best(scores: &[f32], n: usize) -> Vec<u32> {
    let mut order: Vec<(u32, f32)> = (0..).zip(scores.iter().copied()).filter(|(_, score)| !score.is_nan()).collect();
    let order_of = |a: &(u32, f32), b: &(u32, f32)| by_score(a.1, b.1).then(a.0.cmp(&b.0));
    if n < order.len() && n > 0 {
        order.select_nth_unstable_by(n - 1, order_of);
    }
    order.truncate(n);
    order.sort_unstable_by(order_of);
    order.into_iter().map(|(index, _)| index).collect()
}

/// Index of the best score, the first of equal ones; `None` where all failed or there is none.
#[must_use]
pub fn first(scores: &[f32]) -> Option<usize> {
    best(scores, 1).first().map(|&index| index as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_go_by_index_and_nan_never_shows() {
        assert_eq!(best(&[1.0, f32::NAN, 3.0, 1.0, 3.0], 10), [2, 4, 0, 3]);
        assert_eq!(best(&[0.0, -0.0, 0.0], 3), [0, 1, 2]);
        assert_eq!(best(&[-0.0, 0.0], 1), [0]);
        assert!(best(&[1.0], 0).is_empty());
        assert_eq!((first(&[0.5, 0.5]), first(&[f32::NAN]), first(&[])), (Some(0), None, None));
    }

    proptest! {
        #[test]
        fn is_the_start_of_a_full_stable_sort(scores in prop::collection::vec(prop_oneof![-3i32..3].prop_map(|x| x as f32 * -0.5), 0..50), n in 0usize..60) {
            let mut all: Vec<u32> = (0..scores.len() as u32).collect();
            all.sort_by(|a, b| scores[*b as usize].partial_cmp(&scores[*a as usize]).unwrap());
            all.truncate(n);
            prop_assert_eq!(best(&scores, n), all);
        }

        #[test]
        fn the_order_is_total(scores in prop::collection::vec(prop_oneof![Just(f32::NAN), Just(0.0), Just(-0.0), any::<f32>()], 0..20)) {
            let mut sorted = scores;
            sorted.sort_by(|a, b| by_score(*a, *b));
            let failed = sorted.iter().position(|score| score.is_nan()).unwrap_or(sorted.len());
            prop_assert!(sorted[failed..].iter().all(|score| score.is_nan()));
            prop_assert!(sorted[..failed].windows(2).all(|pair| pair[0] >= pair[1]));
        }
    }
}
