//! Dense vectors as bytes, row after row: little-endian f32 or f16, or the bytes and bits of [`sortie_engine::quantize`].
//! A row that failed is NaN throughout, and zero where the format has no NaN.

use half::f16;
use sortie_engine::{Quantization, Ranges, quantize};
use sortie_proto::v1::VectorFormat;

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberFormat {
    /// Four bytes a number.
    F32,
    /// Two bytes a number.
    F16,
    /// A byte or a bit a number.
    Quantized(Quantization),
}

impl NumberFormat {
    /// As the contract names it.
    pub(crate) fn of(format: VectorFormat) -> Self {
        match format {
            VectorFormat::Unspecified | VectorFormat::F32 => NumberFormat::F32,
            VectorFormat::F16 => NumberFormat::F16,
            VectorFormat::Int8 => NumberFormat::Quantized(Quantization::Int8),
            VectorFormat::Uint8 => NumberFormat::Quantized(Quantization::Uint8),
            VectorFormat::Binary => NumberFormat::Quantized(Quantization::Binary),
            VectorFormat::Ubinary => NumberFormat::Quantized(Quantization::Ubinary),
        }
    }

    /// The contract's name of it.
    pub(crate) fn to_proto(self) -> VectorFormat {
        match self {
            NumberFormat::F32 => VectorFormat::F32,
            NumberFormat::F16 => VectorFormat::F16,
            NumberFormat::Quantized(Quantization::Int8) => VectorFormat::Int8,
            NumberFormat::Quantized(Quantization::Uint8) => VectorFormat::Uint8,
            NumberFormat::Quantized(Quantization::Binary) => VectorFormat::Binary,
            NumberFormat::Quantized(Quantization::Ubinary) => VectorFormat::Ubinary,
        }
    }

    /// Whether it needs ranges.
    pub(crate) fn needs_ranges(self) -> bool {
        matches!(self, NumberFormat::Quantized(how) if how.needs_ranges())
    }

    /// Bytes of a row of `dimensions` numbers.
    pub(crate) fn row_bytes(self, dimensions: usize) -> usize {
        match self {
            NumberFormat::F32 => dimensions.saturating_mul(size_of::<f32>()),
            NumberFormat::F16 => dimensions.saturating_mul(size_of::<f16>()),
            NumberFormat::Quantized(how) => how.bytes(dimensions),
        }
    }
}

/// Rows being written in one format.
#[derive(Debug)]
pub(crate) struct VectorRows<'a> {
    bytes: Vec<u8>,
    dimensions: usize,
    format: NumberFormat,
    ranges: Option<&'a Ranges>,
}

impl<'a> VectorRows<'a> {
    /// Room for `rows` rows of `dimensions` numbers; `ranges` for the formats that need them.
    pub(crate) fn new(rows: usize, dimensions: usize, format: NumberFormat, ranges: Option<&'a Ranges>) -> Self {
        let bytes = Vec::with_capacity(rows.saturating_mul(format.row_bytes(dimensions)));
        Self { bytes, dimensions, format, ranges }
    }

    /// Adds a row. False, and nothing added, where a number does not fit the format or the row
    /// has another length.
    #[must_use]
    pub(crate) fn push(&mut self, row: &[f32]) -> bool {
        if row.len() != self.dimensions {
            return false;
        }
        match self.format {
            NumberFormat::F16 => {
                if row.iter().any(|x| !f16::from_f32(*x).is_finite()) {
                    return false;
                }
                self.bytes.extend(row.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
            }
            NumberFormat::F32 => self.bytes.extend(row.iter().flat_map(|x| x.to_le_bytes())),
            NumberFormat::Quantized(how) => match quantize(row, how, self.ranges) {
                Some(bytes) => self.bytes.extend(bytes),
                None => return false,
            },
        }
        true
    }

    /// Adds a row that failed.
    pub(crate) fn push_failed(&mut self) {
        let (end, dimensions) = (self.bytes.len() + self.format.row_bytes(self.dimensions), self.dimensions);
        match self.format {
            NumberFormat::F16 => self.bytes.extend(std::iter::repeat_n(f16::NAN.to_le_bytes(), dimensions).flatten()),
            NumberFormat::F32 => self.bytes.extend(std::iter::repeat_n(f32::NAN.to_le_bytes(), dimensions).flatten()),
            NumberFormat::Quantized(_) => self.bytes.resize(end, 0),
        }
    }

    /// All rows.
    pub(crate) fn into_bytes(self) -> bytes::Bytes {
        self.bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_little_endian_in_their_format() {
        let mut rows = VectorRows::new(2, 2, NumberFormat::F32, None);
        assert!(rows.push(&[1.0, -2.5]));
        rows.push_failed();
        let bytes = rows.into_bytes();
        let back: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(back[..2], [1.0, -2.5]);
        assert!(back[2..].iter().all(|x| x.is_nan()) && back.len() == 4);
        let mut rows = VectorRows::new(1, 1, NumberFormat::F16, None);
        assert!(rows.push(&[0.5]));
        rows.push_failed();
        let bytes = rows.into_bytes();
        assert_eq!(f16::from_le_bytes(bytes[..2].try_into().unwrap()).to_f32(), 0.5);
        assert!(f16::from_le_bytes(bytes[2..].try_into().unwrap()).is_nan());
    }

    #[test]
    fn bits_and_bytes_have_rows_of_their_own_length() {
        let mut rows = VectorRows::new(2, 9, NumberFormat::of(VectorFormat::Ubinary), None);
        assert!(rows.push(&[1.0, 0.0, -1.0, 2.0, 0.0, 0.0, 0.0, 1.0, 3.0]));
        rows.push_failed();
        assert_eq!(rows.into_bytes()[..], [0b1001_0001, 0b1000_0000, 0, 0]);
        let ranges = Ranges { starts: vec![0.0], ends: vec![255.0] };
        let mut rows = VectorRows::new(2, 1, NumberFormat::of(VectorFormat::Int8), Some(&ranges));
        assert!(rows.push(&[129.0]));
        rows.push_failed();
        assert_eq!(rows.into_bytes()[..], [1, 0]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let mut rows = VectorRows::new(1, 2, NumberFormat::F16, None);
        assert!(!rows.push(&[1.0, 1e9]));
        assert!(!rows.push(&[1.0]));
        assert!(rows.into_bytes().is_empty());
        assert!(!VectorRows::new(1, 1, NumberFormat::of(VectorFormat::Uint8), None).push(&[1.0]), "no ranges");
    }
}
