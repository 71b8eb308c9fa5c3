//! A weight cut into tiles once.

use std::ops::Range;

use crate::{
    check::PackError,
    convert::{bf16, int8, magnitude, rest, scale},
    format::WeightFormat,
    kernel::{
        RunningUnit, SumRow, TileStep,
        single::{self, SingleStrip},
    },
    pass::{Finish, PassColumns, pass},
    row_tiles::RowTiles,
    tile::{STRIP, TILE_BYTES, TILE_COLUMNS, TILE_ROWS, Tile},
    unit::Unit,
};

/// Most numbers of K whose products of int8 can be summed in 32 bits: `2^31 / 128²`.
const MOST_DEEP: usize = 131_072;

/// Tiles of K that are gone through for all rows before the next: with two columns of tiles 24 KiB of weights, which stay in the
/// first cache. Sums wait in f32 between, which changes no bit of them.
const CHUNK: usize = 12;

/// `W` and `b` of `x·W + b`, for as long as the model is served.
///
/// Sums over K go in steps of a tile (16 numbers in f32, 32 in bf16, 64 in int8), from the first to the last, whatever the number of rows: by
/// AMX pairwise within a tile, by vectors pair after pair.
#[derive(Debug)]
pub struct KeptWeight {
    unit: Unit,
    format: WeightFormat,
    rows: usize,
    columns: usize,
    /// Tiles of K.
    deep: usize,
    /// `[16 columns][depth][part]`.
    tiles: Vec<Tile>,
    /// Which tiles of a group of rows meet which of a group of columns, in this order.
    steps: Vec<TileStep>,
    /// int8: one a column.
    scales: Vec<f32>,
    /// int8: what sums begin with where rows go in with 128 added: `−128·Σw` of each column.
    offsets: Vec<i32>,
    /// One a column, filled up with zeros.
    bias: Vec<f32>,
}

impl KeptWeight {
    /// Cuts `weight` (rows × columns, row by row) for the best unit here. `bias` is one number a column, or empty.
    ///
    /// # Errors
    /// [`PackError`] where sizes do not fit or int8 cannot hold the numbers.
    pub fn new(
        format: WeightFormat,
        [rows, columns]: [usize; 2],
        weight: &[f32],
        bias: &[f32],
    ) -> Result<Self, PackError> {
        Self::on(Unit::of(format), format, [rows, columns], weight, bias)
    }

    /// [`Self::new`] for a unit of this machine.
    ///
    /// # Errors
    /// [`PackError`], also where the machine lacks the unit.
    pub fn on(
        unit: Unit,
        format: WeightFormat,
        shape: [usize; 2],
        weight: &[f32],
        bias: &[f32],
    ) -> Result<Self, PackError> {
        if !unit.is_here() {
            return Err(PackError::Unit { unit, format });
        }
        Self::unchecked(unit, format, shape, weight, bias)
    }

    /// [`Self::on`] for a unit that tests make up.
    pub(crate) fn unchecked(
        unit: Unit,
        format: WeightFormat,
        [rows, columns]: [usize; 2],
        weight: &[f32],
        bias: &[f32],
    ) -> Result<Self, PackError> {
        if !unit.makes(format) {
            return Err(PackError::Unit { unit, format });
        }
        if rows == 0 || columns == 0 || rows.checked_mul(columns) != Some(weight.len()) {
            return Err(PackError::Size { rows, columns, numbers: weight.len() });
        }
        if !bias.is_empty() && bias.len() != columns {
            return Err(PackError::Width { what: "a bias", given: bias.len(), wanted: columns });
        }
        if format == WeightFormat::Int8 && rows > MOST_DEEP {
            return Err(PackError::TooDeep { rows, most: MOST_DEEP });
        }
        let deep = rows.div_ceil(format.depth());
        let strips = columns.div_ceil(STRIP);
        let mut filled = bias.to_vec();
        filled.resize(strips * STRIP, 0.0);
        let mut kept = Self {
            unit,
            format,
            rows,
            columns,
            deep,
            tiles: vec![Tile::ZERO; strips * 2 * deep * format.parts()],
            steps: steps(format, deep),
            scales: Vec::new(),
            offsets: Vec::new(),
            bias: filled,
        };
        match format {
            WeightFormat::F32 => kept.fill_singles(weight),
            WeightFormat::Bf16 | WeightFormat::Bf16x3 => kept.fill_halves(weight),
            WeightFormat::Int8 => kept.fill_bytes(weight)?,
        }
        Ok(kept)
    }

    fn fill_singles(&mut self, weight: &[f32]) {
        for (k, row) in weight.chunks_exact(self.columns).enumerate() {
            let (deep, within) = (k / 16, k % 16);
            for (group, numbers) in row.chunks(TILE_COLUMNS).enumerate() {
                self.tiles[group * self.deep + deep].singles_mut()[within][..numbers.len()].copy_from_slice(numbers);
            }
        }
    }

    fn fill_halves(&mut self, weight: &[f32]) {
        let parts = self.format.parts();
        for (k, row) in weight.chunks_exact(self.columns).enumerate() {
            // Pairs of K lie side by side in a column's four bytes.
            let (deep, pair, odd) = (k / 32, k % 32 / 2, k % 2);
            for (group, numbers) in row.chunks(TILE_COLUMNS).enumerate() {
                let tile = (group * self.deep + deep) * parts;
                for (column, &x) in numbers.iter().enumerate() {
                    let at = pair * 32 + column * 2 + odd;
                    let high = bf16(x);
                    self.tiles[tile].halves_mut()[at] = high;
                    if parts == 2 {
                        self.tiles[tile + 1].halves_mut()[at] = rest(x, high);
                    }
                }
            }
        }
    }

    fn fill_bytes(&mut self, weight: &[f32]) -> Result<(), PackError> {
        let width = self.bias.len();
        let (mut most, mut sums) = (vec![0; width], vec![0_i32; width]);
        for row in weight.chunks_exact(self.columns) {
            most.iter_mut().zip(row).for_each(|(most, x)| *most = magnitude(*x).max(*most));
        }
        if let Some(column) = most.iter().position(|&bits| bits >= f32::INFINITY.to_bits()) {
            return Err(PackError::NotFinite { column });
        }
        let (scales, by): (Vec<f32>, Vec<f32>) = most.into_iter().map(scale).unzip();
        for (k, row) in weight.chunks_exact(self.columns).enumerate() {
            let (deep, quad, within) = (k / 64, k % 64 / 4, k % 4);
            for (column, &x) in row.iter().enumerate() {
                let tile = &mut self.tiles[column / TILE_COLUMNS * self.deep + deep];
                let number = int8(x, by[column]);
                tile.bytes_mut()[quad * 64 + column % TILE_COLUMNS * 4 + within] = number.cast_unsigned();
                sums[column] += i32::from(number);
            }
        }
        self.scales = scales;
        self.offsets = sums.into_iter().map(|sum| sum.wrapping_mul(-128)).collect();
        Ok(())
    }

    /// The unit that makes its products.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Numbers in a row of activations, and columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tiles.len() * TILE_BYTES + 4 * (self.scales.len() + self.offsets.len() + self.bias.len())
    }

    /// How many strips of 32 columns there are, the last filled up.
    pub(crate) fn strips(&self) -> usize {
        self.bias.len() / STRIP
    }

    /// The bias of a strip.
    #[inline(always)]
    pub(crate) fn bias(&self, strip: usize) -> &[f32; STRIP] {
        &self.bias.as_chunks().0[strip]
    }

    /// What rows meet in a pass.
    #[inline(always)]
    pub(crate) fn columns(&self) -> PassColumns<'_> {
        let each = self.deep * self.format.parts();
        let last = ((each - 1) * TILE_BYTES) as u32;
        PassColumns {
            format: self.format,
            tiles: &self.tiles,
            each,
            steps: &self.steps,
            reach: TileStep { a: last, b: last },
            chunk: self.steps.len().min(CHUNK * self.steps.len() / self.deep),
            scales: &self.scales,
            offsets: &self.offsets,
        }
    }

    /// Sums of `x·W` without the bias, all of it. What columns that are filled up give is zero or NaN.
    #[inline(always)]
    pub(crate) fn pass<F: Finish>(&self, running: &RunningUnit, x: &RowTiles, sums: &mut Vec<SumRow>, finish: &mut F) {
        self.check(running, x);
        if self.format == WeightFormat::F32 {
            return (0..self.strips()).for_each(|strip| self.finish_single(x, (0, strip), sums, finish));
        }
        pass(running, x, &[self.columns()], self.strips(), sums, finish);
    }

    /// Finishes the sums of `x` with one strip of this weight in f32, the one numbered `which`.
    #[inline(always)]
    pub(crate) fn finish_single<F: Finish>(
        &self,
        x: &RowTiles,
        (which, strip): (usize, usize),
        sums: &mut Vec<SumRow>,
        finish: &mut F,
    ) {
        sums.resize(x.groups() * TILE_ROWS, SumRow::ZERO);
        single::strip(self.single_strip(x, strip, 0..self.deep), SumRow::flat(sums), |group| group);
        for (row, sums) in sums[..x.rows()].iter().enumerate() {
            finish.row(which, strip, row, &sums.0);
        }
    }

    /// The part of a strip that `x` makes, whose rows hold these tiles of K.
    #[inline(always)]
    pub(crate) fn single_strip<'a>(&'a self, x: &'a RowTiles, strip: usize, deep: Range<usize>) -> SingleStrip<'a> {
        assert!(x.format() == Some(self.format) && x.deep() == deep.len(), "rows made for another weight");
        let of = |strip: usize| [0, 1].map(|column| (2 * strip + column) * self.deep);
        let columns = of(strip).map(|at| &self.tiles[at + deep.start..at + deep.end]);
        let next = of(strip + 1).map(|at| self.tiles.get(at + deep.start..at + deep.end).unwrap_or_default());
        SingleStrip { unit: self.unit, x, columns, next, is_first: deep.start == 0 }
    }

    /// That rows are of this weight's kind, and its unit runs.
    #[inline(always)]
    pub(crate) fn check(&self, running: &RunningUnit, x: &RowTiles) {
        assert!(x.format() == Some(self.format) && x.deep() == self.deep, "rows made for another weight");
        assert_eq!(running.unit(), self.unit, "another unit was started");
    }
}

/// Each tile of K in turn; in two parts high·high, high·low, low·high.
fn steps(format: WeightFormat, deep: usize) -> Vec<TileStep> {
    let step = |a: usize, b: usize| TileStep { a: (a * TILE_BYTES) as u32, b: (b * TILE_BYTES) as u32 };
    (0..deep)
        .flat_map(|i| match format {
            // Products in f32 go by numbers, not by steps.
            WeightFormat::F32 => Vec::new(),
            WeightFormat::Bf16 | WeightFormat::Int8 => vec![step(i, i)],
            WeightFormat::Bf16x3 => {
                vec![step(2 * i, 2 * i), step(2 * i, 2 * i + 1), step(2 * i + 1, 2 * i)]
            }
        })
        .collect()
}
