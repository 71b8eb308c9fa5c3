//! A product by itself, for what stands in no fused layer.

use std::cell::RefCell;

use crate::{
    kernel::RunningUnit,
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
    sums: Vec<f32>,
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
                block(&self.weight, &running, scratch, x, to);
            }
        });
    }
}

by_vectors! {
    fn block(weight: &KeptWeight, running: &RunningUnit, scratch: &mut ProductScratch, x: &[f32], to: &mut [f32]) {
        let [width, columns] = weight.shape();
        let rows = x.len() / width;
        scratch.x.reset(weight.format(), rows, width);
        for (i, row) in x.chunks_exact(width).enumerate() {
            scratch.x.put_row(i, row);
        }
        scratch.sums.resize(BLOCK * STRIP, 0.0);
        for strip in 0..weight.strips() {
            weight.strip(running, &scratch.x, strip, &mut scratch.sums);
            let (at, bias) = (strip * STRIP, weight.bias(strip));
            let count = STRIP.min(columns - at);
            for (sums, to) in scratch.sums.as_chunks::<STRIP>().0.iter().zip(to.chunks_exact_mut(columns)) {
                for (to, (sum, bias)) in to[at..][..count].iter_mut().zip(sums.iter().zip(bias)) {
                    *to = sum + bias;
                }
            }
        }
    }
}

const _: () = assert!(BLOCK.is_multiple_of(TILE_ROWS), "blocks are whole groups of rows");
