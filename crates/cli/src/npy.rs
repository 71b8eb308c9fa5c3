//! NumPy's file format, version 1.0: a two-dimensional little-endian f32 array.
//!
//! `\x93NUMPY 1 0`, the header's length as u16, the header as a Python literal
//! padded with spaces so that the numbers start at a multiple of 64, the rows.

use std::io::{self, Write};

/// Numbers start at a multiple of this.
const ALIGN: usize = 64;

/// Bytes before the header: magic, version and length.
const FIXED: usize = 10;

/// Writes `rows` rows of `columns` numbers; absent rows are NaN.
pub(crate) fn write(mut out: impl Write, columns: usize, rows: &[Option<&[f32]>]) -> io::Result<()> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {columns}), }}", rows.len());
    let padding = (ALIGN - (FIXED + header.len() + 1) % ALIGN) % ALIGN;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(io::Error::other)?;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for row in rows {
        let number = |column: usize| row.and_then(|row| row.get(column)).copied().unwrap_or(f32::NAN);
        for column in 0..columns {
            out.write_all(&number(column).to_le_bytes())?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_start_aligned_and_missing_rows_are_nan() {
        let mut bytes = Vec::new();
        write(&mut bytes, 2, &[Some(&[1.0, 2.0]), None]).unwrap();
        let start = bytes.len() - 16;
        assert_eq!(start % ALIGN, 0);
        assert_eq!(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])), start - FIXED);
        let header = std::str::from_utf8(&bytes[FIXED..start]).unwrap();
        assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"), "{header}");
        assert!(header.ends_with('\n'));
        let numbers: Vec<f32> =
            bytes[start..].as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        assert_eq!(numbers[..2], [1.0, 2.0]);
        assert!(numbers[2].is_nan() && numbers[3].is_nan());
    }
}
