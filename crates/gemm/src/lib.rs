//! Products of activations with weights that stay: `y = x·W`, on the matrix and vector units that processors have.
//!
//! ```text
//! KeptWeight   W once, cut into tiles as the unit reads them (f32, bf16, bf16 in two parts, or int8 with a scale a column)
//! RowTiles     some rows of x, converted as they are read, in tiles of the same kind
//! pass         all of x·W, 32 columns after the other, sums in f32 (int8: exact in i32, then scaled); each row of 32 is handed to whoever
//!              finishes it, beside the products of the next rows
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
mod lanes;
mod layer;
mod pass;
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
    attention::{HeadRows, HeadShape, ProjectedHead, attend_head, attend_projected},
    check::PackError,
    format::WeightFormat,
    layer::{Act, Attended, LayerNorms, LayerOutput, LayerRest, RowNorm, Widening},
    product::KeptProduct,
    unit::Unit,
    weight::KeptWeight,
};
