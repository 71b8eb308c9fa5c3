//! Intel's tiles, by instructions written out: their intrinsics are not stable.
//!
//! Four tiles of sums (32 rows × 32 columns), two of rows and two of columns: each tile that is loaded is used twice. Loads of the
//! next step run beside products of this one, as the processor renames tiles. Sums stay in their tiles from [`Block::begin`] to
//! [`Block::end`]; between steps the caller does something else with vectors, which the unit does not need.
//!
//! A product of tiles adds, for each sum, the products of even numbers of K and those of odd ones apart, then both to the sum;
//! denormals are zero, and it rounds to nearest whatever the thread has set.
#![expect(unsafe_code, reason = "instructions without stable intrinsics")]

use std::arch::asm;

use super::TileStep;
use crate::tile::{STRIP, TILE_BYTES, TILE_ROWS, Tile};

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct TileConfig([u8; 64]);

/// All eight tiles have 16 rows of 64 bytes.
static CONFIG: TileConfig = {
    let mut config = [0; 64];
    // The only palette there is.
    config[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        config[16 + 2 * tile] = 64;
        config[48 + tile] = TILE_ROWS as u8;
        tile += 1;
    }
    TileConfig(config)
};

/// Sets this thread's tiles up.
pub(super) fn start() {
    // SAFETY: AMX is here and permitted, or the unit would not have been chosen; the configuration is a valid one. No code but
    // this module's uses tiles.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, preserves_flags, readonly));
    }
}

/// Gives them back, so that the operating system has nothing of them to save.
pub(super) fn stop() {
    // SAFETY: as above; it takes nothing.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) }
}

/// Sums of 16 or 32 rows × 32 columns, in tiles. Tiles must be set up, and one block be done with before the next begins.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    /// Tiles of the rows: of one group, or of two end to end.
    rows: &'a [Tile],
    /// Tiles of two groups of columns, end to end.
    columns: &'a [Tile],
    is_pair: bool,
    is_bytes: bool,
}

/// Where a block's sums lie: the first, and bytes from row to row.
#[derive(Clone, Copy)]
pub(crate) struct SumsAt {
    first: *mut f32,
    stride: usize,
}

impl SumsAt {
    /// Those of 16 rows of 32 numbers, or of 32 for a pair, `width` numbers from row to row; `sums` begins with the first.
    #[inline(always)]
    pub(crate) fn new(sums: &mut [f32], width: usize, is_pair: bool) -> Self {
        let rows = if is_pair { 2 * TILE_ROWS } else { TILE_ROWS };
        assert!(width >= STRIP && sums.len() >= (rows - 1) * width + STRIP, "sums past their place");
        Self { first: sums.as_mut_ptr(), stride: width * size_of::<f32>() }
    }
}

impl<'a> Block<'a> {
    /// Of `rows` of 16 rows, or of 32 where `is_pair`, and `columns`; `reach` has the last tiles of either's group that steps name.
    #[inline(always)]
    pub(crate) fn new(rows: &'a [Tile], columns: &'a [Tile], is_pair: bool, is_bytes: bool, reach: TileStep) -> Self {
        let groups = if is_pair { 2 } else { 1 };
        assert!((reach.a as usize) < rows.len() / groups * TILE_BYTES, "a step past the rows");
        assert!((reach.b as usize) < columns.len() / 2 * TILE_BYTES, "a step past the columns");
        Self { rows, columns, is_pair, is_bytes }
    }

    /// Sums begin with zeros, or go on with those at `sums`.
    #[inline(always)]
    pub(crate) fn begin(self, is_first: bool, sums: SumsAt) {
        // SAFETY: room for the sums was checked when `sums` was made.
        unsafe {
            match (is_first, self.is_pair) {
                (true, true) => asm!(
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, preserves_flags, nomem),
                ),
                (true, false) => asm!(
                    "tilezero tmm0", "tilezero tmm1",
                    out("tmm0") _, out("tmm1") _,
                    options(nostack, preserves_flags, nomem),
                ),
                (false, true) => asm!(
                    "tileloadd tmm0, [{sums} + {wide}*1]",
                    "tileloadd tmm1, [{sums} + {wide}*1 + 64]",
                    "tileloadd tmm2, [{next} + {wide}*1]",
                    "tileloadd tmm3, [{next} + {wide}*1 + 64]",
                    sums = in(reg) sums.first,
                    next = in(reg) sums.first.byte_add(TILE_ROWS * sums.stride),
                    wide = in(reg) sums.stride,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, preserves_flags, readonly),
                ),
                (false, false) => asm!(
                    "tileloadd tmm0, [{sums} + {wide}*1]",
                    "tileloadd tmm1, [{sums} + {wide}*1 + 64]",
                    sums = in(reg) sums.first,
                    wide = in(reg) sums.stride,
                    out("tmm0") _, out("tmm1") _,
                    options(nostack, preserves_flags, readonly),
                ),
            }
        }
    }

    /// Adds one step's products.
    #[inline(always)]
    pub(crate) fn step(self, step: TileStep) {
        macro_rules! products {
            ($product:literal, $x:ident, $w:ident, $next_w:ident) => {
                asm!(
                    "tileloadd tmm4, [{x} + {narrow}*1]",
                    "tileloadd tmm6, [{w} + {narrow}*1]",
                    "tileloadd tmm7, [{next_w} + {narrow}*1]",
                    concat!($product, " tmm0, tmm4, tmm6"),
                    concat!($product, " tmm1, tmm4, tmm7"),
                    x = in(reg) $x,
                    w = in(reg) $w,
                    next_w = in(reg) $next_w,
                    narrow = in(reg) 64_usize,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, preserves_flags, readonly),
                )
            };
            ($product:literal, $x:ident, $next_x:ident, $w:ident, $next_w:ident) => {
                asm!(
                    "tileloadd tmm4, [{x} + {narrow}*1]",
                    "tileloadd tmm6, [{w} + {narrow}*1]",
                    "tileloadd tmm7, [{next_w} + {narrow}*1]",
                    "tileloadd tmm5, [{next_x} + {narrow}*1]",
                    concat!($product, " tmm0, tmm4, tmm6"),
                    concat!($product, " tmm1, tmm4, tmm7"),
                    concat!($product, " tmm2, tmm5, tmm6"),
                    concat!($product, " tmm3, tmm5, tmm7"),
                    x = in(reg) $x,
                    next_x = in(reg) $next_x,
                    w = in(reg) $w,
                    next_w = in(reg) $next_w,
                    narrow = in(reg) 64_usize,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, preserves_flags, readonly),
                )
            };
        }
        // SAFETY: steps lie within both groups of tiles by the asserts of `new`, whose `reach` the caller keeps to.
        unsafe {
            let x = self.rows.as_ptr().byte_add(step.a as usize);
            let w = self.columns.as_ptr().byte_add(step.b as usize);
            let next_x = x.add(self.rows.len() / 2);
            let next_w = w.add(self.columns.len() / 2);
            match (self.is_pair, self.is_bytes) {
                (true, false) => products!("tdpbf16ps", x, next_x, w, next_w),
                (true, true) => products!("tdpbssd", x, next_x, w, next_w),
                (false, false) => products!("tdpbf16ps", x, w, next_w),
                (false, true) => products!("tdpbssd", x, w, next_w),
            }
        }
    }

    /// Stores the sums.
    #[inline(always)]
    pub(crate) fn end(self, sums: SumsAt) {
        // SAFETY: room for the sums was checked when `sums` was made.
        unsafe {
            if self.is_pair {
                asm!(
                    "tilestored [{sums} + {wide}*1], tmm0",
                    "tilestored [{sums} + {wide}*1 + 64], tmm1",
                    "tilestored [{next} + {wide}*1], tmm2",
                    "tilestored [{next} + {wide}*1 + 64], tmm3",
                    sums = in(reg) sums.first,
                    next = in(reg) sums.first.byte_add(TILE_ROWS * sums.stride),
                    wide = in(reg) sums.stride,
                    options(nostack, preserves_flags),
                );
            } else {
                asm!(
                    "tilestored [{sums} + {wide}*1], tmm0",
                    "tilestored [{sums} + {wide}*1 + 64], tmm1",
                    sums = in(reg) sums.first,
                    wide = in(reg) sums.stride,
                    options(nostack, preserves_flags),
                );
            }
        }
    }
}
