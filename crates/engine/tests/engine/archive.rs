//! The oracle's archives, unpacked once for each state of them. Whoever takes this file in by its path needs `lzma-rust2`,
//! `sha2`, `tar` and `tempfile`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use lzma_rust2::XzReader;
use sha2::{Digest, Sha256};

/// The archives of `tests/oracle`; what lies in each begins with its own name.
const ARCHIVES: [&str; 5] = ["experimental", "families", "folders", "gliner", "long"];

/// The folder below which `families/`, `folders/` and the others lie. Nobody may write there: tests of several processes
/// share it.
pub(crate) fn unpacked(oracle: &Path) -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| unpack(oracle))
}

/// Named after what the archives hold, the folder outlives the process and is never out of date.
fn unpack(oracle: &Path) -> PathBuf {
    let archives = ARCHIVES.map(|name| fs::read(oracle.join(format!("{name}.tar.xz"))).unwrap());
    let digest = archives.iter().fold(Sha256::new(), |digest, bytes| digest.chain_update(bytes)).finalize();
    let name: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    // Cargo's folder for what integration tests leave behind; others have the system's.
    let place = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let root = place.join(format!("sortie-oracle-{name}"));
    if !root.is_dir() {
        fs::create_dir_all(&place).unwrap();
        let fresh = tempfile::tempdir_in(&place).unwrap();
        for bytes in &archives {
            tar::Archive::new(XzReader::new(bytes.as_slice(), false)).unpack(fresh.path()).unwrap();
        }
        // Whole or not there. Where another process was faster, its files are the same.
        if let Err(error) = fs::rename(fresh.path(), &root) {
            assert!(root.is_dir(), "{}: {error}", root.display());
        }
    }
    root
}
