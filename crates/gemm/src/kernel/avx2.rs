//! Vectors of 256 bits: bf16 widened to f32, and quads of bytes by AVX-VNNI.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_and_si256, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_dpbusd_avx_epi32,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_storeu_ps,
};

use super::{GroupSums, Strip, tile};
use crate::tile::{STRIP, TILE_COLUMNS, Tile};

/// Rows whose sums of 16 columns are held in registers.
const ROWS: usize = 4;

/// Pairs of bf16, one after the other, each added without rounding its product.
pub(super) fn halves(rows: usize, x: &[Tile], columns: [&[Tile]; 2], strip: Strip<'_>, sums: &mut GroupSums) {
    for first in (0..rows).step_by(ROWS) {
        for (half, columns) in columns.into_iter().enumerate() {
            // SAFETY: the unit is here, or it would not have been chosen.
            #[expect(unsafe_code, reason = "instructions that are checked for when a weight is packed")]
            unsafe {
                halves_of(first, x, columns, strip, &mut sums[first * STRIP + half * TILE_COLUMNS..]);
            }
        }
    }
}

/// Quads of int8, exactly.
pub(super) fn bytes(rows: usize, x: &[Tile], columns: [&[Tile]; 2], strip: Strip<'_>, sums: &mut GroupSums) {
    for first in (0..rows).step_by(ROWS) {
        for (half, columns) in columns.into_iter().enumerate() {
            // SAFETY: as above.
            #[expect(unsafe_code, reason = "instructions that are checked for when a weight is packed")]
            unsafe {
                bytes_of(first, x, columns, strip, half, &mut sums[first * STRIP + half * TILE_COLUMNS..]);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn halves_of(first: usize, x: &[Tile], columns: &[Tile], strip: Strip<'_>, sums: &mut [f32]) {
    let mut held = begin(strip.is_first, sums, |_| _mm256_setzero_ps());
    let odd_bits = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
    for step in strip.steps {
        let x = tile(x, step.a).bytes().as_chunks::<64>().0;
        let pairs = tile(columns, step.b).bytes().as_chunks::<32>().0;
        for pair in 0..16 {
            let both = [load(&pairs[2 * pair]), load(&pairs[2 * pair + 1])];
            let even = both.map(|v| _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)));
            let odd = both.map(|v| _mm256_castsi256_ps(_mm256_and_si256(v, odd_bits)));
            for (r, held) in held.iter_mut().enumerate() {
                let word = _mm256_set1_epi32(word(&x[first + r], pair));
                let x = _mm256_castsi256_ps(_mm256_slli_epi32(word, 16));
                held[0] = _mm256_fmadd_ps(x, even[0], held[0]);
                held[1] = _mm256_fmadd_ps(x, even[1], held[1]);
                let x = _mm256_castsi256_ps(_mm256_and_si256(word, odd_bits));
                held[0] = _mm256_fmadd_ps(x, odd[0], held[0]);
                held[1] = _mm256_fmadd_ps(x, odd[1], held[1]);
            }
        }
    }
    end(&held, sums);
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn bytes_of(first: usize, x: &[Tile], columns: &[Tile], strip: Strip<'_>, half: usize, sums: &mut [f32]) {
    let begins = strip.offsets.map_or([0.0; STRIP], |all| all.map(|sum| f32::from_bits(sum.cast_unsigned())));
    let offset = |v: usize| load_sums(&begins[half * TILE_COLUMNS + 8 * v..]);
    let mut held = begin(strip.is_first, sums, offset).map(|row| row.map(|v| _mm256_castps_si256(v)));
    for step in strip.steps {
        let x = tile(x, step.a).bytes().as_chunks::<64>().0;
        let quads = tile(columns, step.b).bytes().as_chunks::<32>().0;
        for quad in 0..16 {
            let both = [load(&quads[2 * quad]), load(&quads[2 * quad + 1])];
            for (r, held) in held.iter_mut().enumerate() {
                // 128 added to each of the four.
                let x = _mm256_set1_epi32(word(&x[first + r], quad) ^ 0x8080_8080_u32.cast_signed());
                held[0] = _mm256_dpbusd_avx_epi32(held[0], x, both[0]);
                held[1] = _mm256_dpbusd_avx_epi32(held[1], x, both[1]);
            }
        }
    }
    end(&held.map(|row| row.map(|v| _mm256_castsi256_ps(v))), sums);
}

/// Sums of four rows and two vectors.
type HeldHalves = [[__m256; 2]; ROWS];

#[target_feature(enable = "avx2")]
fn begin(is_first: bool, sums: &[f32], fresh: impl Fn(usize) -> __m256) -> HeldHalves {
    let mut held = [[_mm256_setzero_ps(); 2]; ROWS];
    for (r, row) in held.iter_mut().enumerate() {
        for (v, held) in row.iter_mut().enumerate() {
            *held = if is_first { fresh(v) } else { load_sums(&sums[r * STRIP + 8 * v..]) };
        }
    }
    held
}

#[target_feature(enable = "avx2")]
fn end(held: &HeldHalves, sums: &mut [f32]) {
    for (r, row) in held.iter().enumerate() {
        for (v, held) in row.iter().enumerate() {
            let to = &mut sums[r * STRIP + 8 * v..][..8];
            // SAFETY: eight numbers.
            #[expect(unsafe_code, reason = "vectors are stored by address")]
            unsafe {
                _mm256_storeu_ps(to.as_mut_ptr(), *held);
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn load_sums(sums: &[f32]) -> __m256 {
    let sums = &sums[..8];
    // SAFETY: eight numbers.
    #[expect(unsafe_code, reason = "vectors are loaded by address")]
    unsafe {
        _mm256_loadu_ps(sums.as_ptr())
    }
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes.
    #[expect(unsafe_code, reason = "vectors are loaded by address")]
    unsafe {
        _mm256_loadu_si256(bytes.as_ptr().cast())
    }
}

/// The pair or quad at place `i` of a row of a tile.
#[inline(always)]
fn word(row: &[u8; 64], i: usize) -> i32 {
    i32::from_le_bytes(row.as_chunks().0[i])
}
