//! Some rows of activations, in tiles.

use crate::{
    convert::{int8, magnitude, rest, scale, widened},
    format::WeightFormat,
    lanes::{Lanes, PIECE},
    tile::{TILE_ROWS, Tile},
};

/// Rows in tiles, converted as they are put in: `[16 rows][depth][part]`. Reused from block to block.
#[derive(Debug, Default)]
pub(crate) struct RowTiles {
    tiles: Vec<Tile>,
    /// One a row, int8.
    scales: Vec<f32>,
    format: Option<WeightFormat>,
    rows: usize,
    /// Tiles of K.
    deep: usize,
}

impl RowTiles {
    /// Makes room for `rows` rows of `width` numbers. What lay there stays, until it is written over: rows that are never put are
    /// computed and never read.
    pub(crate) fn reset(&mut self, format: WeightFormat, rows: usize, width: usize) {
        (self.format, self.rows, self.deep) = (Some(format), rows, width.div_ceil(format.depth()));
        let tiles = self.groups() * self.tiles_in_group();
        if self.tiles.len() < tiles {
            self.tiles.resize(tiles, Tile::ZERO);
        }
        if self.scales.len() < self.groups() * TILE_ROWS {
            self.scales.resize(self.groups() * TILE_ROWS, 0.0);
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn deep(&self) -> usize {
        self.deep
    }

    pub(crate) fn format(&self) -> Option<WeightFormat> {
        self.format
    }

    /// Groups of 16 rows, the last filled up.
    pub(crate) fn groups(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    pub(crate) fn tiles_in_group(&self) -> usize {
        self.deep * self.format.map_or(1, WeightFormat::parts)
    }

    pub(crate) fn group(&self, group: usize) -> &[Tile] {
        &self.tiles[group * self.tiles_in_group()..][..self.tiles_in_group()]
    }

    /// Those of all groups.
    pub(crate) fn all(&self) -> &[Tile] {
        &self.tiles[..self.groups() * self.tiles_in_group()]
    }

    /// int8: one a row, those of a whole last group.
    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales[..self.groups() * TILE_ROWS]
    }

    /// Puts a whole row in, whatever the format.
    #[inline(always)]
    pub(crate) fn put_row<L: Lanes>(&mut self, row: usize, numbers: &[f32]) {
        if self.format == Some(WeightFormat::Int8) {
            return self.put_bytes(row, numbers);
        }
        let (pieces, last) = numbers.as_chunks::<PIECE>();
        for (i, piece) in pieces.iter().enumerate() {
            self.put_piece::<L>(row, i, piece);
        }
        if !last.is_empty() {
            let mut piece = [0.0; PIECE];
            piece[..last.len()].copy_from_slice(last);
            self.put_piece::<L>(row, pieces.len(), &piece);
        }
    }

    /// Puts in the numbers from `32·piece` on, in f32, or in bf16 of one or two parts.
    #[inline(always)]
    pub(crate) fn put_piece<L: Lanes>(&mut self, row: usize, piece: usize, numbers: &[f32; PIECE]) {
        if self.format == Some(WeightFormat::F32) {
            return self.put_singles(row, piece, numbers);
        }
        let parts = self.format.map_or(1, WeightFormat::parts);
        let tile = (row / TILE_ROWS * self.deep + piece) * parts;
        let at = row % TILE_ROWS * PIECE;
        let high = L::halves(numbers);
        self.tiles[tile].halves_mut()[at..][..PIECE].copy_from_slice(&high);
        if parts == 2 {
            let mut low = [0; PIECE];
            for (to, (x, high)) in low.iter_mut().zip(numbers.iter().zip(&high)) {
                *to = rest(*x, *high);
            }
            self.tiles[tile + 1].halves_mut()[at..][..PIECE].copy_from_slice(&low);
        }
    }

    /// A piece is two tiles of f32 deep, the last maybe one.
    #[inline(always)]
    fn put_singles(&mut self, row: usize, piece: usize, numbers: &[f32; PIECE]) {
        let first = row / TILE_ROWS * self.deep;
        for (i, half) in numbers.as_chunks::<16>().0.iter().enumerate().take(self.deep - 2 * piece) {
            self.tiles[first + 2 * piece + i].singles_mut()[row % TILE_ROWS] = *half;
        }
    }

    /// Puts a whole row in, filled up, that is already in bf16, as which all are held.
    #[inline(always)]
    pub(crate) fn put_pieces(&mut self, row: usize, pieces: &[[u16; PIECE]]) {
        let (group, at) = (row / TILE_ROWS * self.deep, row % TILE_ROWS * PIECE);
        for (tile, piece) in self.tiles[group..][..self.deep].iter_mut().zip(pieces) {
            tile.halves_mut()[at..][..PIECE].copy_from_slice(piece);
        }
    }

    /// Puts a whole row in that is already in bf16, whatever the format.
    #[inline(always)]
    pub(crate) fn put_halves<L: Lanes>(&mut self, row: usize, halves: &[u16], wide: &mut Vec<f32>) {
        if self.format != Some(WeightFormat::Bf16) {
            wide.clear();
            wide.extend(halves.iter().map(|x| widened(*x)));
            return self.put_row::<L>(row, wide);
        }
        let (group, at) = (row / TILE_ROWS * self.deep, row % TILE_ROWS * PIECE);
        for (tile, piece) in self.tiles[group..][..self.deep].iter_mut().zip(halves.chunks(PIECE)) {
            let to = &mut tile.halves_mut()[at..][..PIECE];
            if let Some(piece) = piece.first_chunk::<PIECE>() {
                to.copy_from_slice(piece);
            } else {
                to[..piece.len()].copy_from_slice(piece);
                to[piece.len()..].fill(0);
            }
        }
    }

    /// Puts a row in as int8, with its scale.
    #[inline(always)]
    fn put_bytes(&mut self, row: usize, numbers: &[f32]) {
        let (pieces, last) = numbers.as_chunks::<PIECE>();
        let mut most = [0u32; PIECE];
        for piece in pieces {
            for (most, x) in most.iter_mut().zip(piece) {
                *most = magnitude(*x).max(*most);
            }
        }
        for (most, x) in most.iter_mut().zip(last) {
            *most = magnitude(*x).max(*most);
        }
        let (scale, by) = scale(most.into_iter().fold(0, u32::max));
        self.scales[row] = scale;
        let (group, at) = (row / TILE_ROWS * self.deep, row % TILE_ROWS * 64);
        // A tile's row has two pieces; the second is filled up with zeros where there is none.
        let count = self.deep * 2;
        for i in 0..count {
            let mut piece = [0.0; PIECE];
            if let Some(whole) = pieces.get(i) {
                piece = *whole;
            } else if i == pieces.len() {
                piece[..last.len()].copy_from_slice(last);
            }
            let mut bytes = [0u8; PIECE];
            for (to, x) in bytes.iter_mut().zip(&piece) {
                *to = int8(*x, by).cast_unsigned();
            }
            let to = &mut self.tiles[group + i / 2].bytes_mut()[at + i % 2 * PIECE..][..PIECE];
            to.copy_from_slice(&bytes);
        }
    }
}
