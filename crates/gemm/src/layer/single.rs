//! The feed-forward part in f32, whose inner rows are twice as wide as in bf16: some of their columns at a time are made, and go into the
//! sums of the last product before the next are. Nothing but the sums then outgrows the nearer cache.

use std::marker::PhantomData;

use super::{LayerRest, Widening, run::Widened};
use crate::{
    format::WeightFormat,
    kernel::{RunningUnit, SumRow, single},
    lanes::Lanes,
    pass::BLOCK_ROWS,
    product::BLOCK,
    row_tiles::RowTiles,
    tile::{STRIP, TILE_COLUMNS, TILE_ROWS},
};

/// Strips of the inner rows that are made together: with 128 rows 192 KiB.
const TOGETHER: usize = 12;
/// Tiles of K in a strip.
const DEEP: usize = STRIP / TILE_COLUMNS;
/// Groups of 16 rows in a block of what is given.
const GROUPS: usize = BLOCK_ROWS / TILE_ROWS;

/// Takes rows `x` through the part, to `given`: `[32 rows][32 columns][32][32]`.
#[inline(always)]
pub(super) fn feed_forward<L: Lanes>(
    layer: &LayerRest,
    running: &RunningUnit,
    x: &RowTiles,
    inner: &mut RowTiles,
    sums: &mut Vec<SumRow>,
    gates: &mut Vec<SumRow>,
    given: &mut [SumRow],
) {
    let (up, down) = (layer.widening.up(), &layer.down);
    let (width, strips) = (up.shape()[1], down.strips());
    let weights = match &layer.widening {
        Widening::Plain { up, .. } => [Some(up), None],
        Widening::Gated { gate, up, .. } => [Some(gate), Some(up)],
    };
    weights.iter().flatten().for_each(|weight| weight.check(running, x));
    gates.resize(BLOCK, SumRow::ZERO);
    for first in (0..up.strips()).step_by(TOGETHER) {
        let last = up.strips().min(first + TOGETHER);
        inner.reset(WeightFormat::F32, x.rows(), width.min(last * STRIP) - first * STRIP);
        let mut widened = Widened::<L> {
            layer,
            inner: &mut *inner,
            first,
            gates: &mut *gates,
            wide: &mut [],
            width,
            lanes: PhantomData,
        };
        for strip in first..last {
            for (which, weight) in weights.iter().flatten().enumerate() {
                weight.finish_single(x, (which, strip), sums, &mut widened);
            }
        }
        let deep = first * DEEP..first * DEEP + inner.deep();
        for strip in 0..strips {
            let at = |group: usize| (group / GROUPS * strips + strip) * GROUPS + group % GROUPS;
            single::strip(down.single_strip(inner, strip, deep.clone()), SumRow::flat(given), at);
        }
    }
    for (i, block) in given.chunks_exact_mut(BLOCK_ROWS).enumerate() {
        let bias = down.bias(i % strips);
        for row in block {
            row.0.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
        }
    }
}
