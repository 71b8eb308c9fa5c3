//! Lines of UTF-8 text with their numbers.
//!
//! Both `\n` and `\r\n` end a line; a byte order mark at the start is dropped; a
//! line end at the very end starts no further line.

use std::io::{BufRead, BufReader, Read};

/// One line without its end.
#[derive(Debug)]
pub(crate) struct InputLine {
    /// From 1.
    pub(crate) number: usize,
    /// Its text.
    pub(crate) text: String,
}

/// Iterator over lines. Errors read as the end of a sentence that a name starts.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    number: usize,
}

impl<R: Read> Lines<R> {
    /// Lines of `reader`.
    pub(crate) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), number: 0 }
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Result<InputLine, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        match self.reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(format!(": {error}"))),
        }
        self.number += 1;
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        if self.number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        let number = self.number;
        Some(
            String::from_utf8(bytes).map(|text| InputLine { number, text }).map_err(|error| {
                format!(" line {number}: not valid UTF-8 at byte {}", error.utf8_error().valid_up_to())
            }),
        )
    }
}
