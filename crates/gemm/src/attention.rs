//! Attention of one head over one sequence, both products in bf16: `softmax(q·kᵀ)·v`, softmax in f32.
//!
//! Keys and values are cut into tiles like weights, once for all queries of a call; queries go through by blocks, whose scores stay
//! in the core's cache. A query's numbers depend on its own sequence alone: what it does not see has weight zero, which adds
//! nothing.

use std::{cell::RefCell, ops::Range};

use crate::{
    convert::bf16,
    format::WeightFormat,
    kernel::{self, RunningUnit, Strip, TileStep},
    row_tiles::RowTiles,
    rows::exp,
    tile::{STRIP, TILE_BYTES, TILE_COLUMNS, TILE_ROWS, Tile},
    unit::Unit,
    vectors::by_vectors,
};

/// Queries whose scores are made together.
const QUERIES: usize = 64;

/// Sizes of a head's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Numbers in a query, a key and a value.
    pub size: usize,
    /// Queries.
    pub queries: usize,
    /// Keys, and as many values.
    pub keys: usize,
}

/// Where a head's rows come from; each is as long as the head.
pub trait HeadRows {
    /// Writes query `i`, its scale inside.
    fn query(&self, i: usize, to: &mut [f32]);
    /// Writes key `j`.
    fn key(&self, j: usize, to: &mut [f32]);
    /// Writes value `j`.
    fn value(&self, j: usize, to: &mut [f32]);
    /// Keys that query `i` sees; where it sees none it gets zeros.
    fn seen(&self, i: usize) -> Range<usize>;
}

#[derive(Default)]
struct HeadScratch {
    keys: Vec<Tile>,
    values: Vec<Tile>,
    queries: RowTiles,
    weights: RowTiles,
    sums: Vec<f32>,
    /// (queries × keys filled up).
    scores: Vec<f32>,
    /// (queries × size).
    out: Vec<f32>,
    /// One over the sum of each query's weights.
    shares: Vec<f32>,
    one: Vec<f32>,
    steps: Vec<TileStep>,
}

thread_local! {
    static SCRATCH: RefCell<HeadScratch> = RefCell::default();
}

/// Gives each query's result to `write`, on this thread, by a unit that makes products in bf16.
///
/// # Panics
/// Where the unit does not, or a query sees keys that are not there.
pub fn attend_head(unit: Unit, shape: HeadShape, rows: &dyn HeadRows, write: &mut dyn FnMut(usize, &[f32])) {
    assert!(unit.makes(WeightFormat::Bf16) && unit.is_here(), "{unit} does not make products in bf16 here");
    run(unit, shape, rows, write);
}

/// [`attend_head`] on a unit that tests make up.
pub(crate) fn run(unit: Unit, shape: HeadShape, rows: &dyn HeadRows, write: &mut dyn FnMut(usize, &[f32])) {
    let running = RunningUnit::start(unit);
    SCRATCH.with_borrow_mut(|scratch| attend(&running, shape, rows, scratch, write));
}

by_vectors! {
    fn attend(
        running: &RunningUnit,
        shape: HeadShape,
        rows: &dyn HeadRows,
        scratch: &mut HeadScratch,
        write: &mut dyn FnMut(usize, &[f32]),
    ) {
        scratch.one.resize(shape.size, 0.0);
        load(shape, rows, scratch);
        scratch.sums.resize(QUERIES * STRIP, 0.0);
        scratch.shares.resize(QUERIES, 0.0);
        scratch.out.resize(QUERIES * shape.size, 0.0);
        for first in (0..shape.queries).step_by(QUERIES) {
            let count = QUERIES.min(shape.queries - first);
            let seen = (first..first + count).map(|i| rows.seen(i));
            let seen = seen.filter(|seen| !seen.is_empty());
            let Some(seen) = seen.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)) else {
                scratch.out.fill(0.0);
                (first..first + count).for_each(|i| write(i, &scratch.out[..shape.size]));
                continue;
            };
            let strips = seen.start / STRIP..seen.end.div_ceil(STRIP);
            score(running.unit(), shape, rows, scratch, first..first + count, strips.clone());
            weigh(rows, scratch, first..first + count, strips.clone());
            gather(running.unit(), shape, scratch, count, strips);
            for (i, out) in scratch.out.chunks_exact(shape.size).enumerate().take(count) {
                write(first + i, out);
            }
        }
    }
}

/// Keys and values into tiles, filled up with zeros.
#[inline(always)]
fn load(shape: HeadShape, rows: &dyn HeadRows, scratch: &mut HeadScratch) {
    let HeadShape { size, keys, .. } = shape;
    let (deep, strips) = (size.div_ceil(STRIP), keys.div_ceil(STRIP));
    let HeadScratch { keys: key_tiles, values: value_tiles, one, .. } = scratch;
    for tiles in [&mut *key_tiles, &mut *value_tiles] {
        tiles.clear();
        tiles.resize(2 * strips * deep, Tile::ZERO);
    }
    for j in 0..keys {
        rows.key(j, one);
        let tiles = &mut key_tiles[j / TILE_COLUMNS * deep..][..deep];
        for (tile, numbers) in tiles.iter_mut().zip(one.chunks(STRIP)) {
            let tile = tile.halves_mut();
            for (d, x) in numbers.iter().enumerate() {
                tile[d / 2 * 32 + j % TILE_COLUMNS * 2 + d % 2] = bf16(*x);
            }
        }
        rows.value(j, one);
        for (panel, numbers) in one.chunks(TILE_COLUMNS).enumerate() {
            let tile = value_tiles[panel * strips + j / STRIP].halves_mut();
            let row = &mut tile[j % STRIP / 2 * 32..][..32];
            for (pair, x) in row.as_chunks_mut::<2>().0.iter_mut().zip(numbers) {
                pair[j % 2] = bf16(*x);
            }
        }
    }
}

/// Scores of some queries with the keys of some strips.
#[inline(always)]
fn score(
    unit: Unit,
    shape: HeadShape,
    rows: &dyn HeadRows,
    scratch: &mut HeadScratch,
    queries: Range<usize>,
    strips: Range<usize>,
) {
    let HeadScratch { keys, queries: x, sums, scores, one, steps, .. } = scratch;
    x.reset(WeightFormat::Bf16, queries.len(), shape.size);
    for (i, query) in queries.clone().enumerate() {
        rows.query(query, one);
        x.put_row(i, one);
    }
    let (deep, wide) = (shape.size.div_ceil(STRIP), strips.len() * STRIP);
    steps.clear();
    steps.extend((0..deep).map(|i| step(i, i)));
    scores.resize(QUERIES * wide, 0.0);
    for (i, strip) in strips.enumerate() {
        let columns = &keys[strip * 2 * deep..][..2 * deep];
        let sums = &mut sums[..x.groups() * TILE_ROWS * STRIP];
        kernel::strip(Strip { unit, x, columns, steps, offsets: None, is_first: true }, WeightFormat::Bf16, sums);
        for (row, sums) in scores.chunks_exact_mut(wide).zip(sums.as_chunks::<STRIP>().0).take(queries.len()) {
            row[i * STRIP..][..STRIP].copy_from_slice(sums);
        }
    }
}

fn step(a: usize, b: usize) -> TileStep {
    TileStep { a: (a * TILE_BYTES) as u32, b: (b * TILE_BYTES) as u32 }
}

/// Weights of some queries from their scores, into tiles: `exp(score − largest)`, zero for keys that are not seen.
#[inline(always)]
fn weigh(rows: &dyn HeadRows, scratch: &mut HeadScratch, queries: Range<usize>, strips: Range<usize>) {
    let HeadScratch { weights, scores, shares, .. } = scratch;
    let (before, wide) = (strips.start * STRIP, strips.len() * STRIP);
    weights.reset(WeightFormat::Bf16, queries.len(), wide);
    for (i, query) in queries.enumerate() {
        let seen = rows.seen(query);
        let row = &mut scores[i * wide..][..wide];
        if seen.is_empty() {
            row.fill(0.0);
            row.as_chunks::<STRIP>().0.iter().enumerate().for_each(|(s, piece)| weights.put_piece(i, s, piece));
            shares[i] = 0.0;
            continue;
        }
        row[..seen.start - before].fill(f32::NEG_INFINITY);
        row[seen.end - before..].fill(f32::NEG_INFINITY);
        let (pieces, _) = row.as_chunks_mut::<STRIP>();
        let mut most = [f32::NEG_INFINITY; STRIP];
        for piece in &*pieces {
            for (most, x) in most.iter_mut().zip(piece) {
                *most = if *x > *most { *x } else { *most };
            }
        }
        let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut parts = [0.0; STRIP];
        for (s, piece) in pieces.iter_mut().enumerate() {
            for (part, x) in parts.iter_mut().zip(piece.iter_mut()) {
                let weight = exp(*x - most);
                *x = if *x == f32::NEG_INFINITY { 0.0 } else { weight };
                *part += *x;
            }
            weights.put_piece(i, s, piece);
        }
        let mut width = STRIP;
        while width > 1 {
            width /= 2;
            for lane in 0..width {
                parts[lane] += parts[lane + width];
            }
        }
        shares[i] = 1.0 / parts[0];
    }
}

/// The values' sums by these weights.
#[inline(always)]
fn gather(unit: Unit, shape: HeadShape, scratch: &mut HeadScratch, count: usize, seen: Range<usize>) {
    let HeadScratch { values, weights, sums, out, shares, steps, .. } = scratch;
    let strips = shape.keys.div_ceil(STRIP);
    steps.clear();
    steps.extend(seen.clone().map(|strip| step(strip - seen.start, strip)));
    for at in (0..shape.size).step_by(STRIP) {
        let columns = &values[at / TILE_COLUMNS * strips..][..2 * strips];
        let sums = &mut sums[..weights.groups() * TILE_ROWS * STRIP];
        kernel::strip(
            Strip { unit, x: weights, columns, steps, offsets: None, is_first: true },
            WeightFormat::Bf16,
            sums,
        );
        let width = STRIP.min(shape.size - at);
        for (i, sums) in sums.as_chunks::<STRIP>().0.iter().enumerate().take(count) {
            let share = shares[i];
            for (to, sum) in out[i * shape.size + at..][..width].iter_mut().zip(sums) {
                *to = sum * share;
            }
        }
    }
}
