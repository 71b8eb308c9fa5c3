//! Vectors as stores want them, by sentence-transformers' formulas, each number or bit on its own:
//!
//! | | a number `x` with the range `start..end` of its dimension |
//! | --- | --- |
//! | uint8 | `clamp(⌊(x − start) / step⌋, 0, 255)`, `step = (end − start) / 255`, or 1 where that is 0 |
//! | int8 | the same less 128 |
//! | ubinary | the bit `x > 0`; eight bits a byte, the first the highest, the last byte filled up with zeros |
//! | binary | ubinary's bytes less 128 |

/// A format of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// One signed byte a number.
    Int8,
    /// One unsigned byte a number.
    Uint8,
    /// One bit a number, bytes signed.
    Binary,
    /// One bit a number, bytes unsigned.
    Ubinary,
}

impl Quantization {
    /// Bytes of a vector of `dimensions` numbers.
    #[must_use]
    pub fn bytes(self, dimensions: usize) -> usize {
        match self {
            Quantization::Int8 | Quantization::Uint8 => dimensions,
            Quantization::Binary | Quantization::Ubinary => dimensions.div_ceil(8),
        }
    }

    /// Whether it needs [`Ranges`].
    #[must_use]
    pub fn needs_ranges(self) -> bool {
        matches!(self, Quantization::Int8 | Quantization::Uint8)
    }
}

/// The least and the largest number of each dimension.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges {
    /// Least, one a dimension.
    pub starts: Vec<f32>,
    /// Largest, one a dimension.
    pub ends: Vec<f32>,
}

impl Ranges {
    /// The ranges of `vectors`; `None` where there are none, or they differ in length.
    #[must_use]
    pub fn of<'a>(vectors: impl IntoIterator<Item = &'a [f32]>) -> Option<Self> {
        let mut vectors = vectors.into_iter();
        let first = vectors.next()?;
        let mut ranges = Self { starts: first.to_vec(), ends: first.to_vec() };
        for vector in vectors {
            if vector.len() != ranges.starts.len() {
                return None;
            }
            for ((start, end), &x) in ranges.starts.iter_mut().zip(&mut ranges.ends).zip(vector) {
                (*start, *end) = (start.min(x), end.max(x));
            }
        }
        Some(ranges)
    }
}

/// Writes `vector` in a format; signed bytes as their two's complement.
///
/// `None` where the format needs ranges and there are none, or not one a dimension.
#[must_use]
pub fn quantize(vector: &[f32], format: Quantization, ranges: Option<&Ranges>) -> Option<Vec<u8>> {
    /// What a signed byte is less than an unsigned one; in two's complement, its highest bit turned.
    const SIGNED: u8 = 0x80;
    let signed = if matches!(format, Quantization::Int8 | Quantization::Binary) { SIGNED } else { 0 };
    if !format.needs_ranges() {
        let byte =
            |eight: &[f32]| eight.iter().enumerate().fold(0u8, |byte, (i, &x)| byte | (u8::from(x > 0.0) << (7 - i)));
        return Some(vector.chunks(8).map(|eight| byte(eight) ^ signed).collect());
    }
    let ranges = ranges.filter(|r| r.starts.len() == vector.len() && r.ends.len() == vector.len())?;
    let bounds = ranges.starts.iter().zip(&ranges.ends);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
    let byte = |(&x, (&start, &end)): (&f32, (&f32, &f32))| {
        let step = (end - start) / 255.0;
        let step = if step == 0.0 { 1.0 } else { step };
        ((x - start) / step).floor().clamp(0.0, 255.0) as u8 ^ signed
    };
    Some(vector.iter().zip(bounds).map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_formulas() {
        let ranges = Ranges { starts: vec![-1.0, 0.0, 5.0], ends: vec![1.0, 255.0, 5.0] };
        let of = |format| quantize(&[0.0, 300.0, 6.5], format, Some(&ranges)).unwrap();
        // (0 + 1) / (2 / 255) = 127.5; beyond the range is held there; a range of nothing has a step of 1.
        assert_eq!(of(Quantization::Uint8), [127, 255, 1]);
        let signed: Vec<i8> = of(Quantization::Int8).into_iter().map(|b| b as i8).collect();
        assert_eq!(signed, [-1, 127, -127]);
    }

    #[test]
    fn bits_are_those_above_zero_the_first_the_highest() {
        let vector = [0.1, -1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0, 1.0];
        assert_eq!(quantize(&vector, Quantization::Ubinary, None).unwrap(), [0b1001_0001, 0b1000_0000]);
        let signed: Vec<i8> =
            quantize(&vector, Quantization::Binary, None).unwrap().into_iter().map(|b| b as i8).collect();
        assert_eq!(signed, [0x91_u8.wrapping_sub(128) as i8, 0]);
        assert_eq!(Quantization::Binary.bytes(9), 2);
    }

    #[test]
    fn ranges_must_be_there_and_fit() {
        assert_eq!(quantize(&[1.0], Quantization::Int8, None), None);
        assert_eq!(quantize(&[1.0, 2.0], Quantization::Int8, Ranges::of([&[1.0f32][..]]).as_ref()), None);
        let ranges = Ranges::of([&[1.0f32, 5.0][..], &[3.0, -2.0]]).unwrap();
        assert_eq!(ranges, Ranges { starts: vec![1.0, -2.0], ends: vec![3.0, 5.0] });
        assert_eq!(Ranges::of([&[1.0f32][..], &[1.0, 2.0]]), None);
    }
}
