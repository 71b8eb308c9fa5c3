//! A model's revision: a hex SHA-256, cut to 16 digits, over the names and sizes of
//! its files, all bytes of small ones and evenly spaced samples of large ones.
//!
//! Hashing gigabytes at every start would cost seconds. Training changes a tensor
//! throughout, and a sample lies in every megabyte or so of a usual model: two
//! sets of weights that agree in all samples do not occur by accident.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::error::LoadError;

/// Files up to this size are hashed whole.
const WHOLE_BYTES: u64 = 32 << 20;
/// Samples of a larger file, the first at its start and the last at its end.
const SAMPLES: u64 = 512;
/// Bytes of a sample: 32 MiB in all, as much as the largest file hashed whole.
const SAMPLE_BYTES: u64 = 64 << 10;
/// Ends of names of files that a model may be served from.
const SERVED: [&str; 9] =
    [".json", ".safetensors", ".onnx", ".onnx_data", ".data", "artifact.metadata", ".jinja", "vocab.txt", ".model"];
/// Hex digits kept: 64 bits tell the revisions of one fleet apart.
const DIGITS: usize = 16;

/// Digest of the files a model is served from: those of `folder` and of the folders right below it, and those of `more`,
/// which lie deeper or elsewhere.
pub(crate) fn digest(folder: &Path, more: &[PathBuf]) -> Result<String, LoadError> {
    let mut files = Vec::new();
    list(folder, 0, &mut files)?;
    for other in more.iter().filter(|other| other.is_dir()) {
        list(other, 0, &mut files)?;
    }
    files.sort();
    files.dedup();
    let mut hash = Sha256::new();
    for path in files {
        let root = more.iter().find(|other| !other.starts_with(folder) && path.starts_with(other));
        match add(&mut hash, root.map_or(folder, PathBuf::as_path), &path) {
            // Whatever the model is served from was read before: this is something that lies about.
            Err(e) if lies_about(&e) => {}
            done => done.map_err(LoadError::io(&path))?,
        }
    }
    let mut hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    hex.truncate(DIGITS);
    Ok(hex)
}

fn list(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    /// Module folders (`1_Pooling`, `onnx`) lie one deep.
    const DEPTH: usize = 1;
    let entries = match std::fs::read_dir(dir) {
        // A volume's lost+found, for example.
        Err(e) if depth > 0 && lies_about(&e) => return Ok(()),
        entries => entries.map_err(LoadError::io(dir))?,
    };
    for entry in entries {
        let path = entry.map_err(LoadError::io(dir))?.path();
        let served = path
            .file_name()
            .and_then(|n| n.to_str())
            .is_some_and(|n| !n.starts_with('.') && SERVED.iter().any(|e| n.ends_with(e)));
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

/// Whether an error is about a file that nobody can have been served from: one that may not be read, or a link to nothing.
fn lies_about(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotFound)
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
        for i in 0..SAMPLES {
            file.seek(SeekFrom::Start((size - SAMPLE_BYTES) / (SAMPLES - 1) * i))?;
            Read::by_ref(&mut file).take(SAMPLE_BYTES).read_to_end(&mut bytes)?;
        }
        file.seek(SeekFrom::Start(size - SAMPLE_BYTES))?;
        file.read_to_end(&mut bytes)?;
    }
    hash.update(&bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_amid_a_large_file_or_of_a_name_shows() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.safetensors");
        let mut bytes = vec![7u8; (WHOLE_BYTES + 12_345) as usize];
        std::fs::write(&file, &bytes).unwrap();
        let first = digest(dir.path(), &[]).unwrap();
        assert_eq!((first.len(), digest(dir.path(), &[]).unwrap()), (DIGITS, first.clone()));
        // A layer's worth of weights, nowhere near an end.
        bytes[9_000_000..11_000_000].fill(8);
        std::fs::write(&file, &bytes).unwrap();
        let second = digest(dir.path(), &[]).unwrap();
        assert_ne!(first, second);
        std::fs::rename(&file, dir.path().join("other.safetensors")).unwrap();
        assert_ne!(second, digest(dir.path(), &[]).unwrap());
    }

    #[test]
    fn modules_that_lie_deep_and_a_base_model_elsewhere_show() {
        let (dir, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let deep = dir.path().join("a/b/c");
        std::fs::create_dir_all(&deep).unwrap();
        let more = [deep.clone(), base.path().to_owned()];
        let of = || digest(dir.path(), &more).unwrap();
        let first = of();
        std::fs::write(deep.join("config.json"), "{}").unwrap();
        let second = of();
        assert_ne!(first, second);
        std::fs::write(base.path().join("model.safetensors"), "x").unwrap();
        assert_ne!(second, of());
    }
}
