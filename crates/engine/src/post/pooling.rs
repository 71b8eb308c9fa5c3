//! Token states (tokens × H) to one vector (H). Every token that is kept counts, special ones too, as
//! sentence-transformers does; padding must be gone before.

use crate::task::Pooling;

/// Least divisor of a mean, as sentence-transformers has it: no token at all gives zeros.
const LEAST_DIVISOR: f64 = 1e-9;

/// Token states and which of them count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenStates<'a> {
    /// Row-major (tokens × width).
    pub(crate) states: &'a [f32],
    /// Numbers in a state.
    pub(crate) width: usize,
    /// One a token: whether it counts.
    pub(crate) keep: &'a [bool],
    /// Tokens before this one are a prompt's and do not count.
    pub(crate) first: usize,
    /// Sum of the tokens' weights where they were weighted before: what a mean is divided by.
    pub(crate) weights: Option<f64>,
}

impl<'a> TokenStates<'a> {
    fn row(&self, token: usize) -> &'a [f32] {
        self.states.get(token * self.width..(token + 1) * self.width).unwrap_or_default()
    }

    /// Those that count, ascending.
    fn counting(&self) -> impl DoubleEndedIterator<Item = usize> + Clone + use<'a> {
        let (keep, first) = (self.keep, self.first);
        (first..keep.len()).filter(move |&t| keep[t])
    }

    /// `Σ weight(token) · state`.
    fn sum(&self, weight: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0f64; self.width];
        for t in self.counting() {
            let w = weight(t);
            for (sum, &x) in sums.iter_mut().zip(self.row(t)) {
                *sum += w * f64::from(x);
            }
        }
        sums
    }
}

/// Pools the tokens. No tokens give all zeros; a largest of none is −∞.
pub(crate) fn pool(tokens: TokenStates<'_>, pooling: Pooling) -> Vec<f32> {
    let zero = || vec![0.0; tokens.width];
    if tokens.width == 0 || tokens.keep.is_empty() {
        return zero();
    }
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
    let count = || tokens.weights.unwrap_or_else(|| tokens.counting().count() as f64).max(LEAST_DIVISOR);
    match pooling {
        // Where nothing counts the library's search for the first ends at the first of all.
        Pooling::Cls => tokens.row(tokens.counting().next().unwrap_or(0)).to_vec(),
        Pooling::Last => tokens.counting().next_back().map_or_else(zero, |t| tokens.row(t).to_vec()),
        Pooling::Max => {
            let mut most = vec![f32::NEG_INFINITY; tokens.width];
            tokens.counting().for_each(|t| raise(&mut most, tokens.row(t)));
            most
        }
        Pooling::Mean => divided(tokens.sum(|_| 1.0), count()),
        Pooling::MeanSqrtLen => divided(tokens.sum(|_| 1.0), count().sqrt()),
        Pooling::WeightedMean => {
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            let place = |t: usize| (t + 1) as f64;
            let weights = tokens.weights.unwrap_or_else(|| tokens.counting().map(place).sum());
            divided(tokens.sum(place), weights.max(LEAST_DIVISOR))
        }
    }
}

/// Largest of each column of `rows`, row-major (rows × `width`). No rows give all zeros.
pub(crate) fn largest(rows: &[f32], width: usize) -> Vec<f32> {
    let mut rows = rows.chunks_exact(width.max(1));
    let Some(first) = rows.next() else { return vec![0.0; width] };
    rows.fold(first.to_vec(), |mut most, row| {
        raise(&mut most, row);
        most
    })
}

fn raise(most: &mut [f32], row: &[f32]) {
    for (m, &x) in most.iter_mut().zip(row) {
        // Not f32::max, which would hide a NaN.
        if x > *m || x.is_nan() {
            *m = x;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
fn divided(sums: Vec<f64>, by: f64) -> Vec<f32> {
    let share = 1.0 / by;
    sums.into_iter().map(|sum| (sum * share) as f32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Pooling; 6] =
        [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Last, Pooling::MeanSqrtLen, Pooling::WeightedMean];

    fn all(states: &[f32], width: usize, pooling: Pooling) -> Vec<f32> {
        let keep = vec![true; states.len().checked_div(width).unwrap_or(0)];
        pool(TokenStates { states, width, keep: &keep, first: 0, weights: None }, pooling)
    }

    fn states() -> impl Strategy<Value = (usize, Vec<Vec<f32>>)> {
        (1usize..9)
            .prop_flat_map(|h| (Just(h), prop::collection::vec(prop::collection::vec(-1e30f32..1e30, h..=h), 1..20)))
    }

    proptest! {
        #[test]
        fn one_token_is_its_own_pool((h, rows) in states()) {
            for pooling in ALL {
                prop_assert_eq!(&all(&rows[0], h, pooling), &rows[0]);
            }
        }

        #[test]
        fn each_pooling_matches_its_definition((h, rows) in states()) {
            let flat = rows.concat();
            prop_assert_eq!(&all(&flat, h, Pooling::Cls), &rows[0]);
            prop_assert_eq!(&all(&flat, h, Pooling::Last), &rows[rows.len() - 1]);
            let (max, mean) = (all(&flat, h, Pooling::Max), all(&flat, h, Pooling::Mean));
            let (root, weighted) = (all(&flat, h, Pooling::MeanSqrtLen), all(&flat, h, Pooling::WeightedMean));
            let n = rows.len() as f64;
            for d in 0..h {
                let column: Vec<f32> = rows.iter().map(|r| r[d]).collect();
                let most = column.iter().copied().fold(f32::MIN, f32::max);
                let least = column.iter().copied().fold(f32::MAX, f32::min);
                prop_assert_eq!(max[d], most);
                prop_assert!(mean[d] >= least && mean[d] <= most);
                let sum = column.iter().map(|&x| f64::from(x)).sum::<f64>();
                let places: f64 = (1..=rows.len()).map(|p| p as f64).sum();
                let by_place = column.iter().zip(1..).map(|(&x, p)| f64::from(x) * f64::from(p)).sum::<f64>() / places;
                let size = column.iter().fold(1.0f64, |m, &x| m.max(f64::from(x.abs())));
                prop_assert!((f64::from(mean[d]) - sum / n).abs() <= 1e-6 * size);
                prop_assert!((f64::from(root[d]) - sum / n.sqrt()).abs() <= 1e-6 * size * n.sqrt());
                prop_assert!((f64::from(weighted[d]) - by_place).abs() <= 1e-6 * size);
            }
            prop_assert_eq!(largest(&flat, h), max);
        }

        #[test]
        fn a_nan_is_not_lost((h, mut rows) in states(), at in any::<prop::sample::Index>()) {
            let at = at.index(rows.len());
            rows[at][0] = f32::NAN;
            for pooling in [Pooling::Mean, Pooling::Max, Pooling::MeanSqrtLen, Pooling::WeightedMean] {
                prop_assert!(all(&rows.concat(), h, pooling)[0].is_nan());
            }
        }
    }

    #[test]
    fn nothing_pools_to_nothing() {
        for pooling in ALL {
            assert_eq!(all(&[], 3, pooling), [0.0; 3]);
            assert_eq!(all(&[], 0, pooling), [0.0; 0]);
        }
    }

    #[test]
    fn a_prompt_that_does_not_count_is_left_out() {
        let (states, keep) = ([1.0, 2.0, 4.0, 8.0], [true; 4]);
        let of = |pooling, first| {
            pool(TokenStates { states: &states, width: 1, keep: &keep, first, weights: None }, pooling)[0]
        };
        assert_eq!(of(Pooling::Cls, 2), 4.0);
        assert_eq!(of(Pooling::Mean, 2), 6.0);
        assert_eq!(of(Pooling::Last, 2), 8.0);
        assert_eq!(of(Pooling::Max, 1), 8.0);
        // Weights count from the start of the text: (3·4 + 4·8) / 7.
        assert!((of(Pooling::WeightedMean, 2) - 44.0 / 7.0).abs() < 1e-6);
        assert_eq!((of(Pooling::Cls, 9), of(Pooling::Last, 9), of(Pooling::Mean, 9)), (1.0, 0.0, 0.0));
    }
}
