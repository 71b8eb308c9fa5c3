//! Dense vectors as bytes: little-endian f32 or f16, row after row. A row that
//! failed is NaN throughout.

use half::f16;
use sortie_proto::v1::VectorFormat;

/// Rows being written in one format.
#[derive(Debug)]
pub(crate) struct VectorRows {
    bytes: Vec<u8>,
    dimensions: usize,
    format: VectorFormat,
}

/// Bytes of one number.
pub(crate) fn width(format: VectorFormat) -> usize {
    match format {
        VectorFormat::F16 => 2,
        VectorFormat::F32 | VectorFormat::Unspecified => 4,
    }
}

impl VectorRows {
    /// Room for `rows` rows of `dimensions` numbers.
    pub(crate) fn new(rows: usize, dimensions: usize, format: VectorFormat) -> Self {
        let bytes = Vec::with_capacity(rows.saturating_mul(dimensions).saturating_mul(width(format)));
        Self { bytes, dimensions, format }
    }

    /// Adds a row. False, and nothing added, where a number does not fit the format or the row
    /// has another length.
    #[must_use]
    pub(crate) fn push(&mut self, row: &[f32]) -> bool {
        if row.len() != self.dimensions {
            return false;
        }
        match self.format {
            VectorFormat::F16 => {
                if row.iter().any(|x| !f16::from_f32(*x).is_finite()) {
                    return false;
                }
                self.bytes.extend(row.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
            }
            VectorFormat::F32 | VectorFormat::Unspecified => {
                self.bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
            }
        }
        true
    }

    /// Adds a row that failed.
    pub(crate) fn push_nan(&mut self) {
        for _ in 0..self.dimensions {
            match self.format {
                VectorFormat::F16 => self.bytes.extend(f16::NAN.to_le_bytes()),
                VectorFormat::F32 | VectorFormat::Unspecified => self.bytes.extend(f32::NAN.to_le_bytes()),
            }
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
        let mut rows = VectorRows::new(2, 2, VectorFormat::F32);
        assert!(rows.push(&[1.0, -2.5]));
        rows.push_nan();
        let bytes = rows.into_bytes();
        let back: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(back[..2], [1.0, -2.5]);
        assert!(back[2..].iter().all(|x| x.is_nan()) && back.len() == 4);
        let mut rows = VectorRows::new(1, 1, VectorFormat::F16);
        assert!(rows.push(&[0.5]));
        assert_eq!(f16::from_le_bytes(rows.into_bytes()[..2].try_into().unwrap()).to_f32(), 0.5);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let mut rows = VectorRows::new(1, 2, VectorFormat::F16);
        assert!(!rows.push(&[1.0, 1e9]));
        assert!(!rows.push(&[1.0]));
        assert!(rows.into_bytes().is_empty());
    }
}
