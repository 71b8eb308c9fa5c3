//! SHA-256 of files and bytes, as lower-case hex.

use std::{fs::File, io::Read, path::Path};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::interrupt;

/// Read at a time: large enough that the system call does not count.
const BLOCK: usize = 1 << 20;

/// Digest of a file.
pub fn file(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        interrupt::check()?;
        let n = file.read(&mut block).with_context(|| format!("cannot read {}", path.display()))?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(block.get(..n).unwrap_or_default());
    }
}

/// Digest of bytes.
pub fn bytes(bytes: &[u8]) -> String {
    parts([bytes])
}

/// Digest of pieces one after the other.
pub fn parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn file_and_bytes_agree_with_the_standard_vector() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(super::file(&path).unwrap(), known);
        assert_eq!(super::bytes(b"abc"), known);
        assert_eq!(super::parts([&b"a"[..], b"bc"]), known);
    }
}
