//! Token vectors on the wire: a matrix a text, one row a token, written for EmbedTokens and read as documents of Rerank.

use bytes::Bytes;
use half::f16;
use sortie_engine::TokenVectors;
use sortie_proto::v1::{self, VectorFormat};

use crate::{
    item_refusal::ItemRefusal,
    vectors::{NumberFormat, VectorRows},
};

/// The matrix in its format; `None` where a number does not fit it.
pub(crate) fn write_vectors(
    vectors: &TokenVectors,
    format: VectorFormat,
    with_places: bool,
) -> Option<v1::TokenMatrix> {
    let count = vectors.rows().len();
    let (bytes, scale) = if format == VectorFormat::Int8 {
        scaled(&vectors.values)
    } else {
        let mut rows = VectorRows::new(count, vectors.dimensions, NumberFormat::of(format), None);
        if !vectors.rows().all(|row| rows.push(row)) {
            return None;
        }
        (rows.into_bytes(), 0.0)
    };
    let tokens = if with_places { vectors.tokens.clone() } else { Vec::new() };
    Some(v1::TokenMatrix { rows: u32::try_from(count).unwrap_or(u32::MAX), vectors: bytes, tokens, scale })
}

/// Signed bytes of `values`, as two's complement, and what they are multiplied by to get the values back.
fn scaled(values: &[f32]) -> (Bytes, f32) {
    let largest = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let scale = if largest > 0.0 { largest / f32::from(i8::MAX) } else { 1.0 };
    let most = f32::from(i8::MAX);
    let byte = |x: &f32| ((x / scale).round().clamp(-most, most) as i8).to_le_bytes()[0];
    (values.iter().map(byte).collect(), scale)
}

/// Vectors that a caller sent, whose sizes fit; their numbers are not read yet.
#[derive(Clone, Debug)]
pub(crate) struct SentVectors {
    matrix: v1::TokenMatrix,
    dimensions: usize,
    /// Bytes of a number.
    width: usize,
}

impl SentVectors {
    /// Checks all but the numbers, for a model whose vectors have `dimensions` of them.
    ///
    /// # Errors
    /// Names what does not fit: the width, the format, the number of bytes, the scale.
    pub(crate) fn check(sent: v1::TokenVectors, dimensions: usize) -> Result<Self, ItemRefusal> {
        if sent.dimensions as usize != dimensions {
            return bad(format!("rows of {} numbers; this model's have {dimensions}", sent.dimensions));
        }
        let width = match VectorFormat::try_from(sent.format) {
            Ok(VectorFormat::Unspecified | VectorFormat::F32) => size_of::<f32>(),
            Ok(VectorFormat::F16) => size_of::<f16>(),
            Ok(VectorFormat::Int8) => size_of::<i8>(),
            _ => return bad("token vectors to compare with come as F32, F16 or INT8".to_owned()),
        };
        let matrix = sent.matrix.unwrap_or_default();
        let (bytes, rows) = (matrix.vectors.len(), matrix.rows as usize);
        if rows.checked_mul(dimensions).and_then(|n| n.checked_mul(width)) != Some(bytes) {
            return bad(format!("{bytes} bytes for {rows} rows of {dimensions} numbers of {width} bytes"));
        }
        if width == 1 && rows > 0 && !(matrix.scale.is_finite() && matrix.scale > 0.0) {
            return bad(format!("the scale of INT8 is {}; it must be above 0", matrix.scale));
        }
        Ok(Self { matrix, dimensions, width })
    }

    /// Bytes that they take once they are read.
    pub(crate) fn bytes(&self) -> u64 {
        (self.matrix.vectors.len() / self.width * size_of::<f32>()) as u64
    }

    /// Reads the numbers.
    ///
    /// # Errors
    /// A number is not finite.
    pub(crate) fn read(self) -> Result<TokenVectors, ItemRefusal> {
        let Self { matrix, dimensions, width } = self;
        let number = |cell: &[u8]| match *cell {
            [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
            [a, b] => f16::from_le_bytes([a, b]).to_f32(),
            [a] => f32::from(i8::from_le_bytes([a])) * matrix.scale,
            _ => f32::NAN,
        };
        let values: Vec<f32> = matrix.vectors.chunks_exact(width).map(number).collect();
        if values.iter().any(|x| !x.is_finite()) {
            return bad("a number is not finite".to_owned());
        }
        Ok(TokenVectors { dimensions, values, tokens: (0..matrix.rows).collect() })
    }
}

fn bad<T>(message: String) -> Result<T, ItemRefusal> {
    Err(ItemRefusal { reason: "BAD_VECTORS", message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_vectors(sent: &v1::TokenVectors, dimensions: usize) -> Result<TokenVectors, ItemRefusal> {
        SentVectors::check(sent.clone(), dimensions)?.read()
    }

    #[test]
    fn bytes_times_their_scale_are_the_numbers_again() {
        let values = [1.0, -2.0, 0.004, 0.0];
        let (bytes, scale) = scaled(&values);
        for (byte, x) in bytes.iter().zip(values) {
            assert!((f32::from(*byte as i8) * scale - x).abs() <= scale / 2.0 + 1e-6);
        }
        assert_eq!((bytes[1] as i8, scaled(&[0.0, 0.0])), (-127, (Bytes::from_static(&[0, 0]), 1.0)));
    }

    #[test]
    fn rows_of_bits_are_whole_bytes() {
        let vectors = TokenVectors { dimensions: 3, values: vec![1.0, -1.0, 1.0, -1.0, 1.0, 0.0], tokens: vec![0, 2] };
        let made = write_vectors(&vectors, VectorFormat::Ubinary, true).unwrap();
        assert_eq!((made.rows, made.vectors.as_ref(), made.tokens), (2, &[0b1010_0000, 0b0100_0000][..], vec![0, 2]));
        let vectors = TokenVectors { dimensions: 1, values: vec![1e9], tokens: vec![0] };
        assert!(write_vectors(&vectors, VectorFormat::F16, false).is_none());
    }

    #[test]
    fn what_was_written_is_read_again() {
        let vectors = TokenVectors { dimensions: 2, values: vec![1.0, -0.5, 0.25, 0.0], tokens: vec![0, 1] };
        for (format, most) in [(VectorFormat::F32, 0.0), (VectorFormat::F16, 0.0), (VectorFormat::Int8, 0.5 / 127.0)] {
            let matrix = write_vectors(&vectors, format, false);
            let read = read_vectors(&v1::TokenVectors { dimensions: 2, format: format.into(), matrix }, 2).unwrap();
            assert_eq!(read.rows().len(), 2);
            for (a, b) in read.values.iter().zip(&vectors.values) {
                assert!((a - b).abs() <= most, "{format:?}");
            }
        }
    }

    #[test]
    fn vectors_that_do_not_fit_are_refused_by_name() {
        let ones = v1::TokenMatrix { rows: 1, vectors: vec![0; 8].into(), ..v1::TokenMatrix::default() };
        let sent = |format, dimensions| v1::TokenVectors { dimensions, format, matrix: Some(ones.clone()) };
        let refused = |vectors: &v1::TokenVectors| {
            let refusal = read_vectors(vectors, 2).unwrap_err();
            assert_eq!(refusal.reason, "BAD_VECTORS");
            refusal.message
        };
        assert!(refused(&sent(1, 3)).contains("3 numbers"));
        assert!(refused(&sent(2, 2)).contains("8 bytes"));
        let bytes = v1::TokenMatrix { rows: 4, ..ones.clone() };
        assert!(refused(&v1::TokenVectors { matrix: Some(bytes), ..sent(3, 2) }).contains("scale"));
        assert!(refused(&sent(6, 2)).contains("F32, F16 or INT8"));
        assert!(refused(&sent(99, 2)).contains("F32, F16 or INT8"));
        let nan =
            v1::TokenMatrix { vectors: [f32::NAN, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect(), ..ones.clone() };
        assert!(refused(&v1::TokenVectors { matrix: Some(nan), ..sent(1, 2) }).contains("finite"));
        let none = v1::TokenVectors { matrix: None, ..sent(1, 2) };
        assert_eq!(read_vectors(&none, 2).unwrap().rows().len(), 0, "a text whose tokens are all left out has none");
    }
}
