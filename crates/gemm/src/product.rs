//! A product by itself, for what stands in no fused layer.

use std::cell::RefCell;

use crate::{
    kernel::{RunningUnit, SumRow},
    lanes::{Lanes, PIECE},
    pass::Finish,
    row_tiles::RowTiles,
    tile::{STRIP, TILE_ROWS},
    vectors::by_vectors,
    weight::KeptWeight,
};

/// Most rows that go through a weight together: each column of tiles is read once for all of them.
pub(crate) const BLOCK: usize = 128;

/// `x·W + b` with a weight that stays.
#[derive(Debug)]
pub struct KeptProduct {
    weight: KeptWeight,
}

#[derive(Default)]
struct ProductScratch {
    x: RowTiles,
    sums: Vec<SumRow>,
}

thread_local! {
    static SCRATCH: RefCell<ProductScratch> = RefCell::default();
}

impl KeptProduct {
    /// Over `weight`.
    #[must_use]
    pub fn new(weight: KeptWeight) -> Self {
        Self { weight }
    }

    /// Its weight.
    #[must_use]
    pub fn weight(&self) -> &KeptWeight {
        &self.weight
    }

    /// Writes `x·W + b` of the rows of `x` to `to`, on this thread.
    ///
    /// # Panics
    /// Where `x` and `to` are not as many rows of the weight's widths.
    pub fn run(&self, x: &[f32], to: &mut [f32]) {
        let [width, columns] = self.weight.shape();
        assert!(x.len().is_multiple_of(width) && to.len() == x.len() / width * columns, "rows of another weight");
        let running = RunningUnit::start(self.weight.unit());
        SCRATCH.with_borrow_mut(|scratch| {
            for (x, to) in x.chunks(BLOCK * width).zip(to.chunks_mut(BLOCK * columns)) {
                block(running.vectors(), &self.weight, &running, scratch, x, to);
            }
        });
    }

    /// [`Self::run`], rounded to bf16, into tiles: `[16 rows][32 columns][16][32]`, the bits of each number. Rows and columns are
    /// filled up, rows with whatever was there, columns with zeros.
    ///
    /// # Panics
    /// Where `x` is not rows of the weight's width, or `to` not [`Self::tiled`] numbers.
    pub fn run_tiled(&self, x: &[f32], to: &mut [u16]) {
        let width = self.weight.shape()[0];
        let rows = x.len() / width;
        assert!(x.len().is_multiple_of(width) && to.len() == self.tiled(rows), "rows of another weight");
        let running = RunningUnit::start(self.weight.unit());
        SCRATCH.with_borrow_mut(|scratch| {
            for (x, to) in x.chunks(BLOCK * width).zip(to.chunks_mut(self.tiled(BLOCK))) {
                tiled_block(running.vectors(), &self.weight, &running, scratch, x, to);
            }
        });
    }

    /// Numbers in the tiles of so many rows.
    #[must_use]
    pub fn tiled(&self, rows: usize) -> usize {
        rows.div_ceil(TILE_ROWS) * self.weight.strips() * TILE_NUMBERS
    }
}

/// Numbers of bf16 in a tile.
pub(crate) const TILE_NUMBERS: usize = TILE_ROWS * PIECE;

by_vectors! {
    fn block<L>(weight: &KeptWeight, running: &RunningUnit, scratch: &mut ProductScratch, x: &[f32], to: &mut [f32]) {
        fill::<L>(weight, &mut scratch.x, x);
        let columns = weight.shape()[1];
        weight.pass(running, &scratch.x, &mut scratch.sums, &mut Biased { weight, to, columns });
    }
}

by_vectors! {
    fn tiled_block<L>(
        weight: &KeptWeight,
        running: &RunningUnit,
        scratch: &mut ProductScratch,
        x: &[f32],
        to: &mut [u16],
    ) {
        fill::<L>(weight, &mut scratch.x, x);
        let mut tiled = Tiled::<L> { weight, to, lanes: std::marker::PhantomData };
        weight.pass(running, &scratch.x, &mut scratch.sums, &mut tiled);
    }
}

#[inline(always)]
fn fill<L: Lanes>(weight: &KeptWeight, tiles: &mut RowTiles, x: &[f32]) {
    let width = weight.shape()[0];
    tiles.reset(weight.format(), x.len() / width, width);
    for (i, row) in x.chunks_exact(width).enumerate() {
        tiles.put_row::<L>(i, row);
    }
}

/// Adds the bias and writes.
struct Biased<'a> {
    weight: &'a KeptWeight,
    to: &'a mut [f32],
    columns: usize,
}

impl Finish for Biased<'_> {
    #[inline(always)]
    fn row(&mut self, _: usize, strip: usize, row: usize, sums: &[f32; STRIP]) {
        let bias = self.weight.bias(strip);
        write(&mut self.to[row * self.columns..][..self.columns], strip, &std::array::from_fn(|i| sums[i] + bias[i]));
    }
}

/// Adds the bias, rounds and writes.
struct Tiled<'a, L> {
    weight: &'a KeptWeight,
    to: &'a mut [u16],
    lanes: std::marker::PhantomData<L>,
}

impl<L: Lanes> Finish for Tiled<'_, L> {
    #[inline(always)]
    fn row(&mut self, _: usize, strip: usize, row: usize, sums: &[f32; STRIP]) {
        let bias = self.weight.bias(strip);
        let at = ((row / TILE_ROWS * self.weight.strips() + strip) * TILE_ROWS + row % TILE_ROWS) * PIECE;
        let halves = L::halves(&std::array::from_fn(|i| sums[i] + bias[i]));
        self.to[at..][..PIECE].copy_from_slice(&halves);
    }
}

/// Writes a strip's numbers to a row, as many as it has columns there.
#[inline(always)]
pub(crate) fn write<T: Copy>(row: &mut [T], strip: usize, piece: &[T; STRIP]) {
    let to = &mut row[strip * STRIP..];
    if let Some(to) = to.first_chunk_mut::<STRIP>() {
        *to = *piece;
    } else {
        to.copy_from_slice(&piece[..to.len()]);
    }
}

const _: () = assert!(BLOCK.is_multiple_of(TILE_ROWS), "blocks are whole groups of rows");
const _: () = assert!(PIECE == STRIP, "a strip's row is converted at once");
