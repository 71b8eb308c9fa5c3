//! The feed-forward part in f32, whose inner rows are twice as wide as in bf16: some of their columns at a time are made, and go into the
//! sums of the last product before the next are. Nothing but the sums then outgrows the nearer cache.

use super::{LayerRest, run::widen};
use crate::{
    kernel::{RunningUnit, single},
    row_tiles::RowTiles,
    tile::{STRIP, TILE_COLUMNS, TILE_ROWS},
};

/// Strips of the inner rows that are made together: with 128 rows 192 KiB.
const TOGETHER: usize = 12;
/// Tiles of K in a strip.
const DEEP: usize = STRIP / TILE_COLUMNS;

/// Takes rows `x` through the part, to `given` (rows × hidden).
#[inline(always)]
pub(super) fn feed_forward(
    layer: &LayerRest,
    running: &RunningUnit,
    x: &RowTiles,
    inner: &mut RowTiles,
    [sums, others, all]: [&mut Vec<f32>; 3],
    given: &mut [f32],
) {
    let (up, down) = (layer.widening.up(), &layer.down);
    let each = x.groups() * TILE_ROWS * STRIP;
    all.resize(down.strips() * each, 0.0);
    for first in (0..up.strips()).step_by(TOGETHER) {
        let strips = first..up.strips().min(first + TOGETHER);
        widen(layer, running, x, inner, [&mut *sums, &mut *others], &mut Vec::new(), strips);
        let deep = first * DEEP..first * DEEP + inner.deep();
        for (strip, sums) in all.chunks_exact_mut(each).enumerate() {
            single::strip(down.single_strip(inner, strip, deep.clone()), sums);
        }
    }
    let columns = down.shape()[1];
    for (strip, sums) in all.chunks_exact(each).enumerate() {
        let (at, bias) = (strip * STRIP, down.bias(strip));
        let count = STRIP.min(columns - at);
        for (sums, to) in sums.as_chunks::<STRIP>().0.iter().zip(given.chunks_exact_mut(columns)) {
            for (to, (sum, bias)) in to[at..][..count].iter_mut().zip(sums.iter().zip(bias)) {
                *to = sum + bias;
            }
        }
    }
}
