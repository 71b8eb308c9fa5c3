//! The tile that everything is cut into: 16 rows of 64 bytes, as AMX has it and as a vector register of 512 bits reads it.
//!
//! ```text
//! activations  16 rows of x  × 16 numbers of K in f32, 32 in bf16, 64 in int8
//! weights      16 numbers (f32), pairs (bf16) or quads (int8) of K × 16 columns: a row has those of each column, side by side
//! ```

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;

/// Columns of a weight's tile.
pub(crate) const TILE_COLUMNS: usize = 16;

/// Columns of a strip: two tiles side by side, which with two tiles of rows fill AMX's sums.
pub(crate) const STRIP: usize = 32;

/// One tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile([u8; TILE_BYTES]);

/// Bytes of a tile.
pub(crate) const TILE_BYTES: usize = 1024;

impl Tile {
    /// All zeros.
    pub(crate) const ZERO: Self = Self([0; TILE_BYTES]);

    /// As int8.
    #[inline(always)]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; TILE_BYTES] {
        &mut self.0
    }

    /// Its 512 numbers of 16 bits.
    #[inline(always)]
    pub(crate) fn halves_mut(&mut self) -> &mut [u16; TILE_BYTES / 2] {
        // SAFETY: as large, of a lesser alignment, and any bits are a number.
        #[expect(unsafe_code, reason = "the same bytes as other numbers")]
        unsafe {
            &mut *std::ptr::from_mut(&mut self.0).cast()
        }
    }

    /// Its 512 numbers of 16 bits.
    #[inline(always)]
    pub(crate) fn halves(&self) -> &[u16; TILE_BYTES / 2] {
        // SAFETY: as large, of a lesser alignment, and any bits are a number.
        #[expect(unsafe_code, reason = "the same bytes as other numbers")]
        unsafe {
            &*std::ptr::from_ref(&self.0).cast()
        }
    }

    /// Its 256 numbers of 32 bits, by rows.
    #[inline(always)]
    pub(crate) fn singles_mut(&mut self) -> &mut [[f32; 16]; TILE_ROWS] {
        // SAFETY: as large, of a lesser alignment, and any bits are a number.
        #[expect(unsafe_code, reason = "the same bytes as other numbers")]
        unsafe {
            &mut *std::ptr::from_mut(&mut self.0).cast()
        }
    }

    /// Its 256 numbers of 32 bits, by rows.
    #[inline(always)]
    pub(crate) fn singles(&self) -> &[[f32; 16]; TILE_ROWS] {
        // SAFETY: as large, of a lesser alignment, and any bits are a number.
        #[expect(unsafe_code, reason = "the same bytes as other numbers")]
        unsafe {
            &*std::ptr::from_ref(&self.0).cast()
        }
    }

    /// Its bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8; TILE_BYTES] {
        &self.0
    }
}

impl std::fmt::Debug for Tile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tile")
    }
}
