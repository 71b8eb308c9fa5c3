//! Products of f32: a number of each row times the weights of its column, added without rounding the product, one number of K
//! after the other. Every unit makes the same sums in the same order; the portable one alone rounds each product.

use super::GroupSums;
use crate::{
    row_tiles::RowTiles,
    tile::{STRIP, TILE_COLUMNS, TILE_ROWS, Tile},
    unit::Unit,
};

/// Tiles of K that are gone through for all rows before the next: with two columns of tiles 24 KiB of weights, and 12 KiB of a group's
/// rows beside them, which stay in the first cache.
const CHUNK: usize = 12;

/// What a strip of 32 columns is made of.
#[derive(Clone, Copy)]
pub(crate) struct SingleStrip<'a> {
    pub(crate) unit: Unit,
    pub(crate) x: &'a RowTiles,
    /// Tiles of two groups of columns, as deep as the rows.
    pub(crate) columns: [&'a [Tile]; 2],
    /// What is read next from both, to be fetched meanwhile; empty where nobody knows.
    pub(crate) next: [&'a [Tile]; 2],
    /// Whether sums begin here; else they go on.
    pub(crate) is_first: bool,
}

/// Adds the products to `sums`, `[16 rows][16][32]`, where those of a group of 16 rows of `x` have place `at` of that group.
#[inline(always)]
pub(crate) fn strip(strip: SingleStrip<'_>, sums: &mut [f32], at: impl Fn(usize) -> usize) {
    let deep = strip.columns[0].len();
    let groups = strip.x.groups();
    for from in (0..deep).step_by(CHUNK) {
        let to = deep.min(from + CHUNK);
        let columns = strip.columns.map(|tiles| &tiles[from..to]);
        let ahead = match to == deep {
            true => strip.next.map(|tiles| &tiles[..tiles.len().min(CHUNK)]),
            false => strip.columns.map(|tiles| &tiles[to..deep.min(to + CHUNK)]),
        };
        // Of what comes next, each group of rows fetches its share.
        let share = ahead[0].len().div_ceil(groups);
        for group in 0..groups {
            let sums = &mut sums.as_chunks_mut().0[at(group)];
            let rows = (strip.x.rows() - group * TILE_ROWS).min(TILE_ROWS);
            let x = &strip.x.group(group)[from..to];
            let ahead = ahead.map(|tiles| &tiles[tiles.len().min(group * share)..tiles.len().min((group + 1) * share)]);
            let part = SinglePart { rows, x, columns, ahead, is_first: strip.is_first && from == 0 };
            match strip.unit {
                #[cfg(target_arch = "x86_64")]
                Unit::Avx512 => vectors::by_512(part, sums),
                #[cfg(target_arch = "x86_64")]
                Unit::Avx2 => vectors::by_256(part, sums),
                _ => portable(part, sums),
            }
        }
    }
}

/// A group of rows and some of K.
#[derive(Clone, Copy)]
struct SinglePart<'a> {
    rows: usize,
    x: &'a [Tile],
    columns: [&'a [Tile]; 2],
    ahead: [&'a [Tile]; 2],
    is_first: bool,
}

/// Plain Rust, each product rounded before it is added.
#[inline(never)]
fn portable(part: SinglePart<'_>, sums: &mut GroupSums) {
    for (row, sums) in sums.as_chunks_mut::<STRIP>().0.iter_mut().enumerate().take(part.rows) {
        if part.is_first {
            *sums = [0.0; STRIP];
        }
        for (sums, columns) in sums.as_chunks_mut::<TILE_COLUMNS>().0.iter_mut().zip(part.columns) {
            for (x, columns) in part.x.iter().zip(columns) {
                for (x, weights) in x.singles()[row].iter().zip(columns.singles()) {
                    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use std::arch::x86_64::{
        __m256, __m512, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps,
        _mm256_setzero_ps, _mm256_storeu_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use super::{GroupSums, SinglePart};
    use crate::tile::{STRIP, TILE_BYTES, TILE_COLUMNS, TILE_ROWS, Tile};

    /// Rows whose sums of 32 columns are held in registers: 16 of 32.
    const ROWS_512: usize = 8;
    /// Rows whose sums of 16 columns are held in registers: 12 of 16.
    const ROWS_256: usize = 6;
    /// What is left of a group.
    const LAST_256: usize = TILE_ROWS - 2 * ROWS_256;
    /// Bytes that are fetched together.
    const LINE: usize = 64;

    /// Vectors of 512 bits.
    pub(super) fn by_512(part: SinglePart<'_>, sums: &mut GroupSums) {
        for (half, first) in (0..part.rows).step_by(ROWS_512).enumerate() {
            // SAFETY: the unit is here, or it would not have been chosen.
            #[expect(unsafe_code, reason = "instructions that are checked for when a weight is packed")]
            unsafe {
                rows_512(first, part, part.ahead[half], &mut sums[first * STRIP..]);
            }
        }
    }

    /// Vectors of 256 bits.
    pub(super) fn by_256(part: SinglePart<'_>, sums: &mut GroupSums) {
        for first in (0..part.rows).step_by(ROWS_256) {
            for (half, columns) in part.columns.into_iter().enumerate() {
                let sums = &mut sums[first * STRIP + half * TILE_COLUMNS..];
                // SAFETY: as above.
                #[expect(unsafe_code, reason = "instructions that are checked for when a weight is packed")]
                unsafe {
                    if first == 2 * ROWS_256 {
                        rows_256::<LAST_256>(first, part, columns, sums);
                    } else {
                        rows_256::<ROWS_256>(first, part, columns, sums);
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn rows_512(first: usize, part: SinglePart<'_>, ahead: &[Tile], sums: &mut [f32]) {
        let mut held = [[_mm512_setzero_ps(); 2]; ROWS_512];
        let sums = &mut sums[..ROWS_512 * STRIP];
        if !part.is_first {
            for (held, row) in held.iter_mut().zip(sums.as_chunks::<STRIP>().0) {
                *held = [load_512(&row[..16]), load_512(&row[16..])];
            }
        }
        let [left, right] = part.columns;
        let lines = ahead.len() * TILE_BYTES / LINE;
        for (i, (x, (left, right))) in part.x.iter().zip(left.iter().zip(right)).enumerate() {
            for line in i * lines / part.x.len()..(i + 1) * lines / part.x.len() {
                _mm_prefetch::<_MM_HINT_T1>(ahead.as_ptr().cast::<i8>().wrapping_add(line * LINE));
            }
            for row in 0..ROWS_512 {
                _mm_prefetch::<_MM_HINT_T0>(
                    std::ptr::from_ref(x).wrapping_add(1).cast::<i8>().wrapping_add((first + row) * LINE),
                );
            }
            let Some(x) = x.singles()[first..].first_chunk::<ROWS_512>() else { return };
            for (k, (left, right)) in left.singles().iter().zip(right.singles()).enumerate() {
                let both = [load_512(left), load_512(right)];
                for (held, x) in held.iter_mut().zip(x) {
                    let x = _mm512_set1_ps(x[k]);
                    held[0] = _mm512_fmadd_ps(x, both[0], held[0]);
                    held[1] = _mm512_fmadd_ps(x, both[1], held[1]);
                }
            }
        }
        for (held, row) in held.iter().zip(sums.as_chunks_mut::<STRIP>().0) {
            for (held, to) in held.iter().zip(row.as_chunks_mut::<16>().0) {
                // SAFETY: sixteen numbers.
                #[expect(unsafe_code, reason = "vectors are stored by address")]
                unsafe {
                    _mm512_storeu_ps(to.as_mut_ptr(), *held);
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn rows_256<const ROWS: usize>(first: usize, part: SinglePart<'_>, columns: &[Tile], sums: &mut [f32]) {
        let mut held = [[_mm256_setzero_ps(); 2]; ROWS];
        if !part.is_first {
            for (held, row) in held.iter_mut().zip(sums.chunks(STRIP)) {
                *held = [load_256(&row[..8]), load_256(&row[8..])];
            }
        }
        for (x, weights) in part.x.iter().zip(columns) {
            let Some(x) = x.singles()[first..].first_chunk::<ROWS>() else { return };
            for (k, weights) in weights.singles().iter().enumerate() {
                let both = [load_256(&weights[..8]), load_256(&weights[8..])];
                for (held, x) in held.iter_mut().zip(x) {
                    let x = _mm256_set1_ps(x[k]);
                    held[0] = _mm256_fmadd_ps(x, both[0], held[0]);
                    held[1] = _mm256_fmadd_ps(x, both[1], held[1]);
                }
            }
        }
        for (held, row) in held.iter().zip(sums.chunks_mut(STRIP)) {
            for (held, to) in held.iter().zip(row.as_chunks_mut::<8>().0) {
                // SAFETY: eight numbers.
                #[expect(unsafe_code, reason = "vectors are stored by address")]
                unsafe {
                    _mm256_storeu_ps(to.as_mut_ptr(), *held);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn load_512(numbers: &[f32]) -> __m512 {
        let numbers = &numbers[..16];
        // SAFETY: sixteen numbers.
        #[expect(unsafe_code, reason = "vectors are loaded by address")]
        unsafe {
            _mm512_loadu_ps(numbers.as_ptr())
        }
    }

    #[target_feature(enable = "avx2")]
    fn load_256(numbers: &[f32]) -> __m256 {
        let numbers = &numbers[..8];
        // SAFETY: eight numbers.
        #[expect(unsafe_code, reason = "vectors are loaded by address")]
        unsafe {
            _mm256_loadu_ps(numbers.as_ptr())
        }
    }
}
