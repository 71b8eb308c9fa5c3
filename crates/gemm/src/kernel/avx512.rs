//! Vectors of 512 bits: pairs of bf16 and quads of bytes, each by one instruction.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::{GroupSums, Strip, tile};
use crate::tile::{STRIP, TILE_COLUMNS, Tile};

/// Rows whose sums of 32 columns are held in registers: 16 of 32.
const ROWS: usize = 8;

/// Pairs of bf16, one after the other.
pub(super) fn halves(rows: usize, x: &[Tile], columns: [&[Tile]; 2], strip: Strip<'_>, sums: &mut GroupSums) {
    for first in (0..rows).step_by(ROWS) {
        // SAFETY: the unit is here, or it would not have been chosen.
        #[expect(unsafe_code, reason = "instructions that are checked for when a weight is packed")]
        unsafe {
            halves_of(first, x, columns, strip, &mut sums[first * STRIP..]);
        }
    }
}

/// Quads of int8, exactly.
pub(super) fn bytes(rows: usize, x: &[Tile], columns: [&[Tile]; 2], strip: Strip<'_>, sums: &mut GroupSums) {
    for first in (0..rows).step_by(ROWS) {
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "instructions that are checked for when a weight is packed")]
        unsafe {
            bytes_of(first, x, columns, strip, &mut sums[first * STRIP..]);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn halves_of(first: usize, x: &[Tile], columns: [&[Tile]; 2], strip: Strip<'_>, sums: &mut [f32]) {
    let mut held = begin(strip.is_first, sums, &[0.0; STRIP]);
    for step in strip.steps {
        let x = tile(x, step.a).bytes().as_chunks::<64>().0;
        let weights = columns.map(|columns| tile(columns, step.b).bytes().as_chunks::<64>().0);
        for pair in 0..16 {
            let both = weights.map(|weights| halves_in(load(&weights[pair])));
            for (r, held) in held.iter_mut().enumerate() {
                let x = halves_in(_mm512_set1_epi32(word(&x[first + r], pair)));
                held[0] = _mm512_dpbf16_ps(held[0], x, both[0]);
                held[1] = _mm512_dpbf16_ps(held[1], x, both[1]);
            }
        }
    }
    end(&held, sums);
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn bytes_of(first: usize, x: &[Tile], columns: [&[Tile]; 2], strip: Strip<'_>, sums: &mut [f32]) {
    let begins = strip.offsets.map_or([0.0; STRIP], |all| all.map(|sum| f32::from_bits(sum.cast_unsigned())));
    let mut held = begin(strip.is_first, sums, &begins).map(|row| row.map(|v| _mm512_castps_si512(v)));
    for step in strip.steps {
        let x = tile(x, step.a).bytes().as_chunks::<64>().0;
        let weights = columns.map(|columns| tile(columns, step.b).bytes().as_chunks::<64>().0);
        for quad in 0..16 {
            let both = weights.map(|weights| load(&weights[quad]));
            for (r, held) in held.iter_mut().enumerate() {
                // 128 added to each of the four.
                let x = _mm512_set1_epi32(word(&x[first + r], quad) ^ 0x8080_8080_u32.cast_signed());
                held[0] = _mm512_dpbusd_epi32(held[0], x, both[0]);
                held[1] = _mm512_dpbusd_epi32(held[1], x, both[1]);
            }
        }
    }
    end(&held.map(|row| row.map(|v| _mm512_castsi512_ps(v))), sums);
}

/// Sums of eight rows and two vectors.
type HeldSums = [[__m512; 2]; ROWS];

#[target_feature(enable = "avx512f")]
fn begin(is_first: bool, sums: &[f32], fresh: &[f32; STRIP]) -> HeldSums {
    let mut held = [[_mm512_setzero_ps(); 2]; ROWS];
    for (r, row) in held.iter_mut().enumerate() {
        for (v, held) in row.iter_mut().enumerate() {
            let at = v * TILE_COLUMNS;
            let from = if is_first { &fresh[at..][..16] } else { &sums[r * STRIP + at..][..16] };
            // SAFETY: sixteen numbers.
            #[expect(unsafe_code, reason = "vectors are loaded by address")]
            unsafe {
                *held = _mm512_loadu_ps(from.as_ptr());
            }
        }
    }
    held
}

#[target_feature(enable = "avx512f")]
fn end(held: &HeldSums, sums: &mut [f32]) {
    for (r, row) in held.iter().enumerate() {
        for (v, held) in row.iter().enumerate() {
            let to = &mut sums[r * STRIP + v * TILE_COLUMNS..][..16];
            // SAFETY: sixteen numbers.
            #[expect(unsafe_code, reason = "vectors are stored by address")]
            unsafe {
                _mm512_storeu_ps(to.as_mut_ptr(), *held);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes.
    #[expect(unsafe_code, reason = "vectors are loaded by address")]
    unsafe {
        _mm512_loadu_si512(bytes.as_ptr().cast())
    }
}

/// The same bits as pairs of bf16.
#[target_feature(enable = "avx512f")]
fn halves_in(v: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes of any bits.
    #[expect(unsafe_code, reason = "there is no intrinsic between the two")]
    unsafe {
        std::mem::transmute(v)
    }
}

/// The pair or quad at place `i` of a row of a tile.
#[inline(always)]
fn word(row: &[u8; 64], i: usize) -> i32 {
    i32::from_le_bytes(row.as_chunks().0[i])
}
