//! A block of rows through a layer.

use std::{cell::RefCell, ops::Range};

use super::{LayerNorms, LayerOutput, LayerRest, Widening, single};
use crate::{
    format::WeightFormat,
    kernel::RunningUnit,
    product::BLOCK,
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
    sums: Vec<f32>,
    others: Vec<f32>,
    /// (rows × hidden): what a part gives, and the stream.
    given: Vec<f32>,
    stream: Vec<f32>,
    /// (rows × inner) in int8; what the last product has come to in f32.
    wide: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<LayerScratch> = RefCell::default();
}

impl LayerRest {
    /// Takes rows of what attention gave (rows × its width) and of the stream (rows × hidden) through the layer, on this thread.
    ///
    /// # Panics
    /// Where the slices are not as many rows, or `to.sum` is there or missing against [`Self::gives_sum`].
    pub fn run(&self, attended: &[f32], stream: &[f32], to: LayerOutput<'_>) {
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
                let attended = &attended[first * from..][..count * from];
                let stream = &stream[first * hidden..][..read.len()];
                let sum = sums.as_deref_mut().map(|sum| &mut sum[first * hidden..][..read.len()]);
                block(self, &running, scratch, attended, stream, read, sum);
            }
        });
    }
}

by_vectors! {
    fn block(
        layer: &LayerRest,
        running: &RunningUnit,
        scratch: &mut LayerScratch,
        attended: &[f32],
        stream: &[f32],
        read: &mut [f32],
        sum: Option<&mut [f32]>,
    ) {
        let LayerScratch { x, inner, sums, others, given, stream: kept, wide } = scratch;
        let [from, hidden] = layer.widths();
        let rows = stream.len() / hidden;
        for buffer in [&mut *sums, &mut *others] {
            buffer.resize(BLOCK * STRIP, 0.0);
        }
        given.resize(rows * hidden, 0.0);
        kept.resize(rows * hidden, 0.0);
        put(x, layer.out.format(), attended, from);
        whole(&layer.out, running, x, sums, given);
        // The stream behind attention goes to `kept`, what the feed-forward part reads to its tiles.
        let (up, down) = (layer.widening.up(), &layer.down);
        x.reset(up.format(), rows, hidden);
        for (i, (given, kept)) in given.chunks_exact_mut(hidden).zip(kept.chunks_exact_mut(hidden)).enumerate() {
            let stream = &stream[i * hidden..][..hidden];
            match &layer.norms {
                LayerNorms::Post { attention, .. } => {
                    kept.iter_mut().zip(given.iter().zip(stream)).for_each(|(to, (a, b))| *to = a + b);
                    norm(kept, attention);
                    x.put_row(i, kept);
                }
                LayerNorms::Pre { given: norms, feed_forward, .. } => {
                    if let Some(norms) = norms {
                        norm(given, &norms[0]);
                    }
                    kept.iter_mut().zip(given.iter().zip(stream)).for_each(|(to, (a, b))| *to = a + b);
                    given.copy_from_slice(kept);
                    norm(given, feed_forward);
                    x.put_row(i, given);
                }
            }
        }
        let strips = 0..up.strips();
        if down.format() == WeightFormat::F32 {
            single::feed_forward(layer, running, x, inner, [sums, others, wide], given);
        } else {
            widen(layer, running, x, inner, [sums, others], wide, strips);
            whole(down, running, inner, sums, given);
        }
        finish(&layer.norms, hidden, given, kept, read, sum);
    }
}

impl Widening {
    pub(super) fn up(&self) -> &KeptWeight {
        match self {
            Self::Plain { up, .. } | Self::Gated { up, .. } => up,
        }
    }
}

/// Rows into tiles.
#[inline(always)]
fn put(x: &mut RowTiles, format: WeightFormat, rows: &[f32], width: usize) {
    x.reset(format, rows.len() / width, width);
    for (i, row) in rows.chunks_exact(width).enumerate() {
        x.put_row(i, row);
    }
}

/// `x·W + b`, all of it.
#[inline(always)]
fn whole(weight: &KeptWeight, running: &RunningUnit, x: &RowTiles, sums: &mut [f32], to: &mut [f32]) {
    let columns = weight.shape()[1];
    for strip in 0..weight.strips() {
        weight.strip(running, x, strip, sums);
        let (at, bias) = (strip * STRIP, weight.bias(strip));
        let rows = sums.as_chunks::<STRIP>().0.iter().zip(to.chunks_exact_mut(columns));
        if columns - at >= STRIP {
            for (sums, to) in rows {
                let to: &mut [f32; STRIP] = &mut to[at..].as_chunks_mut().0[0];
                for (to, (sum, bias)) in to.iter_mut().zip(sums.iter().zip(bias)) {
                    *to = sum + bias;
                }
            }
        } else {
            for (sums, to) in rows {
                for (to, (sum, bias)) in to[at..].iter_mut().zip(sums.iter().zip(bias)) {
                    *to = sum + bias;
                }
            }
        }
    }
}

/// Some strips of the first product or products and the activation, into the tiles of the last.
#[inline(always)]
pub(super) fn widen(
    layer: &LayerRest,
    running: &RunningUnit,
    x: &RowTiles,
    inner: &mut RowTiles,
    [sums, others]: [&mut Vec<f32>; 2],
    wide: &mut Vec<f32>,
    strips: Range<usize>,
) {
    let (up, format) = (layer.widening.up(), layer.down.format());
    let (rows, width) = (x.rows(), up.shape()[1]);
    let first = strips.start;
    inner.reset(format, rows, width.min(strips.end * STRIP) - first * STRIP);
    if format == WeightFormat::Int8 {
        wide.resize(rows * width, 0.0);
    }
    for strip in strips {
        up.strip(running, x, strip, sums);
        let kind = match &layer.widening {
            Widening::Plain { act, .. } | Widening::Gated { act, .. } => *act,
        };
        let gate = match &layer.widening {
            Widening::Plain { .. } => None,
            Widening::Gated { gate, .. } => {
                gate.strip(running, x, strip, others);
                Some(gate.bias(strip))
            }
        };
        let (at, bias) = (strip * STRIP, up.bias(strip));
        let count = STRIP.min(width - at);
        let numbers = sums.as_chunks::<STRIP>().0.iter().zip(others.as_chunks::<STRIP>().0);
        for (i, (sums, others)) in numbers.take(rows).enumerate() {
            let mut piece = *sums;
            piece.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            match gate {
                None => act(kind, &mut piece),
                Some(bias) => {
                    let mut gate = *others;
                    gate.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
                    act(kind, &mut gate);
                    piece.iter_mut().zip(&gate).for_each(|(x, gate)| *x *= gate);
                }
            }
            // What columns that are filled up give is not zero for every number of rows' sake: NaN must not reach the next product.
            if count < STRIP {
                piece[count..].fill(0.0);
            }
            if format == WeightFormat::Int8 {
                wide[i * width + at..][..count].copy_from_slice(&piece[..count]);
            } else {
                inner.put_piece(i, strip - first, &piece);
            }
        }
    }
    if format == WeightFormat::Int8 {
        for (i, row) in wide.chunks_exact(width).enumerate().take(rows) {
            inner.put_row(i, row);
        }
    }
}

/// The second sum and the last norm.
#[inline(always)]
fn finish(
    norms: &LayerNorms,
    hidden: usize,
    given: &mut [f32],
    kept: &[f32],
    read: &mut [f32],
    mut sum: Option<&mut [f32]>,
) {
    let add = |to: &mut [f32], a: &[f32], b: &[f32]| {
        to.iter_mut().zip(a.iter().zip(b)).for_each(|(to, (a, b))| *to = a + b);
    };
    for (i, (given, kept)) in given.chunks_exact_mut(hidden).zip(kept.chunks_exact(hidden)).enumerate() {
        let read = &mut read[i * hidden..][..hidden];
        match norms {
            LayerNorms::Post { feed_forward, .. } => {
                add(read, given, kept);
                norm(read, feed_forward);
            }
            LayerNorms::Pre { given: norms, next, .. } => {
                if let Some(norms) = norms {
                    norm(given, &norms[1]);
                }
                add(read, given, kept);
                if let (Some(next), Some(sum)) = (next, sum.as_deref_mut()) {
                    sum[i * hidden..][..hidden].copy_from_slice(read);
                    norm(read, next as &RowNorm);
                }
            }
        }
    }
}
