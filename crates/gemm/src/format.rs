//! In which numbers a product is made.

use std::{fmt, str::FromStr};

/// Formats of weights and of the activations that meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// f32 on both sides, each product fused with its sum.
    F32,
    /// bf16 on both sides, sums in f32: about 2e-3 of a product's size is lost. Numbers beyond the largest bf16 (3.39e38)
    /// become infinite; on AMX and AVX512-BF16 denormals (below 1.2e-38) count as zero.
    Bf16,
    /// Both sides in two parts of bf16, three products: high·high, high·low and low·high, sums in f32. About 4e-6 is lost.
    /// A row with an infinity or NaN gives infinities or NaN, never a finite number where f32 gives none, though NaN may stand where f32 has an infinity.
    Bf16x3,
    /// int8 on both sides, a scale for each row and one for each column, sums exact in i32: about 6e-3 is lost. A row with an
    /// infinity or NaN gives NaN in every column.
    Int8,
}

impl WeightFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Bf16x3, Self::Int8];

    /// Its name, as in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Bf16x3 => "bf16x3",
            Self::Int8 => "int8",
        }
    }

    /// Numbers of K in a tile.
    pub(crate) fn depth(self) -> usize {
        match self {
            Self::F32 => 16,
            Self::Bf16 | Self::Bf16x3 => 32,
            Self::Int8 => 64,
        }
    }

    /// Tiles for the same numbers: the parts that they are kept in.
    pub(crate) fn parts(self) -> usize {
        if self == Self::Bf16x3 { 2 } else { 1 }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| format!("{text:?} is no format of weights; f32, bf16, bf16x3 and int8 are"))
    }
}
