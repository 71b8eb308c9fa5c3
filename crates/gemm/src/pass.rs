//! Rows through all columns of a weight: 32 columns for all rows, then the next 32.
//!
//! Sums of 32 rows × 32 columns are handed row by row to whoever finishes them. On AMX that is done between the steps of the next
//! block: its unit needs no vectors, and they no unit.

use crate::{
    format::WeightFormat,
    kernel::{self, RunningUnit, Strip, SumRow, TileStep},
    row_tiles::RowTiles,
    tile::{STRIP, TILE_BYTES, TILE_ROWS, Tile},
    unit::Unit,
};

/// Rows of a block, whose sums fill AMX's tiles.
pub(crate) const BLOCK_ROWS: usize = 2 * TILE_ROWS;

/// The right side of a pass.
#[derive(Clone, Copy)]
pub(crate) struct PassColumns<'a> {
    pub(crate) format: WeightFormat,
    /// `[16 columns][tiles of a group]`.
    pub(crate) tiles: &'a [Tile],
    /// Tiles of a group of 16 columns.
    pub(crate) each: usize,
    /// Which tiles of a group of rows meet which of a group of columns, in this order.
    pub(crate) steps: &'a [TileStep],
    /// The last tiles of either's group that steps reach.
    pub(crate) reach: TileStep,
    /// Steps that are gone through for all rows before the next; sums wait in f32 between, which changes no bit of them.
    pub(crate) chunk: usize,
    /// int8: one a column.
    pub(crate) scales: &'a [f32],
    /// int8: what sums begin with where rows are met with 128 added.
    pub(crate) offsets: &'a [i32],
}

/// What becomes of sums.
pub(crate) trait Finish {
    /// Takes the 32 sums of a row of `x` with strip `strip` of weight `which`; rows in turn, then weights, then strips.
    fn row(&mut self, which: usize, strip: usize, row: usize, sums: &[f32; STRIP]);
}

/// Runs `x` through strips `0..strips` of each of `weights`, which have the same number of them, by turns.
#[inline(always)]
pub(crate) fn pass<F: Finish>(
    running: &RunningUnit,
    x: &RowTiles,
    weights: &[PassColumns<'_>],
    strips: usize,
    sums: &mut Vec<SumRow>,
    finish: &mut F,
) {
    sums.resize(x.groups().next_multiple_of(2).max(4) * TILE_ROWS, SumRow::ZERO);
    #[cfg(target_arch = "x86_64")]
    if running.unit() == Unit::Amx {
        return by_tiles(x, weights, strips, sums, finish);
    }
    for strip in 0..strips {
        for (which, weight) in weights.iter().enumerate() {
            let columns = &weight.tiles[strip * 2 * weight.each..][..2 * weight.each];
            let offsets = weight.offsets.get(strip * STRIP..).and_then(|rest| rest.first_chunk());
            for (i, steps) in weight.steps.chunks(weight.chunk).enumerate() {
                let strip = Strip { unit: running.unit(), x, columns, steps, offsets, is_first: i == 0 };
                kernel::strip(strip, weight.format, SumRow::flat(&mut sums[..x.groups() * TILE_ROWS]));
            }
            for (row, sums) in sums[..x.rows()].iter().enumerate() {
                finished(x, weight, (which, strip, row), &sums.0, finish);
            }
        }
    }
}

/// Hands a row over, scaled where sums are whole numbers.
#[inline(always)]
fn finished<F: Finish>(
    x: &RowTiles,
    weight: &PassColumns<'_>,
    (which, strip, row): (usize, usize, usize),
    sums: &[f32; STRIP],
    finish: &mut F,
) {
    let Some(scales) = weight.scales.get(strip * STRIP..).and_then(|rest| rest.first_chunk::<STRIP>()) else {
        return finish.row(which, strip, row, sums);
    };
    let (by, mut scaled) = (x.scales()[row], *sums);
    for (x, scale) in scaled.iter_mut().zip(scales) {
        *x = x.to_bits().cast_signed() as f32 * (by * scale);
    }
    finish.row(which, strip, row, &scaled);
}

/// A block whose sums wait to be finished.
#[cfg(target_arch = "x86_64")]
struct WaitingBlock {
    which: usize,
    strip: usize,
    /// Rows of `x`.
    rows: std::ops::Range<usize>,
    /// Where the sums of the first lie.
    at: usize,
}

#[cfg(target_arch = "x86_64")]
impl WaitingBlock {
    /// Finishes at most so many of its rows.
    #[inline(always)]
    fn some<F: Finish>(
        &mut self,
        most: usize,
        x: &RowTiles,
        weights: &[PassColumns<'_>],
        sums: &[SumRow],
        finish: &mut F,
    ) {
        for row in self.rows.start..self.rows.end.min(self.rows.start + most) {
            let place = (self.which, self.strip, row);
            finished(x, &weights[self.which], place, &sums[self.at].0, finish);
            self.at += 1;
            self.rows.start += 1;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn by_tiles<F: Finish>(x: &RowTiles, weights: &[PassColumns<'_>], strips: usize, sums: &mut [SumRow], finish: &mut F) {
    use kernel::amx::{Block, SumsAt};
    let mut waiting = WaitingBlock { which: 0, strip: 0, rows: 0..0, at: 0 };
    let (mut turn, groups, in_group) = (0, x.groups(), x.tiles_in_group());
    let blocks = groups.div_ceil(2);
    for strip in 0..strips {
        for (which, weight) in weights.iter().enumerate() {
            let columns = &weight.tiles[strip * 2 * weight.each..][..2 * weight.each];
            let next = weight.tiles.get((strip + 1) * 2 * weight.each..).unwrap_or_default();
            let chunks = weight.steps.len().div_ceil(weight.chunk);
            for (c, steps) in weight.steps.chunks(weight.chunk).enumerate() {
                for group in (0..groups).step_by(2) {
                    let is_pair = group + 1 < groups;
                    let rows = &x.all()[group * in_group..][..if is_pair { 2 * in_group } else { in_group }];
                    // Two places by turns, where no sums wait for the next chunk.
                    turn = if chunks == 1 { (turn + 1) % 2 } else { group / 2 };
                    let at = turn * BLOCK_ROWS;
                    let block = Block::new(rows, columns, is_pair, weight.format == WeightFormat::Int8, weight.reach);
                    block.begin(c == 0, SumsAt::new(SumRow::flat(&mut sums[at..]), STRIP, is_pair));
                    let lines = group / 2 * 16 / blocks..(group / 2 + 1) * 16 / blocks;
                    let each = waiting.rows.len().div_ceil(steps.len());
                    for step in steps {
                        block.step(*step);
                        ahead(next, weight.each, *step, lines.clone());
                        waiting.some(each, x, weights, sums, finish);
                    }
                    block.end(SumsAt::new(SumRow::flat(&mut sums[at..]), STRIP, is_pair));
                    if c + 1 == chunks {
                        let first = group * TILE_ROWS;
                        waiting = WaitingBlock { which, strip, rows: first..x.rows().min(first + BLOCK_ROWS), at };
                    }
                }
            }
        }
    }
    waiting.some(BLOCK_ROWS, x, weights, sums, finish);
}

/// Asks for lines of the next strip's tiles of a step, which every block of rows does for its share of them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ahead(next: &[Tile], each: usize, step: TileStep, lines: std::ops::Range<usize>) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    const LINE: usize = 64;
    if next.is_empty() {
        return;
    }
    let first = next.as_ptr().cast::<i8>().wrapping_add(step.b as usize);
    for line in lines {
        for group in [first, first.wrapping_add(each * TILE_BYTES)] {
            // SAFETY: a hint, of whatever address.
            #[expect(unsafe_code, reason = "asks the cache, reads nothing")]
            unsafe {
                _mm_prefetch::<_MM_HINT_T1>(group.wrapping_add(line * LINE));
            }
        }
    }
}
