//! Some queries at a time over the keys that they see, block by block.
//!
//! A block's weights are measured by the largest score so far; where a later block has a larger one, what was summed is scaled down to it.
//! Blocks begin at the same places for every query, so that its sums are cut alike in every company.

use std::ops::Range;

use pulp::Simd;

use super::{
    AttentionRules, BLOCK_KEYS, HeadQueries, MOST_QUERIES, VECTORS, WIDEST_PASS,
    distance::DistanceScratch,
    load::Loaded,
    tile::{add, exp, exponentiate, largest, products, store},
};

/// Numbers from one query's scores to the next's: not a power of two, so that rows do not fall on the same lines of a cache.
const STRIDE: usize = BLOCK_KEYS + WIDEST_PASS;

/// Tiles that go over a block before the next: it is read from the farther cache once for all of them.
const TILES: usize = 4;

/// Queries that are handled together, and what was summed of them.
#[derive(Default)]
struct QueryTile {
    /// Their places in the sequence.
    rows: Range<usize>,
    /// Keys that they see together, counted from the first that is loaded; they begin on a whole pass.
    keys: Range<usize>,
    /// (size × queries), turned.
    queries: Vec<f32>,
    /// (queries × deep) results so far.
    results: Vec<f32>,
    so_far: [SoFar; MOST_QUERIES],
}

/// What a task's numbers lie in.
pub(super) struct TileScratch {
    tiles: [QueryTile; TILES],
    weights: Box<BlockWeights>,
}

/// Scores of a block, then weights: a row for each query.
type BlockWeights = [[f32; STRIDE]; MOST_QUERIES];

impl Default for TileScratch {
    fn default() -> Self {
        Self { tiles: Default::default(), weights: Box::new([[0.0; STRIDE]; MOST_QUERIES]) }
    }
}

/// A task whose keys are loaded.
pub(super) struct Tiles<'a, S> {
    pub(super) simd: S,
    pub(super) task: &'a HeadQueries,
    pub(super) rules: &'a AttentionRules<'a>,
    pub(super) qkv: &'a [f32],
    pub(super) bias: &'a [f32],
    /// Places of the keys that are loaded.
    pub(super) seen: Range<usize>,
    /// Numbers of a value, filled up to passes.
    pub(super) deep: usize,
    pub(super) loaded: &'a mut Loaded,
    pub(super) distance: &'a mut DistanceScratch,
    pub(super) write: &'a mut dyn FnMut(usize, &[f32]),
}

/// What was summed of a query: its largest score, and the sum of its weights.
#[derive(Clone, Copy)]
struct SoFar {
    most: f32,
    sum: f32,
}

impl Default for SoFar {
    fn default() -> Self {
        Self { most: f32::NEG_INFINITY, sum: 0.0 }
    }
}

impl<S: Simd> Tiles<'_, S> {
    /// Carries out queries from place `first` on, in tiles of `QUERIES`, and returns how many they were.
    #[inline(always)]
    pub(super) fn run<const QUERIES: usize>(&mut self, scratch: &mut TileScratch, first: usize) -> usize {
        let left = self.task.queries.end - first;
        let count = (left / QUERIES).clamp(1, TILES);
        let end = self.task.queries.end.min(first + count * QUERIES);
        let TileScratch { tiles, weights } = scratch;
        for (tile, first) in tiles.iter_mut().zip((first..end).step_by(QUERIES)) {
            self.begin::<QUERIES>(tile, first..end.min(first + QUERIES));
        }
        let seen = || tiles[..count].iter().map(|tile| &tile.keys).filter(|keys| !keys.is_empty());
        let last = seen().map(|keys| keys.end).max().unwrap_or(0);
        let mut block = seen().map(|keys| keys.start).min().unwrap_or(0) / BLOCK_KEYS * BLOCK_KEYS;
        while block < last {
            for tile in &mut tiles[..count] {
                let keys = tile.keys.start.max(block)..tile.keys.end.min(block + BLOCK_KEYS);
                if !keys.is_empty() {
                    self.meet::<QUERIES>(tile, keys, weights);
                }
            }
            block += BLOCK_KEYS;
        }
        for tile in &mut tiles[..count] {
            let results = tile.results.chunks_exact_mut(self.deep);
            for ((query, so_far), out) in tile.rows.clone().zip(&tile.so_far).zip(results) {
                let out = &mut out[..self.rules.columns.size];
                // Who sees no key has no sum, and gets nothing.
                let scale = if so_far.sum == 0.0 { 0.0 } else { 1.0 / so_far.sum };
                out.iter_mut().for_each(|x| *x *= scale);
                (self.write)(self.task.start + query, out);
            }
        }
        end - first
    }

    /// Loads a tile's queries.
    #[inline(always)]
    fn begin<const QUERIES: usize>(&mut self, tile: &mut QueryTile, rows: Range<usize>) {
        let size = self.rules.columns.size;
        for (buffer, length) in [(&mut tile.queries, size * QUERIES), (&mut tile.results, QUERIES * self.deep)] {
            buffer.clear();
            buffer.resize(length, 0.0);
        }
        let (queries, _) = tile.queries.as_chunks_mut::<QUERIES>();
        self.loaded.load_queries(self.task, self.rules, self.qkv, self.bias, rows.clone(), queries);
        let together = self.sees(&rows);
        let pass = VECTORS * S::F32_LANES;
        tile.keys = together.start / pass * pass..together.end;
        (tile.rows, tile.so_far) = (rows, [SoFar::default(); MOST_QUERIES]);
    }

    /// Keys that these queries see together, counted from the first that is loaded.
    #[inline(always)]
    fn sees(&self, rows: &Range<usize>) -> Range<usize> {
        let places = self.rules.sight.of(rows, self.task.keys);
        places.start - self.seen.start..places.end - self.seen.start
    }

    /// A tile's queries over keys of one block.
    #[inline(always)]
    fn meet<const QUERIES: usize>(&mut self, tile: &mut QueryTile, keys: Range<usize>, weights: &mut BlockWeights) {
        let Self { simd, task, rules, deep, .. } = *self;
        let (pass, size) = (VECTORS * S::F32_LANES, rules.columns.size);
        let (queries, _) = tile.queries.as_chunks::<QUERIES>();
        let rounded = keys.len().next_multiple_of(pass);
        for j in (0..rounded).step_by(pass) {
            // Q·Kᵀ: each query number times a stretch of keys.
            let stretches = self.loaded.keys_from(keys.start + j);
            let sums = products(simd, 0..size, |d, r| queries[d][r], |d| &stretches[d * pass..][..pass]);
            store::<S, QUERIES>(sums, weights.as_flattened_mut(), STRIDE, j);
        }
        let scores = weights.as_flattened_mut();
        self.distance.add(simd, task, rules, (&tile.rows, queries), (&keys, self.seen.start), scores, STRIDE);
        let mut factors = [1.0; QUERIES];
        for (r, weights) in weights.iter_mut().enumerate().take(QUERIES) {
            let weights = &mut weights[..rounded];
            let place = tile.rows.start + r;
            let own = if r < tile.rows.len() { self.sees(&(place..place + 1)) } else { 0..0 };
            let own = own.start.max(keys.start)..own.end.min(keys.end);
            if own.is_empty() {
                weights.fill(0.0);
            } else {
                weights[..own.start - keys.start].fill(f32::NEG_INFINITY);
                weights[own.end - keys.start..].fill(f32::NEG_INFINITY);
                factors[r] = tile.so_far[r].weigh(simd, weights);
            }
        }
        for d in (0..deep).step_by(pass) {
            // Weights·V: each weight times a stretch of its token's value.
            let count = keys.len().min(STRIDE);
            let values = self.loaded.values_from(d, &keys);
            let sums = products(simd, 0..count, |j, r| weights[r][j], |j| &values[j * pass..][..pass]);
            add::<S, QUERIES>(simd, sums, &factors, &mut tile.results, deep, d);
        }
    }
}

impl SoFar {
    /// Makes weights of a block's scores, and returns what the results so far are to be multiplied by.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, scores: &mut [f32]) -> f32 {
        let most = self.most.max(largest(simd, scores));
        // Nothing was summed yet, or by the same measure.
        let factor = match self.sum == 0.0 || most == self.most {
            true => 1.0,
            false => simd.reduce_max_f32s(exp(simd, simd.splat_f32s(self.most - most))),
        };
        *self = Self { most, sum: self.sum * factor + exponentiate(simd, scores, most) };
        factor
    }
}
