//! Packed self-attention on the CPU, one sequence and head at a time.
//!
//! For the tokens of one sequence and one head of size `d`:
//! `out = softmax(Q·Kᵀ / √d) · V`. Rows of the flat projection hold, head by
//! head, that head's query, key and value (`3·d` numbers), as ONNX Runtime's
//! PackedMultiHeadAttention wants them; the bias is added here, on the way in. Keys and values may be fewer than
//! queries: tokens at the end that ask and are not seen.
//!
//! Keys are turned on their side once, so that both products run along rows with
//! the sums of [`QUERIES`] queries in registers. The exponential is a polynomial on
//! vectors: calling libm for each of the `tokens²·heads` weights cost more than
//! every matrix product of a small model.
//!
//! Vectors are written out (`pulp` picks the widest the CPU has). Loops left to
//! the compiler ran ten times slower at one optimisation level than at another.

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};

/// Queries handled together: with [`VECTORS`] each, their sums take 8 of 16 or 32 registers.
const QUERIES: usize = 4;
/// Vectors side by side in one pass over keys or values.
const VECTORS: usize = 2;

/// Where one sequence and head lie in the flat projection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// First token of the sequence.
    pub(crate) start: usize,
    /// Tokens in it.
    pub(crate) len: usize,
    /// Those of them, the first, that are attended to; the rest ask and are not seen.
    pub(crate) keys: usize,
    /// Which head.
    pub(crate) head: usize,
    /// Heads in all.
    pub(crate) heads: usize,
    /// Numbers in a head.
    pub(crate) size: usize,
}

#[derive(Default)]
struct Scratch {
    /// (size × wide) keys, turned and scaled.
    keys: Vec<f32>,
    /// (len × deep) values.
    values: Vec<f32>,
    /// (queries × wide) scores, then weights.
    weights: Vec<f32>,
    /// (size × queries) queries, turned.
    queries: Vec<[f32; QUERIES]>,
    /// (queries × deep) results.
    results: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Attends one head of one sequence.
///
/// `qkv`: (tokens × heads × 3 × size) of the whole batch; `bias`: (heads × 3 ×
/// size); `write(token, numbers)` receives each token's `size` numbers.
pub(crate) fn attention_head(head: Head, qkv: &[f32], bias: &[f32], write: &mut dyn FnMut(usize, &[f32])) {
    SCRATCH.with_borrow_mut(|scratch| Arch::new().dispatch(Attend { head, qkv, bias, scratch, write }));
}

/// [`attention_head`] for a vector width that is chosen at run time.
struct Attend<'a> {
    head: Head,
    qkv: &'a [f32],
    bias: &'a [f32],
    scratch: &'a mut Scratch,
    write: &'a mut dyn FnMut(usize, &[f32]),
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { head: Head { start, len, keys: seen, head, heads, size }, qkv, bias, scratch, write } = self;
        let row = heads * 3 * size;
        let at = head * 3 * size;
        let bias = &bias[at..at + 3 * size];
        // Rounded up to whole passes; nothing read there changes a sum.
        let pass = VECTORS * S::F32_LANES;
        let (wide, deep) = (seen.next_multiple_of(pass), size.next_multiple_of(pass));
        scratch.load(qkv, bias, (start, seen, size), (row, at), (wide, deep));
        let Scratch { keys, values, weights, queries, results } = scratch;

        for first in (0..len).step_by(QUERIES) {
            let rows = QUERIES.min(len - first);
            for r in 0..rows {
                let token = &qkv[(start + first + r) * row + at..][..size];
                for (q, (x, b)) in queries.iter_mut().zip(token.iter().zip(bias)) {
                    q[r] = x + b;
                }
            }
            for j in (0..wide).step_by(pass) {
                // Q·Kᵀ: each query number times a stretch of keys.
                let sums =
                    products(simd, queries.iter().copied().zip(keys.chunks_exact(wide).map(|k| &k[j..j + pass])));
                store::<S>(sums, weights, wide, j);
            }
            let mut scales = [0.0; QUERIES];
            for (scale, w) in scales.iter_mut().zip(weights.chunks_exact_mut(wide)) {
                w[seen..].fill(f32::NEG_INFINITY);
                *scale = 1.0 / exponentiate(simd, w);
            }
            for d in (0..deep).step_by(pass) {
                // Weights·V: each weight times a stretch of its token's value.
                let each = (0..seen).map(|j| std::array::from_fn(|r| weights[r * wide + j]));
                let sums = products(simd, each.zip(values.chunks_exact(deep).map(|v| &v[d..d + pass])));
                store::<S>(sums, results, deep, d);
            }
            for (r, scale) in scales.into_iter().enumerate().take(rows) {
                let out = &mut results[r * deep..][..size];
                out.iter_mut().for_each(|x| *x *= scale);
                write(start + first + r, out);
            }
        }
    }
}

impl Scratch {
    /// Sizes the buffers and copies keys and values in, bias added.
    #[inline(always)]
    fn load(
        &mut self,
        qkv: &[f32],
        bias: &[f32],
        (start, len, size): (usize, usize, usize),
        (row, at): (usize, usize),
        (wide, deep): (usize, usize),
    ) {
        for (buffer, length) in [
            (&mut self.keys, size * wide),
            (&mut self.values, len * deep),
            (&mut self.weights, QUERIES * wide),
            (&mut self.results, QUERIES * deep),
        ] {
            buffer.clear();
            buffer.resize(length, 0.0);
        }
        self.queries.clear();
        self.queries.resize(size, [0.0; QUERIES]);
        let scale = 1.0 / (size as f32).sqrt();
        for j in 0..len {
            let token = &qkv[(start + j) * row + at..][..3 * size];
            let (key, value) = token[size..].split_at(size);
            let (key_bias, value_bias) = bias[size..].split_at(size);
            for (d, (x, b)) in key.iter().zip(key_bias).enumerate() {
                self.keys[d * wide + j] = (x + b) * scale;
            }
            for (to, (x, b)) in self.values[j * deep..].iter_mut().zip(value.iter().zip(value_bias)) {
                *to = x + b;
            }
        }
    }
}

type Sums<S> = [[<S as Simd>::f32s; VECTORS]; QUERIES];

/// `Σ numbers[r] · stretch` for each query `r`.
#[inline(always)]
fn products<'a, S: Simd>(simd: S, terms: impl Iterator<Item = ([f32; QUERIES], &'a [f32])>) -> Sums<S> {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; QUERIES];
    for (numbers, stretch) in terms {
        let (stretch, _) = S::as_simd_f32s(stretch);
        if let [a, b] = *stretch {
            for r in 0..QUERIES {
                let x = simd.splat_f32s(numbers[r]);
                sums[r][0] = simd.mul_add_e_f32s(x, a, sums[r][0]);
                sums[r][1] = simd.mul_add_e_f32s(x, b, sums[r][1]);
            }
        }
    }
    sums
}

/// Puts sums at column `j` of rows of `width`.
#[inline(always)]
fn store<S: Simd>(sums: Sums<S>, rows: &mut [f32], width: usize, j: usize) {
    for (sums, row) in sums.iter().zip(rows.chunks_exact_mut(width)) {
        let (to, _) = S::as_mut_simd_f32s(&mut row[j..]);
        to[..VECTORS].copy_from_slice(sums);
    }
}

/// Replaces each `x` by `exp(x − max)` and returns the sum of them. −∞ becomes 1e-38.
#[inline(always)]
fn exponentiate<S: Simd>(simd: S, row: &mut [f32]) -> f32 {
    let (row, _) = S::as_mut_simd_f32s(row);
    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
    for x in row.iter() {
        most = simd.max_f32s(most, *x);
    }
    let most = simd.splat_f32s(simd.reduce_max_f32s(most));
    let mut sum = simd.splat_f32s(0.0);
    for x in row.iter_mut() {
        *x = exp(simd, simd.sub_f32s(*x, most));
        sum = simd.add_f32s(sum, *x);
    }
    simd.reduce_sum_f32s(sum)
}

/// `exp(x)` for `x ≤ 0`, relative error below 3e-7, NaN kept (Cody–Waite reduction, degree 6).
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Adding and taking it away rounds to a whole number, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Below this the result is no longer a normal number; it is held there.
    const LEAST: f32 = -87.0;
    /// A float's exponent is stored with this added, above this many bits of fraction.
    const BIAS: u32 = 127;
    const FRACTION: u32 = 23;
    let of = |c: f32| simd.splat_f32s(c);
    // Not max: it may drop a NaN.
    let x = simd.select_f32s(simd.less_than_f32s(x, of(LEAST)), of(LEAST), x);
    let shifted = simd.mul_add_e_f32s(x, of(std::f32::consts::LOG2_E), of(ROUND));
    let n = simd.sub_f32s(shifted, of(ROUND));
    let r = simd.mul_add_e_f32s(n, of(-LN2_HIGH), x);
    let r = simd.mul_add_e_f32s(n, of(-LN2_LOW), r);
    let mut p = of(1.0 / 720.0);
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = simd.mul_add_e_f32s(p, r, of(c));
    }
    let bits = simd.add_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(BIAS));
    let power = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(FRACTION)));
    simd.mul_f32s(p, power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(h: Head, qkv: &[f32], bias: &[f32]) -> Vec<f64> {
        let (row, at) = (h.heads * 3 * h.size, h.head * 3 * h.size);
        let part = |t: usize, p: usize, d: usize| {
            f64::from(qkv[(h.start + t) * row + at + p * h.size + d] + bias[at + p * h.size + d])
        };
        let mut out = Vec::new();
        for i in 0..h.len {
            let s: Vec<f64> = (0..h.keys)
                .map(|j| (0..h.size).map(|d| part(i, 0, d) * part(j, 1, d)).sum::<f64>() / (h.size as f64).sqrt())
                .collect();
            let m = s.iter().copied().fold(f64::MIN, f64::max);
            let e: Vec<f64> = s.iter().map(|x| (x - m).exp()).collect();
            let z: f64 = e.iter().sum();
            out.extend((0..h.size).map(|d| (0..h.keys).map(|j| e[j] * part(j, 2, d)).sum::<f64>() / z));
        }
        out
    }

    fn check(
        h: Head,
        tokens: usize,
        seed: u64,
        spread: f32,
        f: impl Fn(Head, &[f32], &[f32], &mut dyn FnMut(usize, &[f32])),
    ) {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * spread
        };
        let width = h.heads * 3 * h.size;
        let qkv: Vec<f32> = (0..tokens * width).map(|_| next()).collect();
        let bias: Vec<f32> = (0..width).map(|_| next()).collect();
        let mut got = vec![f32::NAN; h.len * h.size];
        f(h, &qkv, &bias, &mut |t, x| got[(t - h.start) * h.size..][..h.size].copy_from_slice(x));
        for (g, w) in got.iter().zip(reference(h, &qkv, &bias)) {
            assert!((f64::from(*g) - w).abs() <= 1e-4 * w.abs().max(1.0), "{g} is not {w}");
        }
    }

    proptest! {
        #[test]
        fn every_length_and_size_agrees_with_the_formula(len in 1usize..70, unseen in 0usize..70, size in 1usize..70, before in 0usize..5, head in 0usize..3, seed: u64, spread in 0.1f32..8.0) {
            let h = Head { start: before, len, keys: len - unseen.min(len - 1), head, heads: 3, size };
            check(h, before + len + 2, seed, spread, attention_head);
            check(h, before + len + 2, seed, spread, scalar);
        }

        #[test]
        fn exp_is_close(x in -100f32..0.0) {
            let want = f64::from(x.max(-87.0)).exp();
            let got = exp(pulp::Scalar, x);
            prop_assert!((f64::from(got) - want).abs() <= 3e-7 * want, "{got}");
        }
    }

    /// Without any vector instructions, as on a CPU that pulp does not know.
    fn scalar(head: Head, qkv: &[f32], bias: &[f32], write: &mut dyn FnMut(usize, &[f32])) {
        let scratch = &mut Scratch::default();
        Attend { head, qkv, bias, scratch, write }.with_simd(pulp::Scalar);
    }

    #[test]
    fn not_a_number_is_passed_on() {
        let h = Head { start: 0, len: 3, keys: 3, head: 0, heads: 1, size: 4 };
        let mut qkv = vec![0.5; 3 * 12];
        qkv[5] = f32::NAN;
        let mut out = Vec::new();
        attention_head(h, &qkv, &[0.0; 12], &mut |_, x| out.extend_from_slice(x));
        assert!(out.iter().all(|x| x.is_nan()));
    }
}
