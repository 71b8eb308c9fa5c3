//! One bit a number, as sentence-transformers packs it: above zero is 1, the first number in the highest bit, the last byte
//! filled up with zeros.

use crate::reply::NumberRow;

/// Unsigned bytes.
pub(super) fn packed(row: NumberRow<'_>) -> Vec<u8> {
    let mut bytes = vec![0; row.numbers().len().div_ceil(8)];
    for (index, number) in row.numbers().enumerate() {
        if number > 0.0 {
            bytes[index / 8] |= 0x80 >> (index % 8);
        }
    }
    bytes
}

/// The same less 128.
pub(super) fn signed(row: NumberRow<'_>) -> Vec<i8> {
    packed(row).into_iter().map(|byte| (byte ^ 0x80) as i8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::NumberRows;

    #[test]
    fn the_first_number_is_the_highest_bit() {
        let numbers = [1.0f32, -1.0, 0.0, 0.5, -0.0, 2.0, -3.0, 1e-9, 4.0];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let row = NumberRows::new(&bytes, numbers.len(), 1, "texts").unwrap().row(0).unwrap();
        assert_eq!(packed(row), [0b1001_0101, 0b1000_0000]);
        assert_eq!(signed(row), [21, 0]);
    }
}
