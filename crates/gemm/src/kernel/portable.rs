//! Plain Rust: what the other kernels are held against, and what runs where there is none.

use super::{GroupSums, Strip, tile};
use crate::{
    convert::widened,
    tile::{STRIP, TILE_COLUMNS, Tile},
};

/// Pairs of bf16, one after the other, each product rounded before it is added.
#[inline(never)]
pub(super) fn halves(rows: usize, x: &[Tile], columns: [&[Tile]; 2], strip: Strip<'_>, sums: &mut GroupSums) {
    let (rows_of_sums, _) = sums.as_chunks_mut::<STRIP>();
    for (row, sums) in rows_of_sums.iter_mut().enumerate().take(rows) {
        if strip.is_first {
            *sums = [0.0; STRIP];
        }
        for step in strip.steps {
            let x = &tile(x, step.a).halves()[row * 32..][..32];
            for (half, columns) in columns.into_iter().enumerate() {
                let sums = &mut sums[half * TILE_COLUMNS..][..TILE_COLUMNS];
                let (pairs, _) = tile(columns, step.b).halves().as_chunks::<32>();
                for (x, weights) in x.as_chunks::<2>().0.iter().zip(pairs) {
                    let [even, odd] = x.map(widened);
                    for (sum, [first, second]) in sums.iter_mut().zip(weights.as_chunks().0) {
                        *sum += even * widened(*first);
                        *sum += odd * widened(*second);
                    }
                }
            }
        }
    }
}

/// Quads of int8 in i32, whose bits lie in the sums.
#[inline(never)]
pub(super) fn bytes(rows: usize, x: &[Tile], columns: [&[Tile]; 2], strip: Strip<'_>, sums: &mut GroupSums) {
    let (rows_of_sums, _) = sums.as_chunks_mut::<STRIP>();
    for (row, sums) in rows_of_sums.iter_mut().enumerate().take(rows) {
        let mut whole = if strip.is_first { [0; STRIP] } else { sums.map(|x| x.to_bits().cast_signed()) };
        for step in strip.steps {
            let x = &tile(x, step.a).bytes()[row * 64..][..64];
            for (half, columns) in columns.into_iter().enumerate() {
                let whole = &mut whole[half * TILE_COLUMNS..][..TILE_COLUMNS];
                let (quads, _) = tile(columns, step.b).bytes().as_chunks::<64>();
                for (x, weights) in x.as_chunks::<4>().0.iter().zip(quads) {
                    for (sum, weights) in whole.iter_mut().zip(weights.as_chunks::<4>().0) {
                        let products = x.iter().zip(weights);
                        *sum +=
                            products.map(|(x, w)| i32::from(x.cast_signed()) * i32::from(w.cast_signed())).sum::<i32>();
                    }
                }
            }
        }
        *sums = whole.map(|x| f32::from_bits(x.cast_unsigned()));
    }
}
