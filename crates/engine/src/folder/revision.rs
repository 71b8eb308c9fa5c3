//! A model's revision: the hex SHA-256 of its small files and of the name, size
//! and first and last bytes of its large ones, cut to 16 digits.
//!
//! Hashing gigabytes at every start would cost seconds; two sets of weights that
//! agree in size and in both ends of every shard do not occur by accident.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::error::LoadError;

/// Files up to this size are hashed whole.
const WHOLE_BYTES: u64 = 32 << 20;
/// Bytes hashed at each end of a larger file.
const END_BYTES: u64 = 4 << 20;
/// Hex digits kept: 64 bits tell the revisions of one fleet apart.
const DIGITS: usize = 16;

/// Digest of the files a model is served from.
pub(crate) fn digest(folder: &Path) -> Result<String, LoadError> {
    let mut files = Vec::new();
    list(folder, 0, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        add(&mut hash, folder, &path).map_err(LoadError::io(&path))?;
    }
    let mut hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    hex.truncate(DIGITS);
    Ok(hex)
}

fn list(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    /// Module folders (`1_Pooling`, `onnx`) lie one deep.
    const DEPTH: usize = 1;
    for entry in std::fs::read_dir(dir).map_err(LoadError::io(dir))? {
        let path = entry.map_err(LoadError::io(dir))?.path();
        let served = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| {
            !n.starts_with('.')
                && [".json", ".safetensors", ".onnx", ".onnx_data", ".data"].iter().any(|e| n.ends_with(e))
        });
        if path.is_dir() {
            if depth < DEPTH {
                list(&path, depth + 1, files)?;
            }
        } else if served {
            files.push(path);
        }
    }
    Ok(())
}

fn add(hash: &mut Sha256, folder: &Path, path: &Path) -> std::io::Result<()> {
    let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy();
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update(size.to_le_bytes());
    let mut bytes = Vec::new();
    if size <= WHOLE_BYTES {
        file.read_to_end(&mut bytes)?;
    } else {
        Read::by_ref(&mut file).take(END_BYTES).read_to_end(&mut bytes)?;
        file.seek(SeekFrom::End(-i64::try_from(END_BYTES).unwrap_or(i64::MAX)))?;
        file.read_to_end(&mut bytes)?;
    }
    hash.update(&bytes);
    Ok(())
}
