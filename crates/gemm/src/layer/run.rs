//! A block of rows through a layer.

use std::{cell::RefCell, marker::PhantomData};

use super::{Attended, LayerNorms, LayerOutput, LayerRest, Widening, single};
use crate::{
    format::WeightFormat,
    kernel::{RunningUnit, SumRow},
    lanes::Lanes,
    pass::{BLOCK_ROWS, Finish, pass},
    product::{BLOCK, write},
    row_tiles::RowTiles,
    rows::{RowNorm, act, norm},
    tile::STRIP,
    vectors::by_vectors,
    weight::KeptWeight,
};

/// Rows of a block in int8, whose inner rows wait in f32 for their scales.
const BLOCK_INT8: usize = 64;

#[derive(Default)]
struct LayerScratch {
    /// What goes into a product.
    x: RowTiles,
    /// What goes into the last one.
    inner: RowTiles,
    sums: Vec<SumRow>,
    /// (rows × 32): the activated half of a gated part.
    gates: Vec<SumRow>,
    /// `[32 rows][32 columns][32][32]`: what a part gives. Rows of a strip lie side by side, as they are made: written far apart they
    /// would each touch another page.
    given: Vec<SumRow>,
    /// (rows × hidden): the stream.
    stream: Vec<SumRow>,
    /// A row of what a part gives.
    one: Vec<SumRow>,
    /// (rows × inner), in int8 alone.
    wide: Vec<SumRow>,
    /// A row of what attention gave.
    row: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<LayerScratch> = RefCell::default();
}

impl LayerRest {
    /// Takes rows of what attention gave (rows × its width) and of the stream (rows × hidden) through the layer, on this thread.
    ///
    /// # Panics
    /// Where the slices are not as many rows, or `to.sum` is there or missing against [`Self::gives_sum`].
    pub fn run(&self, attended: Attended<'_>, stream: &[f32], to: LayerOutput<'_>) {
        let [from, hidden] = self.widths();
        let rows = stream.len() / hidden;
        assert!(attended.len() == rows * from && stream.len() == rows * hidden, "rows of another layer");
        assert!(to.read.len() == stream.len() && to.sum.is_some() == self.gives_sum(), "results of another layer");
        let mut sums = to.sum;
        let most = if self.down.format() == WeightFormat::Int8 { BLOCK_INT8 } else { BLOCK };
        let running = RunningUnit::start(self.out.unit());
        SCRATCH.with_borrow_mut(|scratch| {
            for (i, read) in to.read.chunks_mut(most * hidden).enumerate() {
                let (first, count) = (i * most, read.len() / hidden);
                let attended = attended.part(first * from, count * from);
                let stream = &stream[first * hidden..][..read.len()];
                let sum = sums.as_deref_mut().map(|sum| &mut sum[first * hidden..][..read.len()]);
                block(running.vectors(), self, &running, scratch, attended, stream, LayerOutput { read, sum });
            }
        });
    }
}

by_vectors! {
    fn block<L>(
        layer: &LayerRest,
        running: &RunningUnit,
        scratch: &mut LayerScratch,
        attended: Attended<'_>,
        stream: &[f32],
        to: LayerOutput<'_>,
    ) {
        let LayerScratch { x, inner, sums, gates, given, stream: kept, one, wide, row } = scratch;
        let [from, hidden] = layer.widths();
        let rows = stream.len() / hidden;
        let (kept, one) = (numbers(kept, rows * hidden), numbers(one, hidden));
        given.resize(rows.next_multiple_of(BLOCK_ROWS) * hidden.div_ceil(STRIP), SumRow::ZERO);
        x.reset(layer.out.format(), rows, from);
        match attended {
            Attended::Numbers(all) => {
                all.chunks_exact(from).enumerate().for_each(|(i, numbers)| x.put_row::<L>(i, numbers));
            }
            Attended::Halves(all) => {
                all.chunks_exact(from).enumerate().for_each(|(i, halves)| x.put_halves::<L>(i, halves, row));
            }
        }
        layer.out.pass(running, x, sums, &mut Summed { weight: &layer.out, to: given });
        // The stream behind attention goes to `kept`, what the feed-forward part reads to its tiles.
        let down = &layer.down;
        x.reset(layer.widening.up().format(), rows, hidden);
        for (i, (stream, kept)) in stream.chunks_exact(hidden).zip(kept.chunks_exact_mut(hidden)).enumerate() {
            match &layer.norms {
                LayerNorms::Post { attention, .. } => {
                    add(given, i, stream, kept);
                    norm(kept, attention);
                    x.put_row::<L>(i, kept);
                }
                LayerNorms::Pre { given: norms, feed_forward, .. } => {
                    add_normed(given, i, norms.as_ref().map(|norms| &norms[0]), one, stream, kept);
                    one.copy_from_slice(kept);
                    norm(one, feed_forward);
                    x.put_row::<L>(i, one);
                }
            }
        }
        if down.format() == WeightFormat::F32 {
            single::feed_forward::<L>(layer, running, x, inner, sums, gates, given);
        } else {
            widen::<L>(layer, running, x, inner, sums, gates, wide);
            down.pass(running, inner, sums, &mut Summed { weight: down, to: given });
        }
        finish(&layer.norms, hidden, given, kept, one, to);
    }
}

/// Row `i` of what a part gives, and another, added.
#[inline(always)]
fn add(given: &[SumRow], i: usize, other: &[f32], to: &mut [f32]) {
    let strips = to.len().div_ceil(STRIP);
    let given = given[i / BLOCK_ROWS * strips * BLOCK_ROWS + i % BLOCK_ROWS..].iter().step_by(BLOCK_ROWS);
    for ((to, other), given) in to.chunks_mut(STRIP).zip(other.chunks(STRIP)).zip(given) {
        to.iter_mut().zip(other.iter().zip(&given.0)).for_each(|(to, (a, b))| *to = a + b);
    }
}

/// [`add`] of a row that is normed first, where it is.
#[inline(always)]
fn add_normed(given: &[SumRow], i: usize, rule: Option<&RowNorm>, one: &mut [f32], other: &[f32], to: &mut [f32]) {
    let Some(rule) = rule else { return add(given, i, other, to) };
    one.fill(0.0);
    add(given, i, one, to);
    norm(to, rule);
    to.iter_mut().zip(other).for_each(|(to, other)| *to += other);
}

/// So many numbers of a buffer that grows to have them.
#[inline(always)]
fn numbers(buffer: &mut Vec<SumRow>, count: usize) -> &mut [f32] {
    if buffer.len() < count.div_ceil(STRIP) {
        buffer.resize(count.div_ceil(STRIP), SumRow::ZERO);
    }
    &mut SumRow::flat(buffer)[..count]
}

impl Widening {
    pub(super) fn up(&self) -> &KeptWeight {
        match self {
            Self::Plain { up, .. } | Self::Gated { up, .. } => up,
        }
    }
}

/// Adds the bias.
struct Summed<'a> {
    weight: &'a KeptWeight,
    /// `[32 rows][32 columns][32][32]`.
    to: &'a mut [SumRow],
}

impl Finish for Summed<'_> {
    #[inline(always)]
    fn row(&mut self, _: usize, strip: usize, row: usize, sums: &[f32; STRIP]) {
        let bias = self.weight.bias(strip);
        let block = row / BLOCK_ROWS * self.weight.strips() + strip;
        self.to[block * BLOCK_ROWS + row % BLOCK_ROWS].0 = std::array::from_fn(|i| sums[i] + bias[i]);
    }
}

/// The activation, on the way into the tiles of the last product.
pub(super) struct Widened<'a, L> {
    pub(super) layer: &'a LayerRest,
    pub(super) inner: &'a mut RowTiles,
    /// The strip that `inner` begins with.
    pub(super) first: usize,
    pub(super) gates: &'a mut [SumRow],
    /// (rows × width), in int8 alone.
    pub(super) wide: &'a mut [f32],
    pub(super) width: usize,
    pub(super) lanes: PhantomData<L>,
}

impl<L: Lanes> Widened<'_, L> {
    /// Puts a piece of a row in.
    #[inline(always)]
    fn put(&mut self, strip: usize, row: usize, piece: &mut [f32; STRIP]) {
        let count = STRIP.min(self.width - strip * STRIP);
        // What columns that are filled up give is not zero for every number of rows' sake: NaN must not reach the next product.
        if count < STRIP {
            piece[count..].fill(0.0);
        }
        if self.layer.down.format() == WeightFormat::Int8 {
            write(&mut self.wide[row * self.width..][..self.width], strip, piece);
        } else {
            self.inner.put_piece::<L>(row, strip - self.first, piece);
        }
    }
}

impl<L: Lanes> Finish for Widened<'_, L> {
    #[inline(always)]
    fn row(&mut self, which: usize, strip: usize, row: usize, sums: &[f32; STRIP]) {
        let is_rough = !matches!(self.layer.down.format(), WeightFormat::F32 | WeightFormat::Bf16x3);
        let biased = |weight: &KeptWeight| -> [f32; STRIP] {
            let bias = weight.bias(strip);
            std::array::from_fn(|i| sums[i] + bias[i])
        };
        match (&self.layer.widening, which) {
            (Widening::Plain { up, act: kind }, _) => {
                let mut piece = biased(up);
                act(*kind, is_rough, &mut piece);
                self.put(strip, row, &mut piece);
            }
            (Widening::Gated { gate, act: kind, .. }, 0) => {
                let mut piece = biased(gate);
                act(*kind, is_rough, &mut piece);
                self.gates[row].0 = piece;
            }
            (Widening::Gated { up, .. }, _) => {
                let mut piece = biased(up);
                piece.iter_mut().zip(&self.gates[row].0).for_each(|(x, gate)| *x *= gate);
                self.put(strip, row, &mut piece);
            }
        }
    }
}

/// The first product or products and the activation, into the tiles of the last.
#[inline(always)]
fn widen<L: Lanes>(
    layer: &LayerRest,
    running: &RunningUnit,
    x: &RowTiles,
    inner: &mut RowTiles,
    sums: &mut Vec<SumRow>,
    gates: &mut Vec<SumRow>,
    wide: &mut Vec<SumRow>,
) {
    let (up, format) = (layer.widening.up(), layer.down.format());
    let (rows, width) = (x.rows(), up.shape()[1]);
    inner.reset(format, rows, width);
    let is_int8 = format == WeightFormat::Int8;
    gates.resize(BLOCK, SumRow::ZERO);
    let wide = numbers(wide, if is_int8 { rows * width } else { 0 });
    let mut widened = Widened::<L> { layer, inner, first: 0, gates, wide, width, lanes: PhantomData };
    match &layer.widening {
        Widening::Plain { up, .. } => up.pass(running, x, sums, &mut widened),
        Widening::Gated { gate, up, .. } => {
            [gate, up].iter().for_each(|weight| weight.check(running, x));
            pass(running, x, &[gate.columns(), up.columns()], up.strips(), sums, &mut widened);
        }
    }
    if is_int8 {
        for (i, row) in wide.chunks_exact(width).enumerate() {
            inner.put_row::<L>(i, row);
        }
    }
}

/// The second sum and the last norm.
#[inline(always)]
fn finish(
    norms: &LayerNorms,
    hidden: usize,
    given: &[SumRow],
    kept: &[f32],
    one: &mut [f32],
    LayerOutput { read, mut sum }: LayerOutput<'_>,
) {
    for (i, (kept, read)) in kept.chunks_exact(hidden).zip(read.chunks_exact_mut(hidden)).enumerate() {
        match norms {
            LayerNorms::Post { feed_forward, .. } => {
                add(given, i, kept, read);
                norm(read, feed_forward);
            }
            LayerNorms::Pre { given: norms, next, .. } => {
                add_normed(given, i, norms.as_ref().map(|norms| &norms[1]), one, kept, read);
                if let (Some(next), Some(sum)) = (next, sum.as_deref_mut()) {
                    sum[i * hidden..][..hidden].copy_from_slice(read);
                    norm(read, next as &RowNorm);
                }
            }
        }
    }
}
