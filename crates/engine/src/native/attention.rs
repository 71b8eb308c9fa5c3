//! Packed self-attention on the CPU, one sequence and head at a time.
//!
//! For the tokens of one sequence and one head of size `d`:
//! `out = softmax(Q·Kᵀ / √d) · V`. Rows of the flat projection hold, head by
//! head, that head's query, key and value (`3·d` numbers), as ONNX Runtime's
//! PackedMultiHeadAttention wants them; the bias is added here, on the way in.
//!
//! Keys are turned on their side once, so that both products run along rows with
//! [`QUERIES`] rows of sums in registers. The exponential is a polynomial
//! that the compiler turns into vector code: calling libm for each of the
//! `tokens²·heads` weights cost more than every matrix product of a small model.

use std::cell::RefCell;

/// Queries handled together: 4 × 32 sums fill half of AVX-512's registers, 4 × 16 half of AVX2's.
const QUERIES: usize = 4;

/// Where one sequence and head lie in the flat projection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// First token of the sequence.
    pub(crate) start: usize,
    /// Tokens in it.
    pub(crate) len: usize,
    /// Which head.
    pub(crate) head: usize,
    /// Heads in all.
    pub(crate) heads: usize,
    /// Numbers in a head.
    pub(crate) size: usize,
}

#[derive(Default)]
struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    weights: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Attends one head of one sequence.
///
/// `qkv`: (tokens × heads × 3 × size) of the whole batch; `bias`: (heads × 3 ×
/// size); `write(token, numbers)` receives each token's `size` numbers.
pub(crate) fn attend(head: Head, qkv: &[f32], bias: &[f32], write: &mut dyn FnMut(usize, &[f32])) {
    SCRATCH.with_borrow_mut(|scratch| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the feature it is compiled for was detected just now.
                #[expect(unsafe_code, reason = "calling a function compiled for a detected CPU feature")]
                unsafe {
                    attend_avx512(head, qkv, bias, scratch, write);
                }
                return;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the features it is compiled for were detected just now.
                #[expect(unsafe_code, reason = "calling a function compiled for a detected CPU feature")]
                unsafe {
                    attend_avx2(head, qkv, bias, scratch, write);
                }
                return;
            }
        }
        // NEON always has fused multiply-add; plain x86-64 does not.
        attend_lanes::<16, { cfg!(target_arch = "aarch64") }>(head, qkv, bias, scratch, write);
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn attend_avx512(head: Head, qkv: &[f32], bias: &[f32], scratch: &mut Scratch, write: &mut dyn FnMut(usize, &[f32])) {
    attend_lanes::<32, true>(head, qkv, bias, scratch, write);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn attend_avx2(head: Head, qkv: &[f32], bias: &[f32], scratch: &mut Scratch, write: &mut dyn FnMut(usize, &[f32])) {
    attend_lanes::<16, true>(head, qkv, bias, scratch, write);
}

/// `a·b + c`, fused where the target has it (`mul_add` without it is a library call).
#[inline(always)]
fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn attend_lanes<const LANES: usize, const FUSED: bool>(
    head: Head,
    qkv: &[f32],
    bias: &[f32],
    scratch: &mut Scratch,
    write: &mut dyn FnMut(usize, &[f32]),
) {
    let Head { start, len, head, heads, size } = head;
    let row = heads * 3 * size;
    let at = head * 3 * size;
    // Sizes rounded up to whole vectors; the tails are zero and change no sum.
    let wide = len.next_multiple_of(LANES);
    let deep = size.next_multiple_of(LANES);
    let scale = 1.0 / (size as f32).sqrt();

    let Scratch { keys, values, weights } = scratch;
    keys.clear();
    keys.resize(size * wide, 0.0);
    values.clear();
    values.resize(wide * deep, 0.0);
    weights.clear();
    weights.resize(QUERIES * wide, 0.0);

    let bias = &bias[at..at + 3 * size];
    for j in 0..len {
        let token = &qkv[(start + j) * row + at..][..3 * size];
        for d in 0..size {
            keys[d * wide + j] = (token[size + d] + bias[size + d]) * scale;
        }
        for d in 0..size {
            values[j * deep + d] = token[2 * size + d] + bias[2 * size + d];
        }
    }

    let mut query = vec![[0.0f32; QUERIES]; size];
    let mut out = vec![0.0f32; QUERIES * deep];
    for i0 in (0..len).step_by(QUERIES) {
        let rows = QUERIES.min(len - i0);
        for r in 0..rows {
            let token = &qkv[(start + i0 + r) * row + at..][..size];
            for d in 0..size {
                query[d][r] = token[d] + bias[d];
            }
        }
        for j0 in (0..wide).step_by(LANES) {
            let mut sums = [[0.0f32; LANES]; QUERIES];
            for (q, k) in query.iter().zip(keys.chunks_exact(wide)) {
                let k: &[f32; LANES] = match k[j0..j0 + LANES].try_into() {
                    Ok(k) => k,
                    Err(_) => unreachable!("a slice of LANES numbers"),
                };
                for r in 0..QUERIES {
                    for l in 0..LANES {
                        sums[r][l] = fma::<FUSED>(q[r], k[l], sums[r][l]);
                    }
                }
            }
            for r in 0..QUERIES {
                weights[r * wide + j0..][..LANES].copy_from_slice(&sums[r]);
            }
        }
        let mut scales = [0.0f32; QUERIES];
        for (r, scale) in scales.iter_mut().enumerate() {
            let (live, tail) = weights[r * wide..][..wide].split_at_mut(len);
            tail.fill(0.0);
            *scale = 1.0 / exponentiate::<LANES, FUSED>(live);
        }
        for d0 in (0..deep).step_by(LANES) {
            let mut sums = [[0.0f32; LANES]; QUERIES];
            for j in 0..len {
                let v: &[f32; LANES] = match values[j * deep + d0..][..LANES].try_into() {
                    Ok(v) => v,
                    Err(_) => unreachable!("a slice of LANES numbers"),
                };
                for r in 0..QUERIES {
                    let w = weights[r * wide + j];
                    for l in 0..LANES {
                        sums[r][l] = fma::<FUSED>(w, v[l], sums[r][l]);
                    }
                }
            }
            for r in 0..QUERIES {
                for l in 0..LANES {
                    out[r * deep + d0 + l] = sums[r][l] * scales[r];
                }
            }
        }
        for r in 0..rows {
            write(start + i0 + r, &out[r * deep..][..size]);
        }
    }
}

/// Replaces each `x` by `exp(x − max)` and returns the sum of them.
#[inline(always)]
fn exponentiate<const LANES: usize, const FUSED: bool>(row: &mut [f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for c in &mut chunks {
        for l in 0..LANES {
            most[l] = if c[l] > most[l] { c[l] } else { most[l] };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for &x in most.iter().chain(chunks.remainder()) {
        max = if x > max { x } else { max };
    }
    let mut sums = [0.0f32; LANES];
    let mut chunks = row.chunks_exact_mut(LANES);
    for c in &mut chunks {
        for l in 0..LANES {
            c[l] = exp::<FUSED>(c[l] - max);
            sums[l] += c[l];
        }
    }
    let mut sum = 0.0;
    for x in chunks.into_remainder() {
        *x = exp::<FUSED>(*x - max);
        sum += *x;
    }
    sum + sums.iter().sum::<f32>()
}

/// `exp(x)` for `x ≤ 0`, relative error below 2e-7, NaN kept (Cody–Waite reduction, degree 6).
#[inline(always)]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    /// Adding and taking it away rounds to a whole number, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Below this the result is no longer a normal number; it is held there.
    const LEAST: f32 = -87.0;
    let x = if x < LEAST { LEAST } else { x };
    let shifted = fma::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FUSED>(n, -LN2_HIGH, x);
    let r = fma::<FUSED>(n, -LN2_LOW, r);
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma::<FUSED>(p, r, c);
    }
    let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    p * power
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
            let s: Vec<f64> = (0..h.len)
                .map(|j| (0..h.size).map(|d| part(i, 0, d) * part(j, 1, d)).sum::<f64>() / (h.size as f64).sqrt())
                .collect();
            let m = s.iter().copied().fold(f64::MIN, f64::max);
            let e: Vec<f64> = s.iter().map(|x| (x - m).exp()).collect();
            let z: f64 = e.iter().sum();
            out.extend((0..h.size).map(|d| (0..h.len).map(|j| e[j] * part(j, 2, d)).sum::<f64>() / z));
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
            assert!((f64::from(*g) - w).abs() <= 2e-5 * w.abs().max(1.0), "{g} is not {w}");
        }
    }

    proptest! {
        #[test]
        fn every_length_and_size_agrees_with_the_formula(len in 1usize..70, size in 1usize..70, before in 0usize..5, head in 0usize..3, seed: u64, spread in 0.1f32..8.0) {
            let h = Head { start: before, len, head, heads: 3, size };
            check(h, before + len + 2, seed, spread, attend);
            check(h, before + len + 2, seed, spread, |h, q, b, w| attend_lanes::<16, false>(h, q, b, &mut Scratch::default(), w));
        }

        #[test]
        fn exp_is_close(x in -100f32..0.0) {
            let want = f64::from(x.max(-87.0)).exp();
            prop_assert!((f64::from(exp::<false>(x)) - want).abs() <= 3e-7 * want);
            prop_assert!((f64::from(exp::<true>(x)) - want).abs() <= 3e-7 * want);
        }
    }

    #[test]
    fn not_a_number_is_passed_on() {
        let h = Head { start: 0, len: 3, head: 0, heads: 1, size: 4 };
        let mut qkv = vec![0.5; 3 * 12];
        qkv[5] = f32::NAN;
        let mut out = Vec::new();
        attend(h, &qkv, &[0.0; 12], &mut |_, x| out.extend_from_slice(x));
        assert!(out.iter().all(|x| x.is_nan()));
    }
}
