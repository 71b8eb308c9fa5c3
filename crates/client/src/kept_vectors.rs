//! Token vectors that a caller keeps, as they are sent.

use bytes::Bytes;
use sortie_proto::v1;

use crate::vector_format::VectorFormat;

/// Number format of token vectors that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeptFormat {
    /// Four bytes a number, exact.
    F32,
    /// Two bytes a number, three decimal digits.
    F16,
    /// One signed byte a number, times [`KeptVectors::scale`].
    Int8,
    /// One bit a number, above zero or not. Rerank does not take them back: they have lost their sizes.
    Ubinary,
}

impl KeptFormat {
    pub(crate) fn to_wire(self) -> v1::VectorFormat {
        match self {
            Self::F32 => v1::VectorFormat::F32,
            Self::F16 => v1::VectorFormat::F16,
            Self::Int8 => v1::VectorFormat::Int8,
            Self::Ubinary => v1::VectorFormat::Ubinary,
        }
    }
}

/// The token vectors of one text as bytes: what [`Call::keep`](crate::Call::keep) gives, and what rerank by a
/// late-interaction model takes as a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptVectors {
    dimensions: u32,
    format: v1::VectorFormat,
    rows: u32,
    bytes: Bytes,
    /// Bits of the scale, so that it compares.
    scale: u32,
}

impl KeptVectors {
    /// Rows of equal length, written as `format` has it. The server refuses rows of another length than the model's.
    pub fn new<R: AsRef<[f32]>>(rows: impl IntoIterator<Item = R>, format: VectorFormat) -> Self {
        let (mut dimensions, mut count, mut bytes) = (0, 0, Vec::new());
        for row in rows {
            let row = row.as_ref();
            dimensions = dimensions.max(u32::try_from(row.len()).unwrap_or(u32::MAX));
            count += 1;
            row.iter().for_each(|&number| format.write(number, &mut bytes));
        }
        Self { dimensions, format: format.to_wire(), rows: count, bytes: bytes.into(), scale: 0 }
    }

    /// Those of an answer, whose bytes fit.
    pub(crate) fn of(matrix: v1::TokenMatrix, dimensions: u32, format: v1::VectorFormat) -> Self {
        let v1::TokenMatrix { rows, vectors, scale, .. } = matrix;
        Self { dimensions, format, rows, bytes: vectors, scale: scale.to_bits() }
    }

    /// Rows: one a token that has a vector.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// Numbers in a row.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions as usize
    }

    /// Rows one after the other, little-endian; of bits, each row fills whole bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What [`KeptFormat::Int8`] is multiplied by; 0 in other formats.
    #[must_use]
    pub fn scale(&self) -> f32 {
        f32::from_bits(self.scale)
    }
}

impl From<KeptVectors> for v1::TokenVectors {
    fn from(kept: KeptVectors) -> Self {
        let scale = kept.scale();
        let KeptVectors { dimensions, format, rows, bytes, .. } = kept;
        let matrix = v1::TokenMatrix { rows, vectors: bytes, tokens: Vec::new(), scale };
        Self { dimensions, format: format.into(), matrix: Some(matrix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_bytes_and_go_out_as_they_are() {
        let kept = KeptVectors::new([[1.0f32, -0.5], [0.25, 2.0]], VectorFormat::F16);
        assert_eq!((kept.rows(), kept.dimensions(), kept.bytes().len(), kept.scale()), (2, 2, 8, 0.0));
        let matrix = v1::TokenMatrix { rows: 1, vectors: vec![127, 0].into(), tokens: vec![3], scale: 0.5 };
        let sent: v1::TokenVectors = KeptVectors::of(matrix.clone(), 2, v1::VectorFormat::Int8).into();
        assert_eq!((sent.dimensions, sent.format()), (2, v1::VectorFormat::Int8));
        assert_eq!(sent.matrix.unwrap(), v1::TokenMatrix { tokens: vec![], ..matrix });
    }
}
