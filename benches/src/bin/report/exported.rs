//! The reranker as an ONNX file, for rivals that read nothing else: made once, kept in the cache.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use xtask::{cache::Cache, digest, process, site::Site, workspace};

/// What makes it.
const PROGRAM: &str = "benches/rivals/export.py";

/// The folder, made where it is not there yet.
pub(crate) fn ensure(cache: &Cache, rivals: &Site, model: &Path) -> anyhow::Result<PathBuf> {
    let program = workspace::root().join(PROGRAM);
    let recipe = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    let weights = fs::read(model.join("model.safetensors")).context("the reranker has no weights")?;
    let fingerprint = digest::bytes(format!("{} {}", digest::bytes(&recipe), digest::bytes(&weights)).as_bytes());
    cache.entry("models/reranker-onnx", &fingerprint, |folder| {
        eprintln!("exporting the reranker");
        let made = folder.join("made");
        process::run(rivals.python().arg(&program).arg(model).arg(&made), PROGRAM)?;
        for item in fs::read_dir(&made).context("nothing was exported")? {
            let item = item?;
            fs::rename(item.path(), folder.join(item.file_name())).context("cannot move what was exported")?;
        }
        fs::remove_dir(&made).context("cannot remove an empty folder")
    })
}
