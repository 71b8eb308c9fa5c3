//! Intel's tiles, by instructions written out: their intrinsics are not stable.
//!
//! Four tiles of sums (32 rows × 32 columns), two of rows and two of columns: each tile that is loaded is used twice. Loads of the
//! next step run beside products of this one, as the processor renames tiles.
//!
//! A product of tiles adds, for each sum, the products of even numbers of K and those of odd ones apart, then both to the sum;
//! denormals are zero, and it rounds to nearest whatever the thread has set.

use std::arch::asm;

use super::{Strip, TileStep};
use crate::{
    format::WeightFormat,
    tile::{STRIP, TILE_BYTES, TILE_ROWS},
};

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
#[expect(unsafe_code, reason = "an instruction without a stable intrinsic")]
pub(super) fn start() {
    // SAFETY: AMX is here and permitted, or the unit would not have been chosen; the configuration is a valid one. No code but
    // this module's uses tiles.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, preserves_flags, readonly));
    }
}

/// Gives them back, so that the operating system has nothing of them to save.
#[expect(unsafe_code, reason = "an instruction without a stable intrinsic")]
pub(super) fn stop() {
    // SAFETY: as above; it takes nothing.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) }
}

/// Adds the steps' products to `sums`. Tiles must be set up.
#[expect(unsafe_code, reason = "the kernels take addresses")]
pub(super) fn strip(strip: Strip<'_>, format: WeightFormat, sums: &mut [f32]) {
    let (groups, each) = (strip.x.groups(), strip.x.tiles_in_group());
    let most = |of: fn(&TileStep) -> u32| strip.steps.iter().map(of).max().unwrap_or(0) as usize / TILE_BYTES;
    assert!(sums.len() >= groups * TILE_ROWS * STRIP && !strip.steps.is_empty());
    assert!(most(|s| s.a) < each && most(|s| s.b) < strip.columns.len() / 2, "a step past the tiles");
    let (one, two) = match format {
        // No weight in f32 is packed for AMX.
        WeightFormat::F32 | WeightFormat::Bf16 | WeightFormat::Bf16x3 => (one_halves as Kernel, two_halves as Kernel),
        WeightFormat::Int8 => (one_bytes as Kernel, two_bytes as Kernel),
    };
    let mut operands = TileOperands {
        rows: strip.x.all().as_ptr().cast(),
        next_rows: each * TILE_BYTES,
        columns: strip.columns.as_ptr().cast(),
        next_columns: strip.columns.len() / 2 * TILE_BYTES,
        steps: strip.steps.as_ptr_range(),
        sums: sums.as_mut_ptr().cast(),
        is_first: strip.is_first,
    };
    let mut group = 0;
    while group < groups {
        let pair = group + 1 < groups;
        // SAFETY: tiles of `each` steps lie in each group of rows and of columns, no step reaches beyond, and `sums` has room
        // for 16 rows a group, by the asserts above.
        unsafe {
            (if pair { two } else { one })(&operands);
            let count = if pair { 2 } else { 1 };
            operands.rows = operands.rows.add(count * operands.next_rows);
            operands.sums = operands.sums.add(count * TILE_ROWS * STRIP * size_of::<f32>());
            group += count;
        }
    }
}

/// Addresses and distances in bytes.
struct TileOperands {
    rows: *const u8,
    /// From a group of rows to the next.
    next_rows: usize,
    columns: *const u8,
    /// From the first group of columns to the second.
    next_columns: usize,
    steps: std::ops::Range<*const TileStep>,
    /// (rows × 32) numbers.
    sums: *mut u8,
    is_first: bool,
}

type Kernel = unsafe fn(&TileOperands);

/// 32 rows × 32 columns.
macro_rules! two {
    ($name:ident, $product:literal) => {
        #[expect(unsafe_code, reason = "instructions without stable intrinsics")]
        unsafe fn $name(o: &TileOperands) {
            // SAFETY: by the caller; all that is written is the sums.
            unsafe {
                asm!(
                    "test {first:e}, {first:e}",
                    "jz 3f",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "jmp 2f",
                    "3:",
                    "tileloadd tmm0, [{sums} + {wide}*1]",
                    "tileloadd tmm1, [{sums} + {wide}*1 + 64]",
                    "tileloadd tmm2, [{sums} + {wide}*1 + 2048]",
                    "tileloadd tmm3, [{sums} + {wide}*1 + 2112]",
                    "2:",
                    "mov {x:e}, dword ptr [{step}]",
                    "mov {w:e}, dword ptr [{step} + 4]",
                    "add {x}, {rows}",
                    "add {w}, {columns}",
                    "tileloadd tmm4, [{x} + {narrow}*1]",
                    "tileloadd tmm6, [{w} + {narrow}*1]",
                    "add {x}, {next_rows}",
                    "add {w}, {next_columns}",
                    "tileloadd tmm7, [{w} + {narrow}*1]",
                    "tileloadd tmm5, [{x} + {narrow}*1]",
                    concat!($product, " tmm0, tmm4, tmm6"),
                    concat!($product, " tmm1, tmm4, tmm7"),
                    concat!($product, " tmm2, tmm5, tmm6"),
                    concat!($product, " tmm3, tmm5, tmm7"),
                    "add {step}, 8",
                    "cmp {step}, {end}",
                    "jne 2b",
                    "tilestored [{sums} + {wide}*1], tmm0",
                    "tilestored [{sums} + {wide}*1 + 64], tmm1",
                    "tilestored [{sums} + {wide}*1 + 2048], tmm2",
                    "tilestored [{sums} + {wide}*1 + 2112], tmm3",
                    first = in(reg) u32::from(o.is_first),
                    sums = in(reg) o.sums,
                    wide = in(reg) STRIP * size_of::<f32>(),
                    narrow = in(reg) 64_usize,
                    rows = in(reg) o.rows,
                    next_rows = in(reg) o.next_rows,
                    columns = in(reg) o.columns,
                    next_columns = in(reg) o.next_columns,
                    step = inout(reg) o.steps.start => _,
                    end = in(reg) o.steps.end,
                    x = out(reg) _,
                    w = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

/// 16 rows × 32 columns.
macro_rules! one {
    ($name:ident, $product:literal) => {
        #[expect(unsafe_code, reason = "instructions without stable intrinsics")]
        unsafe fn $name(o: &TileOperands) {
            // SAFETY: by the caller; all that is written is the sums.
            unsafe {
                asm!(
                    "test {first:e}, {first:e}",
                    "jz 3f",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "jmp 2f",
                    "3:",
                    "tileloadd tmm0, [{sums} + {wide}*1]",
                    "tileloadd tmm1, [{sums} + {wide}*1 + 64]",
                    "2:",
                    "mov {x:e}, dword ptr [{step}]",
                    "mov {w:e}, dword ptr [{step} + 4]",
                    "add {x}, {rows}",
                    "add {w}, {columns}",
                    "tileloadd tmm4, [{x} + {narrow}*1]",
                    "tileloadd tmm6, [{w} + {narrow}*1]",
                    "add {w}, {next_columns}",
                    "tileloadd tmm7, [{w} + {narrow}*1]",
                    concat!($product, " tmm0, tmm4, tmm6"),
                    concat!($product, " tmm1, tmm4, tmm7"),
                    "add {step}, 8",
                    "cmp {step}, {end}",
                    "jne 2b",
                    "tilestored [{sums} + {wide}*1], tmm0",
                    "tilestored [{sums} + {wide}*1 + 64], tmm1",
                    first = in(reg) u32::from(o.is_first),
                    sums = in(reg) o.sums,
                    wide = in(reg) STRIP * size_of::<f32>(),
                    narrow = in(reg) 64_usize,
                    rows = in(reg) o.rows,
                    columns = in(reg) o.columns,
                    next_columns = in(reg) o.next_columns,
                    step = inout(reg) o.steps.start => _,
                    end = in(reg) o.steps.end,
                    x = out(reg) _,
                    w = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

two!(two_halves, "tdpbf16ps");
two!(two_bytes, "tdpbssd");
one!(one_halves, "tdpbf16ps");
one!(one_bytes, "tdpbssd");
