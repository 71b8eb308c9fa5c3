//! Sums of products of tiles, by unit.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
pub(crate) mod single;

use std::marker::PhantomData;

use crate::{
    format::WeightFormat,
    row_tiles::RowTiles,
    tile::{STRIP, TILE_ROWS, Tile},
    unit::{self, Unit, VectorWidth},
};

/// A tile of rows that meets a tile of columns: bytes from the first tile of either's group.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct TileStep {
    pub(crate) a: u32,
    pub(crate) b: u32,
}

/// Some steps of a strip.
#[derive(Clone, Copy)]
pub(crate) struct Strip<'a> {
    pub(crate) unit: Unit,
    pub(crate) x: &'a RowTiles,
    /// Tiles of two groups of columns, end to end.
    pub(crate) columns: &'a [Tile],
    pub(crate) steps: &'a [TileStep],
    /// int8: what sums begin with where rows are met with 128 added.
    pub(crate) offsets: Option<&'a [i32; STRIP]>,
    /// Whether sums begin here; else they go on.
    pub(crate) is_first: bool,
}

/// 32 sums of a row, where a tile is stored without crossing lines of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct SumRow(pub(crate) [f32; STRIP]);

impl SumRow {
    pub(crate) const ZERO: Self = Self([0.0; STRIP]);

    /// The numbers of some, end to end.
    #[inline(always)]
    pub(crate) fn flat(rows: &mut [Self]) -> &mut [f32] {
        // SAFETY: each is 32 numbers and nothing else.
        #[expect(unsafe_code, reason = "the same numbers without their borders")]
        unsafe {
            std::slice::from_raw_parts_mut(rows.as_mut_ptr().cast(), rows.len() * STRIP)
        }
    }
}

/// Sums of 16 rows.
pub(crate) type GroupSums = [f32; TILE_ROWS * STRIP];

/// The right of this thread to run a unit's kernels, until it is dropped.
#[derive(Debug)]
pub(crate) struct RunningUnit {
    unit: Unit,
    /// Tiles belong to a thread.
    _thread: PhantomData<*const ()>,
}

impl RunningUnit {
    /// Starts the unit: AMX is told the shapes of its tiles.
    pub(crate) fn start(unit: Unit) -> Self {
        #[cfg(target_arch = "x86_64")]
        if unit == Unit::Amx {
            amx::start();
        }
        Self { unit, _thread: PhantomData }
    }

    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }

    /// Vectors for the steps beside its products.
    pub(crate) fn vectors(&self) -> VectorWidth {
        unit::vectors(self.unit)
    }
}

impl Drop for RunningUnit {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.unit == Unit::Amx {
            amx::stop();
        }
    }
}

/// Adds the steps' products to `sums`, (rows filled up to 16 × 32), by a unit of vectors.
#[inline(always)]
pub(crate) fn strip(strip: Strip<'_>, format: WeightFormat, sums: &mut [f32]) {
    let (left, right) = strip.columns.split_at(strip.columns.len() / 2);
    let (groups, _) = sums.as_chunks_mut();
    for (group, sums) in groups.iter_mut().enumerate() {
        let rows = (strip.x.rows() - group * TILE_ROWS).min(TILE_ROWS);
        let x = strip.x.group(group);
        match (strip.unit, format) {
            #[cfg(target_arch = "x86_64")]
            (Unit::Avx512Bf16, _) => avx512::halves(rows, x, [left, right], strip, sums),
            #[cfg(target_arch = "x86_64")]
            (Unit::Avx512Vnni, _) => avx512::bytes(rows, x, [left, right], strip, sums),
            #[cfg(target_arch = "x86_64")]
            (Unit::AvxVnni, _) => avx2::bytes(rows, x, [left, right], strip, sums),
            #[cfg(target_arch = "x86_64")]
            (Unit::Avx2, _) => avx2::halves(rows, x, [left, right], strip, sums),
            (_, WeightFormat::Int8) => portable::bytes(rows, x, [left, right], strip, sums),
            _ => portable::halves(rows, x, [left, right], strip, sums),
        }
    }
}

/// Which tile lies so many bytes from the first.
#[inline(always)]
fn tile(tiles: &[Tile], bytes: u32) -> &Tile {
    &tiles[bytes as usize / crate::tile::TILE_BYTES]
}
