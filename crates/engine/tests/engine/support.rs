//! Shared by the engine's tests.

use std::path::{Path, PathBuf};

use sortie_engine::{LoadOptions, Precision};

/// Names the device of the tests that hold answers against the libraries'.
const DEVICE: &str = "SORTIE_TEST_DEVICE";

/// What is held against the libraries' own answers.
fn tree() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle")
}

/// The folder of the tiny models.
pub(crate) fn tiny() -> PathBuf {
    tree().join("tiny")
}

/// A tiny model folder with its expected outputs.
pub(crate) fn oracle(name: &str) -> PathBuf {
    tiny().join(name)
}

/// What one of the oracle's archives holds, `families` or another: a folder of folders, which are not to be written to.
pub(crate) fn archived(archive: &str) -> PathBuf {
    crate::archive::unpacked(&tree()).join(archive)
}

/// Two threads, f32, on the processor or the device that the environment names.
pub(crate) fn options() -> LoadOptions {
    let device = std::env::var(DEVICE).map(|name| name.parse().unwrap()).unwrap_or_default();
    LoadOptions { threads: Some(2), device, precision: Some(Precision::F32), ..LoadOptions::default() }
}

/// A real model that `cargo xtask models` fetched.
pub(crate) fn real(name: &str) -> PathBuf {
    let cache = std::env::var_os("SORTIE_CACHE").map(PathBuf::from).or_else(|| {
        std::env::var_os("XDG_CACHE_HOME").map(|c| PathBuf::from(c).join("sortie")).or_else(|| {
            let home = PathBuf::from(std::env::var_os("HOME")?);
            Some(if cfg!(target_os = "macos") {
                home.join("Library/Caches/sortie")
            } else {
                home.join(".cache/sortie")
            })
        })
    });
    let folder = cache.expect("HOME is set").join("models").join(name);
    assert!(folder.is_dir(), "{} is not there: run `cargo xtask models` first", folder.display());
    folder
}

/// `|got − want| ≤ tolerance · max(1, |want|)` for each number.
pub(crate) fn close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: how many numbers");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}: number {i} is {g}, not {w}");
    }
}

/// A folder of `tests/oracle/folders` or of the archive of that name, put together: what several share lies elsewhere, as
/// its `from.json` says. Or a copy of a tiny model.
pub(crate) fn assemble(name: &str) -> tempfile::TempDir {
    let tree = tree();
    let there = ["folders", "tiny"].iter().any(|kind| tree.join(kind).join(name).is_dir());
    let root = if there { tree.as_path() } else { crate::archive::unpacked(&tree) };
    crate::assemble::assemble(root, name)
}

/// A folder to write to with the files of another.
pub(crate) fn copy_of(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

/// Replaces what stands once in a file.
pub(crate) fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from} in {}", path.display());
    std::fs::write(path, text.replace(from, to)).unwrap();
}
