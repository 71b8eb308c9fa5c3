//! `cargo xtask bench gpu`: the engine and a server on a GPU.

use std::process::Command;

use crate::{cache::Cache, models, ort, process, workspace};

/// Builds `gpu` and the server and runs it with what the cache holds. On a host without
/// cargo the programs are carried and run by hand: see `docs/gpu.md`.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let cache = Cache::open()?;
    let library = ort::ensure_cuda(&cache)?;
    let reranker = models::ensure(&cache, "reranker")?;
    models::ensure(&cache, "minilm")?;
    drop(cache);
    let mut cargo = workspace::cargo();
    process::run(
        cargo.args([
            "build",
            "--release",
            "-p",
            "sortie-benches",
            "-p",
            "sortie-server",
            "--bin",
            "gpu",
            "--bin",
            "sortie-server",
        ]),
        "cargo build",
    )?;
    let release = workspace::target()?.join("release");
    let mut command = Command::new(release.join("gpu"));
    if args.is_empty() {
        command.arg("all");
    }
    command.args(args).arg("--ort-library").arg(library).arg("--server").arg(release.join("sortie-server"));
    if let Some(models) = reranker.parent() {
        command.arg("--models").arg(models);
    }
    process::run(command.current_dir(workspace::root()), "gpu")
}
