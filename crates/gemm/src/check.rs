//! What cannot be packed.

use crate::{format::WeightFormat, unit::Unit};

/// Why a weight was not packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Sizes and numbers do not belong together.
    #[error("a weight of {rows} × {columns} has {numbers} numbers")]
    Size {
        /// Numbers in a row of activations.
        rows: usize,
        /// Columns.
        columns: usize,
        /// Numbers that were given.
        numbers: usize,
    },
    /// A bias, a scale or a norm is not as wide as its product.
    #[error("{what} has {given} numbers, {wanted} are needed")]
    Width {
        /// What it is.
        what: &'static str,
        /// Numbers that were given.
        given: usize,
        /// Numbers that it must have.
        wanted: usize,
    },
    /// int8 has no infinity and no NaN.
    #[error("column {column} of a weight has a number that is not finite, which int8 cannot hold")]
    NotFinite {
        /// The column.
        column: usize,
    },
    /// Sums would not fit 32 bits.
    #[error("a row of {rows} numbers is too long for exact sums in int8; {most} is the most")]
    TooDeep {
        /// Numbers in a row.
        rows: usize,
        /// Most of them.
        most: usize,
    },
    /// The unit does not make this product, or this machine does not have it.
    #[error("{unit} does not make products in {format} on this machine")]
    Unit {
        /// The unit.
        unit: Unit,
        /// The format.
        format: WeightFormat,
    },
}
