//! Attention of one head over one sequence, both products in bf16: `softmax(q·kᵀ)·v`, softmax in f32.
//!
//! Keys and values are cut into tiles like weights, once for all queries of a call; queries go through by blocks of 32, whose scores
//! stay in the core's nearest cache. A query's numbers depend on its own sequence alone: what it does not see has weight zero, which
//! adds nothing.

mod run;

use std::{cell::RefCell, ops::Range};

use self::run::{HeadScratch, HeadSource, HeadWriter, attend};
use crate::{format::WeightFormat, kernel::RunningUnit, unit::Unit};

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

/// A head's rows out of a projection in bf16, each query seeing all keys.
#[derive(Clone, Copy, Debug)]
pub struct ProjectedHead<'a> {
    /// Queries, keys and values of all heads, in the tiles of [`run_tiled`](crate::KeptProduct::run_tiled). Queries are scaled such
    /// that weights are powers of 2, not of e: by the attention's scale and [`std::f32::consts::LOG2_E`].
    pub tokens: &'a [u16],
    /// Strips of 32 columns of a token.
    pub strips: usize,
    /// Strips where the head's query, key and value begin, each filled up with zeros to whole ones.
    pub at: [usize; 3],
    /// First token of the sequence.
    pub start: usize,
    /// First query's place in it.
    pub first: usize,
    /// Sizes; keys are those of the sequence's first tokens.
    pub shape: HeadShape,
}

thread_local! {
    static SCRATCH: RefCell<HeadScratch> = RefCell::default();
}

/// Gives each query's result to `write`, on this thread, by a unit that makes products in bf16.
///
/// # Panics
/// Where the unit does not, or a query sees keys that are not there.
pub fn attend_head(unit: Unit, shape: HeadShape, rows: &dyn HeadRows, write: &mut dyn FnMut(usize, &[f32])) {
    check(unit);
    run(unit, shape, rows, write);
}

/// Gives each query's result to `write` in bf16, piece by piece: which query, at which of the head's numbers, and at most 32 of them.
///
/// # Panics
/// Where the unit makes no products in bf16, or rows lie outside the projection.
pub fn attend_projected(unit: Unit, head: &ProjectedHead<'_>, write: &mut dyn FnMut(usize, usize, &[u16])) {
    check(unit);
    run_projected(unit, head, write);
}

fn check(unit: Unit) {
    assert!(unit.makes(WeightFormat::Bf16) && unit.is_here(), "{unit} does not make products in bf16 here");
}

/// [`attend_head`] on a unit that tests make up.
pub(crate) fn run(unit: Unit, shape: HeadShape, rows: &dyn HeadRows, write: &mut dyn FnMut(usize, &[f32])) {
    start(unit, shape, HeadSource::Rows(rows), &mut HeadWriter::Numbers(write));
}

/// [`attend_projected`] on a unit that tests make up.
pub(crate) fn run_projected(unit: Unit, head: &ProjectedHead<'_>, write: &mut dyn FnMut(usize, usize, &[u16])) {
    start(unit, head.shape, HeadSource::Projected(head), &mut HeadWriter::Halves(write));
}

fn start(unit: Unit, shape: HeadShape, rows: HeadSource<'_>, write: &mut HeadWriter<'_>) {
    let running = RunningUnit::start(unit);
    SCRATCH.with_borrow_mut(|scratch| attend(running.vectors(), &running, shape, rows, scratch, write));
}
