//! Dense vectors on the wire: a chunk's are one block of little-endian numbers, or of bytes and bits as stores want them.

use bytes::Bytes;
use half::f16;
use sortie_proto::v1;

use super::finite_row;
use crate::job::chunked::Malformed;

/// The least and the largest number of each dimension. Vectors that are to be compared need the same ranges.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Ranges {
    /// Least, one a dimension.
    pub starts: Vec<f32>,
    /// Largest, one a dimension.
    pub ends: Vec<f32>,
}

impl Ranges {
    /// Ranges from their bounds, one a dimension each.
    pub fn new(starts: impl Into<Vec<f32>>, ends: impl Into<Vec<f32>>) -> Self {
        Self { starts: starts.into(), ends: ends.into() }
    }
}

/// Vectors as stores keep them, by sentence-transformers' formulas. Bytes need ranges: those that a server would take
/// from its share of a job would differ from chunk to chunk.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Quantization {
    /// One signed byte a number.
    Int8(Ranges),
    /// One unsigned byte a number.
    Uint8(Ranges),
    /// One bit a number, above zero or not; bytes less 128.
    Binary,
    /// One bit a number, above zero or not.
    Ubinary,
}

impl Quantization {
    pub(super) fn to_wire(&self) -> (v1::VectorFormat, Option<v1::Ranges>) {
        let wire = |ranges: &Ranges| Some(v1::Ranges { starts: ranges.starts.clone(), ends: ranges.ends.clone() });
        match self {
            Self::Int8(ranges) => (v1::VectorFormat::Int8, wire(ranges)),
            Self::Uint8(ranges) => (v1::VectorFormat::Uint8, wire(ranges)),
            Self::Binary => (v1::VectorFormat::Binary, None),
            Self::Ubinary => (v1::VectorFormat::Ubinary, None),
        }
    }
}

/// One vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Numbers.
    Numbers(Vec<f32>),
    /// A byte or a bit a number.
    Bytes(Bytes),
}

impl Row {
    pub(super) fn numbers(self) -> Option<Vec<f32>> {
        match self {
            Self::Numbers(row) => Some(row),
            Self::Bytes(_) => None,
        }
    }

    pub(super) fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Bytes(row) => Some(row),
            Self::Numbers(_) => None,
        }
    }
}

/// Bytes of a row of `dimensions` numbers.
pub(crate) fn row_bytes(dimensions: usize, format: v1::VectorFormat) -> Option<usize> {
    match format {
        v1::VectorFormat::Unspecified | v1::VectorFormat::F32 => dimensions.checked_mul(size_of::<f32>()),
        v1::VectorFormat::F16 => dimensions.checked_mul(size_of::<f16>()),
        v1::VectorFormat::Int8 | v1::VectorFormat::Uint8 => Some(dimensions),
        v1::VectorFormat::Binary | v1::VectorFormat::Ubinary => Some(dimensions.div_ceil(8)),
    }
}

/// Rows of `row_bytes` bytes each as numbers, which are little-endian f16 or f32.
pub(super) fn floats(bytes: &Bytes, row_bytes: usize, format: v1::VectorFormat) -> impl Iterator<Item = Vec<f32>> {
    let width = if format == v1::VectorFormat::F16 { size_of::<f16>() } else { size_of::<f32>() };
    let number = |cell: &[u8]| match *cell {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b] => f16::from_le_bytes([a, b]).to_f32(),
        _ => f32::NAN,
    };
    bytes.chunks_exact(row_bytes.max(1)).map(move |row| row.chunks_exact(width).map(number).collect())
}

/// Bytes of each of `count` rows of `dimensions` numbers that take `bytes` together.
fn checked_row_bytes(
    bytes: &Bytes,
    dimensions: usize,
    format: v1::VectorFormat,
    count: usize,
) -> Result<usize, Malformed> {
    let row_bytes = row_bytes(dimensions, format).filter(|&bytes| bytes > 0);
    row_bytes.filter(|row| row.checked_mul(count) == Some(bytes.len())).ok_or_else(|| {
        let message = format!("the answer has {} bytes of vectors for {count} rows of {dimensions}", bytes.len());
        Malformed(message)
    })
}

/// `count` rows of `dimensions` numbers as the bytes they are.
pub(crate) fn byte_rows(
    bytes: &Bytes,
    dimensions: usize,
    format: v1::VectorFormat,
    count: usize,
) -> Result<impl Iterator<Item = Bytes>, Malformed> {
    let row_bytes = checked_row_bytes(bytes, dimensions, format, count)?;
    Ok((0..count).map(move |at| bytes.slice(at * row_bytes..(at + 1) * row_bytes)))
}

/// `count` rows of `dimensions` numbers from their bytes; `None` for those of failed items.
pub(super) fn rows(
    bytes: &Bytes,
    dimensions: usize,
    format: v1::VectorFormat,
    count: usize,
) -> Result<Vec<Option<Row>>, Malformed> {
    Ok(match format {
        v1::VectorFormat::Unspecified | v1::VectorFormat::F32 | v1::VectorFormat::F16 => {
            let row_bytes = checked_row_bytes(bytes, dimensions, format, count)?;
            floats(bytes, row_bytes, format).map(|row| finite_row(row).map(Row::Numbers)).collect()
        }
        _ => byte_rows(bytes, dimensions, format, count)?.map(|row| Some(Row::Bytes(row))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_become_f32() {
        let numbers = [1.0f32, -0.5, 65504.0, 0.25];
        let wide: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let narrow: Vec<u8> = numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        let want: Vec<_> = numbers.chunks(2).map(|row| Some(Row::Numbers(row.to_vec()))).collect();
        assert_eq!(rows(&wide.into(), 2, v1::VectorFormat::F32, 2).unwrap(), want);
        assert_eq!(rows(&narrow.into(), 2, v1::VectorFormat::F16, 2).unwrap(), want);
    }

    #[test]
    fn bytes_and_bits_stay_as_they_are() {
        let block = Bytes::from(vec![1, 2, 3, 4]);
        let bytes =
            |rows: Vec<Option<Row>>| rows.into_iter().map(|row| row.unwrap().bytes().unwrap()).collect::<Vec<_>>();
        assert_eq!(bytes(rows(&block, 2, v1::VectorFormat::Int8, 2).unwrap()), [&[1u8, 2][..], &[3, 4]]);
        assert_eq!(bytes(rows(&block, 9, v1::VectorFormat::Ubinary, 2).unwrap()), [&[1u8, 2][..], &[3, 4]]);
        assert!(rows(&block, 3, v1::VectorFormat::Uint8, 2).is_err());
    }

    #[test]
    fn a_block_of_the_wrong_size_is_refused() {
        let block = Bytes::from(vec![0; 12]);
        assert!(rows(&block, 2, v1::VectorFormat::F32, 2).is_err());
        assert!(rows(&block, 0, v1::VectorFormat::F32, 2).is_err());
        assert!(rows(&block, usize::MAX, v1::VectorFormat::F32, 2).is_err());
    }
}
