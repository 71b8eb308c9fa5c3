//! Packed self-attention on the CPU, one sequence and head at a time.
//!
//! For the tokens of one sequence and one head of size `d`: `out = softmax(Q·Kᵀ·scale + extras) · V` over the keys that each
//! query sees. Rows of the flat projection hold, group by group, the queries of the heads that share a key, that key and that
//! value; the bias is added here, on the way in, then heads are normed and rotated where the model does so ([`load`]).
//! Keys and values may be fewer than queries: tokens at the end that ask and are not seen.
//!
//! Keys are turned on their side once, so that both products run along rows with the sums of up to [`MOST_QUERIES`] queries in
//! registers ([`tile`]), a block of keys after the other ([`tiles`]). A query that sees a window pays for the window alone, and none pays for another sequence's length.
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
mod tiles;

use std::{cell::RefCell, ops::Range};

use pulp::{Arch, Simd, WithSimd};

pub(super) use self::distance::{ByDistance, RelativeVectors};
use self::{
    load::Loaded,
    tiles::{TileScratch, Tiles},
};
use super::super::family::Sight;

/// Most queries handled together: with [`VECTORS`] each, their sums take 24 of the 32 registers of the widest vectors.
const MOST_QUERIES: usize = 12;
/// Vectors side by side in one pass over keys or values.
const VECTORS: usize = 2;

/// Keys whose scores are made, then met with their values, before the next: scores of [`MOST_QUERIES`] then stay in the nearest cache.
const BLOCK_KEYS: usize = 256;

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

#[derive(Default)]
struct AttentionScratch {
    loaded: Loaded,
    tile: TileScratch,
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
        let AttentionScratch { loaded, tile, distance } = scratch;
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
        distance.begin(simd, task, rules, loaded, &seen);
        let mut tiles = Tiles { simd, task, rules, qkv, bias, seen, deep, loaded, distance, write };
        let mut first = task.queries.start;
        while first < task.queries.end {
            let rows = task.queries.end - first;
            // Where registers are many; a few last queries do not pay for more of them.
            first += match (S::F32_LANES, rows) {
                (16.., 9..) => tiles.run::<MOST_QUERIES>(tile, first),
                (16.., 5..) => tiles.run::<8>(tile, first),
                (_, 5..) => tiles.run::<6>(tile, first),
                (_, _) => tiles.run::<4>(tile, first),
            };
        }
    }
}
