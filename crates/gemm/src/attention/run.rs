//! A head's queries by blocks.

use std::ops::Range;

use super::{HeadRows, HeadShape, ProjectedHead};
use crate::{
    format::WeightFormat,
    kernel::{self, RunningUnit, Strip, SumRow, TileStep},
    lanes::{Lanes, PIECE},
    pass::{BLOCK_ROWS, Finish, PassColumns, pass},
    row_tiles::RowTiles,
    tile::{STRIP, TILE_BYTES, TILE_COLUMNS, TILE_ROWS, Tile},
    unit::Unit,
    vectors::by_vectors,
};

/// Queries whose scores are made together: those that fill AMX's tiles.
const QUERIES: usize = BLOCK_ROWS;

/// Where rows come from.
#[derive(Clone, Copy)]
pub(super) enum HeadSource<'a> {
    Rows(&'a dyn HeadRows),
    Projected(&'a ProjectedHead<'a>),
}

/// Where results go.
pub(super) enum HeadWriter<'a> {
    Numbers(&'a mut dyn FnMut(usize, &[f32])),
    Halves(&'a mut dyn FnMut(usize, usize, &[u16])),
}

#[derive(Clone, Copy)]
enum RowKind {
    Query,
    Key,
    Value,
}

impl HeadSource<'_> {
    /// A row in bf16, filled up with zeros to whole pieces. `one` is room for it in f32.
    #[inline(always)]
    fn row<L: Lanes>(&self, kind: RowKind, i: usize, one: &mut [f32], to: &mut [[u16; PIECE]]) {
        match self {
            Self::Projected(head) => {
                let token = head.start + i + if matches!(kind, RowKind::Query) { head.first } else { 0 };
                let tile = token / TILE_ROWS * head.strips + head.at[kind as usize];
                let (rows, _) = head.tokens.as_chunks::<PIECE>();
                for (d, to) in to.iter_mut().enumerate() {
                    *to = rows[(tile + d) * TILE_ROWS + token % TILE_ROWS];
                }
            }
            Self::Rows(rows) => {
                let size = one.len();
                match kind {
                    RowKind::Query => {
                        rows.query(i, one);
                        one.iter_mut().for_each(|x| *x *= std::f32::consts::LOG2_E);
                    }
                    RowKind::Key => rows.key(i, one),
                    RowKind::Value => rows.value(i, one),
                }
                for (at, to) in (0..size).step_by(PIECE).zip(to) {
                    let mut piece = [0.0; PIECE];
                    let count = PIECE.min(size - at);
                    piece[..count].copy_from_slice(&one[at..][..count]);
                    *to = L::halves(&piece);
                }
            }
        }
    }

    #[inline(always)]
    fn seen(&self, i: usize) -> Range<usize> {
        match self {
            Self::Rows(rows) => rows.seen(i),
            Self::Projected(head) => 0..head.shape.keys,
        }
    }
}

#[derive(Default)]
pub(super) struct HeadScratch {
    keys: Vec<Tile>,
    values: Vec<Tile>,
    queries: RowTiles,
    weights: RowTiles,
    sums: Vec<SumRow>,
    /// (queries × strips of keys).
    scores: Vec<SumRow>,
    /// (queries × size).
    out: Vec<f32>,
    one: Vec<f32>,
    pieces: Vec<[u16; PIECE]>,
    steps: Vec<TileStep>,
}

by_vectors! {
    pub(super) fn attend<L>(
        running: &RunningUnit,
        shape: HeadShape,
        rows: HeadSource<'_>,
        scratch: &mut HeadScratch,
        write: &mut HeadWriter<'_>,
    ) {
        if shape.keys == 0 {
            return nothing(shape, write);
        }
        scratch.one.resize(shape.size, 0.0);
        scratch.out.resize(QUERIES * shape.size, 0.0);
        load::<L>(shape, rows, scratch);
        for first in (0..shape.queries).step_by(QUERIES) {
            let count = QUERIES.min(shape.queries - first);
            let seen = (first..first + count).map(|i| rows.seen(i)).filter(|seen| !seen.is_empty());
            // Who sees no key gets weights of zero for those of the first strip.
            let seen = seen.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..1);
            let strips = seen.start / STRIP..seen.end.div_ceil(STRIP);
            score::<L>(running, shape, rows, scratch, first..first + count, strips.clone());
            let mut shares = [0.0; QUERIES];
            weigh::<L>(rows, scratch, &mut shares, first..first + count, strips.clone());
            gather::<L>(running, shape, scratch, &shares, first, strips, write);
            if let HeadWriter::Numbers(write) = write {
                for (i, out) in scratch.out.chunks_exact(shape.size).enumerate().take(count) {
                    write(first + i, out);
                }
            }
        }
    }
}

/// Zeros for queries that have no key.
fn nothing(shape: HeadShape, write: &mut HeadWriter<'_>) {
    for i in 0..shape.queries {
        match write {
            HeadWriter::Numbers(write) => write(i, &vec![0.0; shape.size]),
            HeadWriter::Halves(write) => {
                (0..shape.size).step_by(PIECE).for_each(|at| write(i, at, &[0; PIECE][..PIECE.min(shape.size - at)]));
            }
        }
    }
}

/// Keys and values into tiles, filled up with zeros.
#[inline(always)]
fn load<L: Lanes>(shape: HeadShape, rows: HeadSource<'_>, scratch: &mut HeadScratch) {
    let HeadShape { size, keys, .. } = shape;
    // Strips of keys; pieces of a row, and its panels of 16 numbers.
    let (strips, deep) = (keys.div_ceil(STRIP), size.div_ceil(PIECE));
    let HeadScratch { keys: key_tiles, values: value_tiles, one, pieces, .. } = scratch;
    key_tiles.resize(2 * strips * deep, Tile::ZERO);
    value_tiles.resize(2 * deep * strips, Tile::ZERO);
    pieces.resize(TILE_COLUMNS * deep, [0; PIECE]);
    for group in 0..2 * strips {
        let begin = group * TILE_COLUMNS;
        for (j, row) in (begin..).zip(pieces.chunks_exact_mut(deep)) {
            if j < keys { rows.row::<L>(RowKind::Key, j, one, row) } else { row.fill([0; PIECE]) }
        }
        for d in 0..deep {
            let turned = L::turned(&std::array::from_fn(|j| pieces[j * deep + d]));
            let tile = key_tiles[group * deep + d].halves_mut();
            tile.as_chunks_mut().0.iter_mut().zip(&turned).for_each(|(to, row)| *to = *row);
        }
    }
    let (first, second) = pieces.split_at_mut(deep);
    for pair in 0..strips * STRIP / 2 {
        for (j, row) in [(2 * pair, &mut *first), (2 * pair + 1, &mut second[..deep])] {
            if j < keys { rows.row::<L>(RowKind::Value, j, one, row) } else { row.fill([0; PIECE]) }
        }
        for (d, (first, second)) in first.iter().zip(&*second).enumerate() {
            for (half, woven) in L::woven(first, second).iter().enumerate() {
                let tile = value_tiles[(2 * d + half) * strips + pair / 16].halves_mut();
                tile[pair % 16 * PIECE..][..PIECE].copy_from_slice(woven);
            }
        }
    }
}

/// Scores of some queries with the keys of some strips.
#[inline(always)]
fn score<L: Lanes>(
    running: &RunningUnit,
    shape: HeadShape,
    rows: HeadSource<'_>,
    scratch: &mut HeadScratch,
    queries: Range<usize>,
    strips: Range<usize>,
) {
    let HeadScratch { keys, queries: x, sums, scores, one, pieces, steps, .. } = scratch;
    let (deep, wide) = (shape.size.div_ceil(PIECE), strips.len());
    x.reset(WeightFormat::Bf16, queries.len(), shape.size);
    for (i, query) in queries.enumerate() {
        rows.row::<L>(RowKind::Query, query, one, &mut pieces[..deep]);
        x.put_pieces(i, &pieces[..deep]);
    }
    steps.clear();
    steps.extend((0..deep).map(|i| step(i, i)));
    scores.resize(QUERIES * wide, SumRow::ZERO);
    sums.resize(QUERIES, SumRow::ZERO);
    for (i, strip) in strips.enumerate() {
        let columns = &keys[strip * 2 * deep..][..2 * deep];
        #[cfg(target_arch = "x86_64")]
        if running.unit() == Unit::Amx {
            let is_pair = x.groups() > 1;
            let block = kernel::amx::Block::new(x.all(), columns, is_pair, false, step(deep - 1, deep - 1));
            let to = &mut SumRow::flat(scores)[i * STRIP..];
            let to = kernel::amx::SumsAt::new(to, wide * STRIP, is_pair);
            block.begin(true, to);
            steps.iter().for_each(|step| block.step(*step));
            block.end(to);
            continue;
        }
        let sums = &mut sums[..x.groups() * TILE_ROWS];
        let columns = Strip { unit: running.unit(), x, columns, steps, offsets: None, is_first: true };
        kernel::strip(columns, WeightFormat::Bf16, SumRow::flat(sums));
        for (row, sums) in scores.chunks_exact_mut(wide).zip(&*sums).take(x.rows()) {
            row[i] = *sums;
        }
    }
}

fn step(a: usize, b: usize) -> TileStep {
    TileStep { a: (a * TILE_BYTES) as u32, b: (b * TILE_BYTES) as u32 }
}

/// Weights of some queries from their scores, into tiles: `2^(score − largest)`, zero for keys that are not seen. `shares` become
/// one over the sum of each query's.
#[inline(always)]
fn weigh<L: Lanes>(
    rows: HeadSource<'_>,
    scratch: &mut HeadScratch,
    shares: &mut [f32; QUERIES],
    queries: Range<usize>,
    strips: Range<usize>,
) {
    let HeadScratch { weights, scores, .. } = scratch;
    let (before, wide) = (strips.start * STRIP, strips.len());
    weights.reset(WeightFormat::Bf16, queries.len(), wide * STRIP);
    for (i, query) in queries.enumerate() {
        let seen = rows.seen(query);
        let row = &mut scores[i * wide..][..wide];
        if seen.is_empty() {
            (0..wide).for_each(|s| weights.put_piece::<L>(i, s, &[0.0; PIECE]));
            continue;
        }
        let numbers = SumRow::flat(row);
        numbers[..seen.start - before].fill(f32::NEG_INFINITY);
        numbers[seen.end - before..].fill(f32::NEG_INFINITY);
        let mut most = [f32::NEG_INFINITY; PIECE];
        for piece in &*row {
            for (most, x) in most.iter_mut().zip(&piece.0) {
                *most = if *x > *most { *x } else { *most };
            }
        }
        let most = folded(most, |a, b| if a > b { a } else { b });
        let mut parts = [0.0; PIECE];
        for (s, piece) in row.iter().enumerate() {
            let piece = L::weights(&piece.0, most);
            parts.iter_mut().zip(&piece).for_each(|(part, x)| *part += x);
            weights.put_piece::<L>(i, s, &piece);
        }
        shares[i] = 1.0 / folded(parts, |a, b| a + b);
    }
}

/// All numbers by `of`, halves with halves.
#[inline(always)]
fn folded(mut numbers: [f32; PIECE], of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = PIECE;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            numbers[lane] = of(numbers[lane], numbers[lane + width]);
        }
    }
    numbers[0]
}

/// The values' sums by these weights.
#[inline(always)]
fn gather<L: Lanes>(
    running: &RunningUnit,
    shape: HeadShape,
    scratch: &mut HeadScratch,
    shares: &[f32; QUERIES],
    first: usize,
    seen: Range<usize>,
    write: &mut HeadWriter<'_>,
) {
    let HeadScratch { values, weights, sums, out, steps, .. } = scratch;
    let each = shape.keys.div_ceil(STRIP);
    steps.clear();
    steps.extend(seen.clone().map(|strip| step(strip - seen.start, strip)));
    let columns = PassColumns {
        format: WeightFormat::Bf16,
        tiles: values,
        each,
        steps,
        reach: step(seen.len() - 1, seen.end - 1),
        chunk: steps.len(),
        scales: &[],
        offsets: &[],
    };
    let mut shared =
        SharedAttention::<L> { shares, first, size: shape.size, out, write, lanes: std::marker::PhantomData };
    pass(running, weights, &[columns], shape.size.div_ceil(STRIP), sums, &mut shared);
}

/// Multiplies by a query's share and hands over.
struct SharedAttention<'a, 'b, L> {
    shares: &'a [f32; QUERIES],
    first: usize,
    size: usize,
    out: &'a mut [f32],
    write: &'a mut HeadWriter<'b>,
    lanes: std::marker::PhantomData<L>,
}

impl<L: Lanes> Finish for SharedAttention<'_, '_, L> {
    #[inline(always)]
    fn row(&mut self, _: usize, strip: usize, row: usize, sums: &[f32; STRIP]) {
        let (share, at) = (self.shares[row], strip * STRIP);
        let numbers = sums.map(|x| x * share);
        let count = STRIP.min(self.size - at);
        match self.write {
            HeadWriter::Numbers(_) => {
                self.out[row * self.size + at..][..count].copy_from_slice(&numbers[..count]);
            }
            HeadWriter::Halves(write) => write(self.first + row, at, &L::halves(&numbers)[..count]),
        }
    }
}
