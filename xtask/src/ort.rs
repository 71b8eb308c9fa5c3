//! The ONNX Runtime library, taken out of its Python package: the one build that
//! every machine with pip can fetch.

use std::{env::consts, path::PathBuf};

use anyhow::{Context as _, bail};

use crate::{
    cache::Cache,
    catalog::{self, ORT_VERSION},
    digest, pip, wheel,
};

/// Name the engine looks for in the cache.
const LIBRARY: &str = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };

/// `cargo xtask ort`.
pub(crate) fn run() -> anyhow::Result<()> {
    let path = ensure(&Cache::open()?)?;
    println!("{}", path.display());
    Ok(())
}

/// The library's path; fetched where it is not in the cache yet.
pub(crate) fn ensure(cache: &Cache) -> anyhow::Result<PathBuf> {
    let row = catalog::this_machine(catalog::ORT).with_context(unsupported)?;
    if cfg!(target_env = "musl") {
        bail!(
            "ONNX Runtime {ORT_VERSION} is published for glibc, and this is a musl system; build it from source and set ORT_DYLIB_PATH"
        );
    }
    let fingerprint = digest::bytes(format!("{}{}{LIBRARY}", row.wheel.sha256, row.member).as_bytes());
    let folder = cache.entry(&format!("ort/{ORT_VERSION}"), &fingerprint, |folder| {
        let scratch = cache.scratch()?;
        let file = pip::fetch(&row.wheel, scratch.path())?;
        wheel::unpack(&file, [(row.member, LIBRARY), ("onnxruntime/LICENSE", "LICENSE")], folder)
    })?;
    Ok(folder.join(LIBRARY))
}

fn unsupported() -> String {
    let known: Vec<_> = catalog::ORT.iter().map(|r| format!("{} {}", r.os, r.arch)).collect();
    format!(
        "no ONNX Runtime {ORT_VERSION} package is known for {} {} (known: {}); build it from source and set ORT_DYLIB_PATH",
        consts::OS,
        consts::ARCH,
        known.join(", ")
    )
}
