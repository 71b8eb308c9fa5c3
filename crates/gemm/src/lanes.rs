//! What vectors do that a loop does not say well: rounding to bf16, weights of a softmax, tiles turned on their side.

use crate::convert::bf16;

/// Numbers handled side by side: a row of a strip.
pub(crate) const PIECE: usize = 32;

/// These steps for one width of vectors.
pub(crate) trait Lanes {
    /// Each as bf16.
    fn halves(numbers: &[f32; PIECE]) -> [u16; PIECE];

    /// `2^(score − most)` of each, within 4e-6 of it; 0 below 2^−126.
    fn weights(scores: &[f32; PIECE], most: f32) -> [f32; PIECE];

    /// 16 rows of 16 pairs, turned on their side: pairs stay together.
    fn turned(rows: &[[u16; PIECE]; 16]) -> [[u16; PIECE]; 16];

    /// The numbers of two rows in turns: those of the first 16 places, then those of the last.
    fn woven(first: &[u16; PIECE], second: &[u16; PIECE]) -> [[u16; PIECE]; 2];
}

/// Coefficients of `2^x` between 0 and 1, the highest power first: within 3e-6 of it.
const POWER: [f32; 5] = [1.353_416_4e-2, 5.201_147e-2, 0.241_442_74, 0.693_003_83, 1.000_002_6];

/// Plain Rust, of which the compiler makes what vectors it may.
pub(crate) struct PlainLanes;

impl Lanes for PlainLanes {
    #[inline(always)]
    fn halves(numbers: &[f32; PIECE]) -> [u16; PIECE] {
        numbers.map(bf16)
    }

    #[inline(always)]
    fn weights(scores: &[f32; PIECE], most: f32) -> [f32; PIECE] {
        scores.map(|x| power(x - most))
    }

    #[inline(always)]
    fn turned(rows: &[[u16; PIECE]; 16]) -> [[u16; PIECE]; 16] {
        std::array::from_fn(|pair| std::array::from_fn(|i| rows[i / 2][2 * pair + i % 2]))
    }

    #[inline(always)]
    fn woven(first: &[u16; PIECE], second: &[u16; PIECE]) -> [[u16; PIECE]; 2] {
        let woven = |from: usize| -> [u16; PIECE] {
            std::array::from_fn(|i| if i % 2 == 0 { first[from + i / 2] } else { second[from + i / 2] })
        };
        [woven(0), woven(16)]
    }
}

/// `2^x` for numbers that are not above 0 by much. Below −126 it is 0.
#[inline(always)]
fn power(x: f32) -> f32 {
    const LEAST: f32 = -126.0;
    // Not max: it may drop a NaN.
    let held = if x < LEAST { LEAST } else { x };
    let whole = held.floor();
    let rest = held - whole;
    let mut p = POWER[0];
    for c in &POWER[1..] {
        p = p.mul_add(rest, *c);
    }
    let scaled = p * f32::from_bits((((whole as i32) + 127) as u32) << 23);
    if x < LEAST { 0.0 } else { scaled }
}

/// Vectors of 512 bits with bf16 among their formats. Denormals count as zero when they are rounded, as in the products they go to.
#[cfg(target_arch = "x86_64")]
pub(crate) struct WideLanes;

#[cfg(target_arch = "x86_64")]
mod wide {
    #![expect(unsafe_code, reason = "vectors are loaded and stored by address")]

    use std::arch::x86_64::{
        __m512, __m512i, _mm512_cvtne2ps_pbh, _mm512_fmadd_ps, _mm512_loadu_epi16, _mm512_loadu_epi32, _mm512_loadu_ps,
        _mm512_permutex2var_epi16, _mm512_reduce_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_shuffle_i32x4,
        _mm512_storeu_epi16, _mm512_storeu_epi32, _mm512_storeu_ps, _mm512_sub_ps, _mm512_unpackhi_epi32,
        _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    };

    use super::{Lanes, PIECE, POWER, WideLanes};

    /// Both halves of a piece.
    #[inline(always)]
    unsafe fn load(numbers: &[f32; PIECE]) -> [__m512; 2] {
        // SAFETY: 32 numbers; the caller has the instructions.
        unsafe { [_mm512_loadu_ps(numbers.as_ptr()), _mm512_loadu_ps(numbers.as_ptr().add(16))] }
    }

    #[inline(always)]
    unsafe fn power(x: __m512, most: __m512) -> __m512 {
        /// What is left above the whole number below.
        const BELOW: i32 = 1;
        // SAFETY: by the caller.
        unsafe {
            let x = _mm512_sub_ps(x, most);
            let rest = _mm512_reduce_ps::<BELOW>(x);
            let mut p = _mm512_set1_ps(POWER[0]);
            for c in &POWER[1..] {
                p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(*c));
            }
            _mm512_scalef_ps(p, x)
        }
    }

    // SAFETY of all: `by_vectors` takes these lanes where AVX-512 (F, BW, DQ, VL) and AVX512-BF16 were found.
    impl Lanes for WideLanes {
        #[inline(always)]
        fn halves(numbers: &[f32; PIECE]) -> [u16; PIECE] {
            // SAFETY: see above; both are 64 bytes of any bits.
            unsafe {
                let [low, high] = load(numbers);
                std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
            }
        }

        #[inline(always)]
        fn weights(scores: &[f32; PIECE], most: f32) -> [f32; PIECE] {
            let mut to = [0.0; PIECE];
            // SAFETY: see above; 32 numbers.
            unsafe {
                let most = _mm512_set1_ps(most);
                let [low, high] = load(scores);
                _mm512_storeu_ps(to.as_mut_ptr(), power(low, most));
                _mm512_storeu_ps(to.as_mut_ptr().add(16), power(high, most));
            }
            to
        }

        #[inline(always)]
        fn turned(rows: &[[u16; PIECE]; 16]) -> [[u16; PIECE]; 16] {
            let mut to = [[0; PIECE]; 16];
            // SAFETY: see above; 16 pairs each.
            unsafe {
                let at = |i: usize| -> __m512i { _mm512_loadu_epi32(rows[i].as_ptr().cast()) };
                // Squares of two, of four, then of sixteen.
                let mut two = [at(0); 16];
                for i in 0..8 {
                    let (a, b) = (at(2 * i), at(2 * i + 1));
                    two[2 * i] = _mm512_unpacklo_epi32(a, b);
                    two[2 * i + 1] = _mm512_unpackhi_epi32(a, b);
                }
                let mut four = two;
                for i in 0..4 {
                    let [a, b, c, d] = [two[4 * i], two[4 * i + 1], two[4 * i + 2], two[4 * i + 3]];
                    four[4 * i] = _mm512_unpacklo_epi64(a, c);
                    four[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
                    four[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
                    four[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
                }
                // `four[4·i + c]` has columns c, c + 4, c + 8, c + 12 of rows 4·i to 4·i + 3.
                for c in 0..4 {
                    let low = _mm512_shuffle_i32x4::<0x88>(four[c], four[4 + c]);
                    let high = _mm512_shuffle_i32x4::<0xdd>(four[c], four[4 + c]);
                    let lower = _mm512_shuffle_i32x4::<0x88>(four[8 + c], four[12 + c]);
                    let higher = _mm512_shuffle_i32x4::<0xdd>(four[8 + c], four[12 + c]);
                    for (row, v) in [
                        (c, _mm512_shuffle_i32x4::<0x88>(low, lower)),
                        (c + 4, _mm512_shuffle_i32x4::<0x88>(high, higher)),
                        (c + 8, _mm512_shuffle_i32x4::<0xdd>(low, lower)),
                        (c + 12, _mm512_shuffle_i32x4::<0xdd>(high, higher)),
                    ] {
                        _mm512_storeu_epi32(to[row].as_mut_ptr().cast(), v);
                    }
                }
            }
            to
        }

        #[inline(always)]
        fn woven(first: &[u16; PIECE], second: &[u16; PIECE]) -> [[u16; PIECE]; 2] {
            /// Places in the two rows, end to end.
            const fn places(from: u16) -> [u16; PIECE] {
                let mut all = [0; PIECE];
                let mut i = 0;
                while i < PIECE {
                    all[i] = from + i as u16 / 2 + if i % 2 == 1 { PIECE as u16 } else { 0 };
                    i += 1;
                }
                all
            }
            const PLACES: [[u16; PIECE]; 2] = [places(0), places(16)];
            let mut to = [[0; PIECE]; 2];
            // SAFETY: see above; 32 numbers each.
            unsafe {
                let [a, b] = [first, second].map(|row| _mm512_loadu_epi16(row.as_ptr().cast()));
                for (to, places) in to.iter_mut().zip(&PLACES) {
                    let places = _mm512_loadu_epi16(places.as_ptr().cast());
                    _mm512_storeu_epi16(to.as_mut_ptr().cast(), _mm512_permutex2var_epi16(a, places, b));
                }
            }
            to
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::{
        convert::bf16,
        unit::{self, Unit, VectorWidth},
        vectors::by_vectors,
    };

    /// What a width gives for some numbers.
    #[derive(Debug, Default, PartialEq)]
    struct GivenRows {
        halves: Vec<u16>,
        weights: Vec<f32>,
        turned: Vec<u16>,
        woven: Vec<u16>,
    }

    by_vectors! {
        fn all<L>(numbers: &[[f32; PIECE]; 16], given: &mut GivenRows) {
            let rows = numbers.map(|row| row.map(bf16));
            given.halves.extend(numbers.iter().flat_map(L::halves));
            given.weights.extend(numbers.iter().flat_map(|row| L::weights(row, 1.5)));
            given.turned.extend(L::turned(&rows).as_flattened());
            given.woven.extend(L::woven(&rows[0], &rows[1]).as_flattened());
        }
    }

    #[test]
    fn every_width_does_the_same() {
        let mut numbers: [[f32; PIECE]; 16] =
            std::array::from_fn(|r| std::array::from_fn(|c| 1.5 - (r * PIECE + c) as f32 * 0.37));
        numbers[3][4] = f32::NEG_INFINITY;
        numbers[5][6] = f32::NAN;
        let mut plain = GivenRows::default();
        all(VectorWidth::Plain, &numbers, &mut plain);
        for (x, weight) in numbers.as_flattened().iter().zip(&plain.weights) {
            let truth = (f64::from(*x) - 1.5).exp2();
            assert!(x.is_nan() && weight.is_nan() || (f64::from(*weight) - truth).abs() < 4e-6 * truth + 2e-38, "{x}");
        }
        for (i, x) in plain.turned.iter().enumerate() {
            let (pair, key) = (i / PIECE, i % PIECE / 2);
            assert_eq!(*x, bf16(numbers[key][2 * pair + i % 2]), "{i}");
        }
        for (i, x) in plain.woven.iter().enumerate() {
            assert_eq!(*x, bf16(numbers[i % 2][i / 2]), "{i}");
        }
        let here = unit::vectors(Unit::Amx);
        if here != VectorWidth::Avx512Bf16 {
            eprintln!("SKIPPED: this machine has no AVX512-BF16; its vectors are not judged here");
            return;
        }
        let mut wide = GivenRows::default();
        all(here, &numbers, &mut wide);
        assert_eq!((&wide.halves, &wide.turned, &wide.woven), (&plain.halves, &plain.turned, &plain.woven));
        for (wide, plain) in wide.weights.iter().zip(&plain.weights) {
            assert!(wide.is_nan() && plain.is_nan() || (wide - plain).abs() <= 1e-6 * plain + 2e-38, "{wide} {plain}");
        }
    }
}
