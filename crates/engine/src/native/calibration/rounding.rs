//! Rounds a weight to f16 so that its products stay where they were.
//!
//! Rounded one by one, the errors of a column of `W` (inner × columns) add up in `x·W` as
//! chance has it. Here each row of `W` is rounded after the error that the rows before it leave has
//! been put into it, in the proportion that their inputs go together. With `H = Σ x·xᵀ` of
//! sample inputs and `H = R·Rᵀ`, `R` upper triangular, what is left of the sum of squares is
//! `Σₖ Rₖₖ²·(eₖ + Σ_{j<k} Rⱼₖ/Rₖₖ·eⱼ)²` for the errors `e = W − Ŵ`: row `k` is rounded from
//! `Wₖ + Σ_{j<k} Rⱼₖ/Rₖₖ·eⱼ` (the GPTQ of Frantar and others, 2022, in the form of LDLQ, Chee and others, 2023).
//! Rows with the largest inputs come first.

use std::thread;

use half::f16;

/// Added to the diagonal of `H`, in its mean: samples are few, and directions they lack must not count for nothing.
const DAMPING: f64 = 1e-3;

/// Columns that a thread rounds at a time: their errors (inner × this) stay in its cache.
const BLOCK: usize = 64;

fn narrow(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

/// In which order rows are rounded, and what of earlier errors goes into each.
pub(crate) struct RoundingPlan {
    order: Vec<usize>,
    /// For the `k`th in order: `Rⱼₖ/Rₖₖ` of all `j < k`.
    shares: Vec<Vec<f32>>,
    /// Threads that round.
    threads: usize,
}

impl std::fmt::Debug for RoundingPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoundingPlan").field("inner", &self.order.len()).finish_non_exhaustive()
    }
}

impl RoundingPlan {
    /// The plan for inputs like `samples` (any number × inner), to be carried out by `threads`. Where they say
    /// nothing, each number is rounded by itself.
    pub(crate) fn of(samples: &[f32], inner: usize, threads: usize) -> Self {
        let (order, shares) =
            by_samples(samples, inner).unwrap_or_else(|| ((0..inner).collect(), vec![Vec::new(); inner]));
        Self { order, shares, threads }
    }

    /// Rounds `weight` (inner × columns).
    pub(crate) fn round(&self, weight: &mut [f32], columns: usize) {
        let blocks: Vec<usize> = (0..columns).step_by(BLOCK).collect();
        let threads = self.threads.clamp(1, blocks.len().max(1));
        let source = &*weight;
        let done: Vec<(usize, Vec<f32>)> = thread::scope(|scope| {
            let share = |t: usize| {
                let blocks = &blocks;
                move || {
                    let mine = blocks.iter().copied().skip(t).step_by(threads);
                    mine.map(|at| (at, self.block(source, columns, at))).collect::<Vec<_>>()
                }
            };
            let running: Vec<_> = (0..threads).map(|t| scope.spawn(share(t))).collect();
            running.into_iter().filter_map(|r| r.join().ok()).flatten().collect()
        });
        for (at, block) in done {
            let width = BLOCK.min(columns - at);
            for (row, numbers) in weight.chunks_exact_mut(columns).zip(block.chunks_exact(width)) {
                row[at..at + width].copy_from_slice(numbers);
            }
        }
    }

    /// Rounds the columns from `at`; gives them (inner × width).
    fn block(&self, weight: &[f32], columns: usize, at: usize) -> Vec<f32> {
        let (inner, width) = (self.order.len(), BLOCK.min(columns - at));
        let mut errors = vec![0.0_f32; inner * width];
        let mut rounded = vec![0.0; inner * width];
        let mut sum = vec![0.0_f32; width];
        for (k, &row) in self.order.iter().enumerate() {
            let exact = &weight[row * columns + at..][..width];
            sum.copy_from_slice(exact);
            for (&share, error) in self.shares[k].iter().zip(errors.chunks_exact(width)) {
                sum.iter_mut().zip(error).for_each(|(s, e)| *s += share * e);
            }
            let left = &mut errors[k * width..][..width];
            for (c, out) in rounded[row * width..][..width].iter_mut().enumerate() {
                *out = narrow(sum[c]);
                left[c] = exact[c] - *out;
            }
        }
        rounded
    }
}

/// Order and shares of a plan; `None` where the samples say nothing.
fn by_samples(samples: &[f32], inner: usize) -> Option<(Vec<usize>, Vec<Vec<f32>>)> {
    let mut squares = vec![0.0_f64; inner];
    for row in samples.chunks_exact(inner) {
        squares.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x) * f64::from(x));
    }
    let mean = squares.iter().sum::<f64>() / inner as f64;
    if !(mean.is_finite() && mean > 0.0) {
        return None;
    }
    let mut order: Vec<usize> = (0..inner).collect();
    order.sort_by(|&a, &b| squares[b].total_cmp(&squares[a]));
    // Turned end for end, `R·Rᵀ` with an upper R is the usual decomposition with a lower one.
    let backwards: Vec<usize> = order.iter().rev().copied().collect();
    let mut h = gram(samples, &backwards);
    for (k, row) in h.iter_mut().enumerate() {
        row[k] += DAMPING * mean;
    }
    decompose(&mut h)?;
    let shares = (0..inner)
        .map(|k| {
            let column = inner - 1 - k;
            (0..k).map(|j| (h[inner - 1 - j][column] / h[column][column]) as f32).collect()
        })
        .collect();
    Some((order, shares))
}

/// The lower half of `Σ x·xᵀ` over samples, rows and columns in `order`.
fn gram(samples: &[f32], order: &[usize]) -> Vec<Vec<f64>> {
    let turned: Vec<Vec<f32>> =
        order.iter().map(|&k| samples.chunks_exact(order.len()).map(|row| row[k]).collect()).collect();
    turned.iter().enumerate().map(|(i, a)| turned[..=i].iter().map(|b| dot(a, b)).collect()).collect()
}

/// In parts of eight, so that the compiler can use vectors.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0_f32; 8];
    let (mut a8, mut b8) = (a.chunks_exact(8), b.chunks_exact(8));
    for (a, b) in a8.by_ref().zip(b8.by_ref()) {
        for (s, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *s += x * y;
        }
    }
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    sums.iter().map(|&s| f64::from(s)).sum::<f64>() + f64::from(rest)
}

/// Cholesky's decomposition in place; `None` where the matrix has none.
fn decompose(h: &mut [Vec<f64>]) -> Option<()> {
    for i in 0..h.len() {
        let (above, rest) = h.split_at_mut(i);
        let row = rest.first_mut()?;
        for (j, other) in above.iter().enumerate() {
            let sum: f64 = row[..j].iter().zip(&other[..j]).map(|(a, b)| a * b).sum();
            row[j] = (row[j] - sum) / other[j];
        }
        let left = row[i] - row[..i].iter().map(|x| x * x).sum::<f64>();
        if !(left.is_finite() && left > 0.0) {
            return None;
        }
        row[i] = left.sqrt();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const INNER: usize = 48;
    const COLUMNS: usize = 70;

    /// Inputs that go together, as those of a layer do: a few directions and a little of everything.
    fn samples(random: &mut StdRng, rows: usize) -> Vec<f32> {
        let directions: Vec<f32> = (0..4 * INNER).map(|_| random.random_range(-1.0..1.0)).collect();
        let mut all = Vec::new();
        for _ in 0..rows {
            let by: [f32; 4] = std::array::from_fn(|_| random.random_range(0.2..2.0));
            for k in 0..INNER {
                let along: f32 = (0..4).map(|d| by[d] * directions[d * INNER + k]).sum();
                all.push(along + random.random_range(-0.05..0.05));
            }
        }
        all
    }

    /// Mean square of what rounding does to the products.
    fn harm(weight: &[f32], rounded: &[f32], samples: &[f32]) -> f64 {
        let mut sum = 0.0;
        for row in samples.chunks_exact(INNER) {
            for c in 0..COLUMNS {
                let error: f32 =
                    (0..INNER).map(|k| row[k] * (weight[k * COLUMNS + c] - rounded[k * COLUMNS + c])).sum();
                sum += f64::from(error) * f64::from(error);
            }
        }
        sum
    }

    #[test]
    fn products_of_inputs_alike_stay_nearer_than_by_plain_rounding() {
        let mut random = StdRng::seed_from_u64(3);
        let inputs = samples(&mut random, 400);
        let (known, unseen) = inputs.split_at(200 * INNER);
        let weight: Vec<f32> = (0..INNER * COLUMNS).map(|_| random.random_range(-0.1..0.1)).collect();
        let plain: Vec<f32> = weight.iter().map(|&x| narrow(x)).collect();
        let mut fed = weight.clone();
        RoundingPlan::of(known, INNER, 2).round(&mut fed, COLUMNS);
        assert!(fed.iter().all(|&x| narrow(x) == x), "not f16");
        let (plain, fed) = (harm(&weight, &plain, unseen), harm(&weight, &fed, unseen));
        assert!(fed < plain / 4.0, "{fed} against {plain}");
    }

    #[test]
    fn without_samples_each_number_is_rounded_by_itself() {
        let weight: Vec<f32> = (0..12).map(|i| i as f32 / 7.0).collect();
        for samples in [&[][..], &[0.0; 8], &[f32::NAN; 4]] {
            let mut rounded = weight.clone();
            RoundingPlan::of(samples, 4, 1).round(&mut rounded, 3);
            assert!(rounded.iter().zip(&weight).all(|(r, w)| *r == narrow(*w)), "{samples:?}");
        }
    }

    #[test]
    fn one_direction_alone_is_kept_almost_whole() {
        // All inputs the same: the errors of a column must cancel along it.
        let weight = [0.100_02_f32; 64];
        let samples = [1.0_f32; 640];
        let mut rounded = weight;
        RoundingPlan::of(&samples, 64, 1).round(&mut rounded, 1);
        let error: f32 = weight.iter().zip(&rounded).map(|(w, r)| w - r).sum();
        let plain: f32 = weight.iter().map(|&w| w - narrow(w)).sum();
        assert!(error.abs() < 1e-4 && plain.abs() > 2.0 * error.abs(), "{error} against {plain}");
    }
}
