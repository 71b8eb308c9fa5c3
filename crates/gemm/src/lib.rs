//! Products of activations with weights that stay: `y = x·W`, on the matrix and vector units that processors have.
//!
//! ```text
//! KeptWeight   W once, cut into tiles as the unit reads them (f32, bf16, bf16 in two parts, or int8 with a scale a column)
//! RowTiles     some rows of x, converted as they are read, in tiles of the same kind
//! strip        all rows × 32 columns of x·W, sums in f32 (int8: exact in i32, then scaled), for the caller to finish
//! ```
//!
//! A row's numbers do not depend on the rows beside it, on how many there are, or on which thread makes them: each sum runs over
//! K in the same order always ([`KeptWeight`]). They do depend on the unit: two kinds of processors may round differently.
//!
//! [`LayerRest`] is what a transformer's layer does behind its attention, by blocks of rows that stay in a core's cache.

mod attention;
mod check;
mod convert;
mod format;
mod kernel;
mod layer;
mod product;
mod row_tiles;
mod rows;
#[cfg(test)]
mod tests;
mod tile;
mod unit;
mod vectors;
mod weight;

pub use self::{
    attention::{HeadRows, HeadShape, attend_head},
    check::PackError,
    format::WeightFormat,
    layer::{Act, LayerNorms, LayerOutput, LayerRest, RowNorm, Widening},
    product::KeptProduct,
    unit::Unit,
    weight::KeptWeight,
};
