//! Packed self-attention on the CPU, one sequence and head at a time.
//!
//! For the tokens of one sequence and one head of size `d`: `out = softmax(Q·Kᵀ·scale + extras) · V` over the keys that each
//! query sees. Rows of the flat projection hold, group by group, the queries of the heads that share a key, that key and that
//! value; the bias is added here, on the way in, then heads are normed and rotated where the model does so ([`load`]).
//! Keys and values may be fewer than queries: tokens at the end that ask and are not seen.
//!
//! Keys are turned on their side once, so that both products run along rows with the sums of [`QUERIES`] queries in registers
//! ([`tile`]). A query that sees a window pays for the window alone, and none pays for another sequence's length.
//! What distances add is in [`distance`]. The same in bf16 is [`narrow`].
//!
//! Vectors are written out (`pulp` picks the widest the CPU has). Loops left to
//! the compiler ran ten times slower at one optimisation level than at another.

mod distance;
mod load;
pub(crate) mod narrow;
#[cfg(test)]
mod tests;
mod tile;

use std::{cell::RefCell, ops::Range};

use pulp::{Arch, Simd, WithSimd};

pub(super) use self::distance::{ByDistance, RelativeVectors};
use self::{
    load::Loaded,
    tile::{add, exponentiate, products, store},
};
use super::super::family::Sight;

/// Queries handled together: with [`VECTORS`] each, their sums take 8 of 16 or 32 registers.
const QUERIES: usize = 4;
/// Vectors side by side in one pass over keys or values.
const VECTORS: usize = 2;

/// Tiles of queries that go over a block of keys, and of values, before the next: a block is read from the farther cache once
/// for all of them.
const TILES: usize = 4;
/// Keys of a block: with its values 256 KiB for heads of 64, half of the nearer cache of today's processors.
const BLOCK_KEYS: usize = 512;

/// Most numbers in a pass, on processors with the widest vectors: tables that are read in passes are filled up to a multiple.
pub(crate) const WIDEST_PASS: usize = 32;

/// Where heads lie in a row of the projection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    /// Heads of queries.
    pub(crate) heads: usize,
    /// Heads of keys and values, each serving as many heads of queries.
    pub(crate) kv_heads: usize,
    /// Numbers in a head.
    pub(crate) size: usize,
}

impl Columns {
    /// Numbers in a row.
    pub(crate) fn width(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.size
    }

    /// Where a head's query, key and value begin.
    fn of(self, head: usize) -> [usize; 3] {
        let each = self.heads / self.kv_heads;
        let group = (head / each) * (each + 2) * self.size;
        let key = group + each * self.size;
        [group + (head % each) * self.size, key, key + self.size]
    }
}

/// RMS norms of heads, before they are rotated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadNorms<'a> {
    /// (size) each.
    pub(crate) query: &'a [f32],
    pub(crate) key: &'a [f32],
    pub(crate) eps: f32,
}

/// Cosines and sines of positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation<'a> {
    /// (positions × size/2) each.
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
}

/// What a layer's attention does, for all its tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionRules<'a> {
    pub(crate) columns: Columns,
    /// What products of queries and keys are multiplied by.
    pub(crate) scale: f32,
    pub(crate) sight: Sight,
    pub(crate) norms: Option<HeadNorms<'a>>,
    pub(crate) rotation: Option<Rotation<'a>>,
    pub(crate) by_distance: Option<ByDistance<'a>>,
    pub(crate) vectors: Option<RelativeVectors<'a>>,
}

/// Some queries of one sequence and head.
#[derive(Clone, Debug)]
pub(crate) struct HeadQueries {
    /// First token of the sequence.
    pub(crate) start: usize,
    /// Places of the queries in it.
    pub(crate) queries: Range<usize>,
    /// Tokens of it, the first, that are attended to; the rest ask and are not seen.
    pub(crate) keys: usize,
    /// Which head of queries.
    pub(crate) head: usize,
}

/// Queries that are handled together.
#[derive(Default)]
struct QueryTile {
    /// Their places in the sequence.
    rows: Range<usize>,
    /// The first of the loaded keys that they see, rounded down to passes, and one past the last.
    from: usize,
    to: usize,
    /// (size × queries), turned.
    queries: Vec<[f32; QUERIES]>,
}

#[derive(Default)]
struct AttentionScratch {
    loaded: Loaded,
    tiles: [QueryTile; TILES],
    /// (tiles × queries × wide) scores, then weights.
    weights: Vec<f32>,
    /// (tiles × queries × deep) results.
    results: Vec<f32>,
    distance: distance::DistanceScratch,
}

thread_local! {
    static SCRATCH: RefCell<AttentionScratch> = RefCell::default();
}

/// Carries a task out.
///
/// `qkv`: (tokens × width) of the whole batch; `bias`: (width); `write(token, numbers)` receives each query's `size` numbers.
pub(crate) fn attend(
    task: &HeadQueries,
    rules: &AttentionRules<'_>,
    qkv: &[f32],
    bias: &[f32],
    write: &mut dyn FnMut(usize, &[f32]),
) {
    SCRATCH.with_borrow_mut(|scratch| Arch::new().dispatch(Attend { task, rules, qkv, bias, scratch, write }));
}

/// [`attend`] for a vector width that is chosen at run time.
struct Attend<'a> {
    task: &'a HeadQueries,
    rules: &'a AttentionRules<'a>,
    qkv: &'a [f32],
    bias: &'a [f32],
    scratch: &'a mut AttentionScratch,
    write: &'a mut dyn FnMut(usize, &[f32]),
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { task, rules, qkv, bias, scratch, write } = self;
        let AttentionScratch { loaded, tiles, weights, results, distance } = scratch;
        let size = rules.columns.size;
        let seen = rules.sight.of(&task.queries, task.keys);
        if seen.is_empty() {
            // As PyTorch's softmax has it: who sees no key gets nothing.
            let nothing = vec![0.0; size];
            task.queries.clone().for_each(|query| write(task.start + query, &nothing));
            return;
        }
        // Rounded up to whole passes; nothing read there changes a sum.
        let pass = VECTORS * S::F32_LANES;
        let (wide, deep) = (seen.len().next_multiple_of(pass), size.next_multiple_of(pass));
        loaded.load(task, rules, qkv, bias, seen.clone(), (pass, wide, deep));
        for (buffer, length) in [(&mut *weights, TILES * QUERIES * wide), (&mut *results, TILES * QUERIES * deep)] {
            buffer.clear();
            buffer.resize(length, 0.0);
        }
        distance.begin(simd, task, rules, loaded, &seen);

        for group in task.queries.clone().step_by(TILES * QUERIES) {
            let end = task.queries.end.min(group + TILES * QUERIES);
            for (tile, first) in tiles.iter_mut().zip((group..end).step_by(QUERIES)) {
                tile.rows = first..end.min(first + QUERIES);
                let together = rules.sight.of(&tile.rows, task.keys);
                tile.from = (together.start - seen.start) / pass * pass;
                tile.to = together.end - seen.start;
                loaded.load_queries(task, rules, qkv, bias, tile);
            }
            let tiles = &tiles[..(end - group).div_ceil(QUERIES)];
            let mut scales = [[0.0; QUERIES]; TILES];
            let all = tiles.iter().fold(wide..0, |all, tile| all.start.min(tile.from)..all.end.max(tile.to));
            // Blocks begin at the same places for every group, so that a query's sums are cut alike in every company.
            let blocks = || (all.start / BLOCK_KEYS..all.end.div_ceil(BLOCK_KEYS)).map(|block| block * BLOCK_KEYS);
            for block in blocks() {
                for (tile, weights) in tiles.iter().zip(weights.chunks_exact_mut(QUERIES * wide)) {
                    let rounded = tile.to.next_multiple_of(pass);
                    for j in (tile.from.max(block)..rounded.min(block + BLOCK_KEYS)).step_by(pass) {
                        // Q·Kᵀ: each query number times a stretch of keys.
                        let keys = loaded.keys_from(j).chunks_exact(pass);
                        store::<S>(products(simd, tile.queries.iter().copied().zip(keys)), weights, wide, j);
                    }
                }
            }
            for (tile, (weights, scales)) in tiles.iter().zip(weights.chunks_exact_mut(QUERIES * wide).zip(&mut scales))
            {
                let &QueryTile { ref rows, from, to, .. } = tile;
                distance.add(simd, task, rules, tile, seen.start, weights, wide);
                let rounded = to.next_multiple_of(pass);
                for ((r, scale), w) in scales.iter_mut().enumerate().zip(weights.chunks_exact_mut(wide)) {
                    let own = rows.start + r.min(rows.len() - 1);
                    let own = rules.sight.of(&(own..own + 1), task.keys);
                    w[from..own.start - seen.start].fill(f32::NEG_INFINITY);
                    w[own.end - seen.start..rounded].fill(f32::NEG_INFINITY);
                    let sum = exponentiate(simd, &mut w[from..rounded]);
                    // The same for one query among others.
                    *scale = if own.is_empty() { 0.0 } else { 1.0 / sum };
                    if own.is_empty() {
                        w[from..rounded].fill(0.0);
                    }
                }
            }
            results.fill(0.0);
            for block in blocks() {
                let each = weights.chunks_exact(QUERIES * wide).zip(results.chunks_exact_mut(QUERIES * deep));
                for (tile, (weights, results)) in tiles.iter().zip(each) {
                    let (from, to) = (tile.from.max(block), tile.to.min(block + BLOCK_KEYS));
                    for d in (0..deep).step_by(pass) {
                        // Weights·V: each weight times a stretch of its token's value.
                        let each = (from..to).map(|j| std::array::from_fn(|r| weights[r * wide + j]));
                        let stretches =
                            loaded.values[from.min(to) * deep..].chunks_exact(deep).map(|v| &v[d..d + pass]);
                        add::<S>(simd, products(simd, each.zip(stretches)), results, deep, d);
                    }
                }
            }
            for ((tile, scales), results) in tiles.iter().zip(&scales).zip(results.chunks_exact_mut(QUERIES * deep)) {
                for ((query, scale), out) in tile.rows.clone().zip(scales).zip(results.chunks_exact_mut(deep)) {
                    let out = &mut out[..size];
                    out.iter_mut().for_each(|x| *x *= scale);
                    write(task.start + query, out);
                }
            }
        }
    }
}
