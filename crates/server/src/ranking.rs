//! The best items by score: highest first, equal scores by index, failed (NaN)
//! ones never.

/// Indices of the best `n` scores, best first.
pub(crate) fn best(scores: &[f32], n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..).zip(scores).filter(|(_, s)| !s.is_nan()).map(|(i, _)| i).collect();
    let by_score = |a: &u32, b: &u32| {
        let (x, y) = (scores[*a as usize], scores[*b as usize]);
        // -0 and 0 are equal scores, which total_cmp alone would not say.
        y.partial_cmp(&x).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(b))
    };
    if n < order.len() && n > 0 {
        order.select_nth_unstable_by(n - 1, by_score);
    }
    order.truncate(n);
    order.sort_unstable_by(by_score);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_go_by_index_and_nan_never_shows() {
        assert_eq!(best(&[1.0, f32::NAN, 3.0, 1.0, 3.0], 10), [2, 4, 0, 3]);
        assert_eq!(best(&[0.0, -0.0, 0.0], 3), [0, 1, 2]);
        assert!(best(&[1.0], 0).is_empty());
    }

    proptest! {
        #[test]
        fn is_the_start_of_a_full_stable_sort(scores in prop::collection::vec(prop_oneof![-3i32..3].prop_map(|x| x as f32), 0..50), n in 0usize..60) {
            let mut all: Vec<u32> = (0..scores.len() as u32).collect();
            all.sort_by(|a, b| scores[*b as usize].partial_cmp(&scores[*a as usize]).unwrap());
            all.truncate(n);
            prop_assert_eq!(best(&scores, n), all);
        }
    }
}
