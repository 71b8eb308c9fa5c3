//! The arithmetic of a tile of queries: products along rows, and the exponential of scores.
//!
//! The exponential is a polynomial on vectors: calling libm for each of the `tokens²·heads` weights cost more than
//! every matrix product of a small model.

use std::ops::Range;

use pulp::Simd;

use super::VECTORS;

/// Sums of some queries.
pub(super) type Sums<S, const QUERIES: usize> = [[<S as Simd>::f32s; VECTORS]; QUERIES];

/// `Σ number(i, r) · stretch(i)` over `terms`, for each query `r`.
#[inline(always)]
pub(super) fn products<'a, S: Simd, const QUERIES: usize>(
    simd: S,
    terms: Range<usize>,
    number: impl Fn(usize, usize) -> f32,
    stretch: impl Fn(usize) -> &'a [f32],
) -> Sums<S, QUERIES> {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; QUERIES];
    for i in terms {
        let (stretch, _) = S::as_simd_f32s(stretch(i));
        if let [a, b] = *stretch {
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = simd.splat_f32s(number(i, r));
                sums[0] = simd.mul_add_e_f32s(x, a, sums[0]);
                sums[1] = simd.mul_add_e_f32s(x, b, sums[1]);
            }
        }
    }
    sums
}

/// Puts sums at column `j` of rows of `width`.
#[inline(always)]
pub(super) fn store<S: Simd, const QUERIES: usize>(sums: Sums<S, QUERIES>, rows: &mut [f32], width: usize, j: usize) {
    for (sums, row) in sums.iter().zip(rows.chunks_exact_mut(width)) {
        let (to, _) = S::as_mut_simd_f32s(&mut row[j..]);
        to[..VECTORS].copy_from_slice(sums);
    }
}

/// Multiplies column `j` of rows of `width` by a factor each, and adds sums.
#[inline(always)]
pub(super) fn add<S: Simd, const QUERIES: usize>(
    simd: S,
    sums: Sums<S, QUERIES>,
    factors: &[f32; QUERIES],
    rows: &mut [f32],
    width: usize,
    j: usize,
) {
    for ((sums, factor), row) in sums.iter().zip(factors).zip(rows.chunks_exact_mut(width)) {
        let (to, _) = S::as_mut_simd_f32s(&mut row[j..]);
        let factor = simd.splat_f32s(*factor);
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = simd.mul_add_e_f32s(*to, factor, *sum);
        }
    }
}

/// The largest of a row; NaN may be passed over.
#[inline(always)]
pub(super) fn largest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (row, _) = S::as_simd_f32s(row);
    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
    for x in row {
        most = simd.max_f32s(most, *x);
    }
    simd.reduce_max_f32s(most)
}

/// Replaces each `x` by `exp(x − most)` and returns the sum of them. −∞ becomes 0.
#[inline(always)]
pub(super) fn exponentiate<S: Simd>(simd: S, row: &mut [f32], most: f32) -> f32 {
    let (row, _) = S::as_mut_simd_f32s(row);
    let most = simd.splat_f32s(most);
    let mut sum = simd.splat_f32s(0.0);
    for x in row.iter_mut() {
        *x = exp(simd, simd.sub_f32s(*x, most));
        sum = simd.add_f32s(sum, *x);
    }
    simd.reduce_sum_f32s(sum)
}

/// `exp(x)` for `x ≤ 0`, relative error below 3e-7, NaN kept (Cody–Waite reduction, degree 6); 0 below −80.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Adding and taking it away rounds to a whole number, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Below this, 2e-35, a weight changes no bit of a sum of one or more, but its products with values are soon no normal numbers, for each
    /// of which processors take a hundred steps.
    const LEAST: f32 = -80.0;
    /// A float's exponent is stored with this added, above this many bits of fraction.
    const BIAS: u32 = 127;
    const FRACTION: u32 = 23;
    let of = |c: f32| simd.splat_f32s(c);
    // Not max: it may drop a NaN.
    let is_least = simd.less_than_f32s(x, of(LEAST));
    let x = simd.select_f32s(is_least, of(LEAST), x);
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
    simd.select_f32s(is_least, of(0.0), simd.mul_f32s(p, power))
}
