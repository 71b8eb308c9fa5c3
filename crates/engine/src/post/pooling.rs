//! Token states (tokens × H) to one vector (H). Every token counts, special
//! ones too, as sentence-transformers does; padding must be gone before.

use crate::task::Pooling;

/// Pools `states`, row-major (tokens × `hidden`). No tokens give all zeros.
pub(crate) fn pool(states: &[f32], hidden: usize, pooling: Pooling) -> Vec<f32> {
    if hidden == 0 {
        return Vec::new();
    }
    let mut rows = states.chunks_exact(hidden);
    let zero = || vec![0.0; hidden];
    match pooling {
        Pooling::Cls => rows.next().map_or_else(zero, <[f32]>::to_vec),
        Pooling::Last => rows.next_back().map_or_else(zero, <[f32]>::to_vec),
        Pooling::Max => {
            let Some(first) = rows.next() else { return zero() };
            rows.fold(first.to_vec(), |mut most, row| {
                for (m, &x) in most.iter_mut().zip(row) {
                    // Not f32::max, which would hide a NaN.
                    if x > *m || x.is_nan() {
                        *m = x;
                    }
                }
                most
            })
        }
        Pooling::Mean => mean(rows, hidden),
    }
}

fn mean<'a>(rows: impl ExactSizeIterator<Item = &'a [f32]>, hidden: usize) -> Vec<f32> {
    if rows.len() == 0 {
        return vec![0.0; hidden];
    }
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
    let share = 1.0 / rows.len() as f64;
    let mut sums = vec![0.0f64; hidden];
    for row in rows {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += f64::from(x);
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "a mean of f32s lies among them; rounding is meant")]
    sums.into_iter().map(|sum| (sum * share) as f32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Pooling; 4] = [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Last];

    fn states() -> impl Strategy<Value = (usize, Vec<Vec<f32>>)> {
        (1usize..9)
            .prop_flat_map(|h| (Just(h), prop::collection::vec(prop::collection::vec(-1e30f32..1e30, h..=h), 1..20)))
    }

    proptest! {
        #[test]
        fn one_token_is_its_own_pool((h, rows) in states()) {
            for pooling in ALL {
                prop_assert_eq!(&pool(&rows[0], h, pooling), &rows[0]);
            }
        }

        #[test]
        fn each_pooling_matches_its_definition((h, rows) in states()) {
            let flat = rows.concat();
            prop_assert_eq!(&pool(&flat, h, Pooling::Cls), &rows[0]);
            prop_assert_eq!(&pool(&flat, h, Pooling::Last), &rows[rows.len() - 1]);
            let (max, mean) = (pool(&flat, h, Pooling::Max), pool(&flat, h, Pooling::Mean));
            for d in 0..h {
                let column: Vec<f32> = rows.iter().map(|r| r[d]).collect();
                let most = column.iter().copied().fold(f32::MIN, f32::max);
                let least = column.iter().copied().fold(f32::MAX, f32::min);
                prop_assert_eq!(max[d], most);
                prop_assert!(mean[d] >= least && mean[d] <= most);
                let exact = column.iter().map(|&x| f64::from(x)).sum::<f64>() / column.len() as f64;
                let size = column.iter().fold(1.0f64, |m, &x| m.max(f64::from(x.abs())));
                prop_assert!((f64::from(mean[d]) - exact).abs() <= 1e-6 * size);
            }
        }

        #[test]
        fn a_nan_is_not_lost((h, mut rows) in states(), at in any::<prop::sample::Index>()) {
            let at = at.index(rows.len());
            rows[at][0] = f32::NAN;
            for pooling in [Pooling::Mean, Pooling::Max] {
                prop_assert!(pool(&rows.concat(), h, pooling)[0].is_nan());
            }
        }
    }

    #[test]
    fn nothing_pools_to_nothing() {
        for pooling in ALL {
            assert_eq!(pool(&[], 3, pooling), [0.0; 3]);
            assert_eq!(pool(&[], 0, pooling), [0.0; 0]);
        }
    }
}
