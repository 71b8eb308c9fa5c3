//! Rows of little-endian f32 as JSON numbers: the shortest form that reads back as the same f32, never NaN or Infinity,
//! which are no JSON.

use serde::{Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use crate::failure::{FailureKind, HttpFailure};

/// Bytes of a number.
const WIDTH: usize = size_of::<f32>();

/// Vectors of one width, as they came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberRows<'a> {
    bytes: &'a [u8],
    dimensions: usize,
    field: &'a str,
}

impl<'a> NumberRows<'a> {
    /// Rows of `dimensions` numbers; `count` of them, one for each item of `field`.
    ///
    /// # Errors
    /// Where the service sent another number of bytes.
    pub(crate) fn new(bytes: &'a [u8], dimensions: usize, count: usize, field: &'a str) -> Result<Self, HttpFailure> {
        if dimensions == 0 || Some(bytes.len()) != dimensions.checked_mul(WIDTH * count) {
            let message = format!("{} bytes of vectors for {count} rows of {dimensions} numbers", bytes.len());
            return Err(HttpFailure::new(FailureKind::Backend, message));
        }
        Ok(Self { bytes, dimensions, field })
    }

    /// Row `index`, every number of it finite.
    ///
    /// # Errors
    /// Where one is not.
    pub(crate) fn row(&self, index: usize) -> Result<NumberRow<'a>, HttpFailure> {
        self.row_of(index, index)
    }

    /// Row `index` of the rows of one item.
    ///
    /// # Errors
    /// Where a number of it is not finite.
    pub(crate) fn row_of(&self, index: usize, item: usize) -> Result<NumberRow<'a>, HttpFailure> {
        let width = self.dimensions * WIDTH;
        let row = NumberRow(self.bytes.get(index * width..(index + 1) * width).unwrap_or_default());
        if row.numbers().all(f32::is_finite) { Ok(row) } else { Err(not_finite(self.field, item)) }
    }
}

/// One vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberRow<'a>(&'a [u8]);

impl<'a> NumberRow<'a> {
    /// As it came: little-endian.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn numbers(self) -> impl ExactSizeIterator<Item = f32> + 'a {
        let (numbers, _) = self.0.as_chunks::<WIDTH>();
        numbers.iter().map(|bytes| f32::from_le_bytes(*bytes))
    }
}

impl PartialSchema for NumberRow<'_> {
    fn schema() -> RefOr<Schema> {
        Vec::<f32>::schema()
    }
}

impl ToSchema for NumberRow<'_> {}

impl Serialize for NumberRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.numbers())
    }
}

/// The score of an item.
///
/// # Errors
/// Where it is no number.
pub(crate) fn finite(score: f32, field: &str, index: usize) -> Result<f32, HttpFailure> {
    if score.is_finite() { Ok(score) } else { Err(not_finite(field, index)) }
}

fn not_finite(field: &str, index: usize) -> HttpFailure {
    let place = format!("{field}[{index}]");
    HttpFailure::new(FailureKind::Backend, format!("`{place}`: the model gave a number that is infinite or none"))
        .at(place)
}
