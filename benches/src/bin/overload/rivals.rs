//! The generators that are not ours: ghz, built by `go` or given, and grpcio, from its Python package.
//!
//! Invariant: what is missing is said by name once, with what to do about it; its rows are left out.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::bail;

use xtask::{
    cache::Cache,
    digest,
    process::{self, Keep},
    site::Site,
};

/// ghz's module and version; `go` checks its digest against the public log.
const GHZ: &str = "github.com/bojand/ghz/cmd/ghz@v0.93.0";

/// What grpcio is pinned by.
const GRPCIO: &str = "benches/overload/requirements.txt";

/// What there is of them.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    pub(super) ghz: Option<PathBuf>,
    /// Python with grpcio.
    pub(super) grpcio: Option<Site>,
}

impl Rivals {
    /// Finds or fetches those that are wanted.
    pub(super) fn find(ghz: Option<&Path>, wants: (bool, bool)) -> anyhow::Result<Self> {
        let cache = Cache::open()?;
        let mut rivals = Self::default();
        if wants.0 {
            match ghz.map_or_else(|| build_ghz(&cache), |path| Ok(path.to_owned())) {
                Ok(path) => rivals.ghz = Some(path),
                Err(error) => eprintln!("SKIPPED: every row of ghz: {error:#}; give one by --ghz PATH"),
            }
        }
        if wants.1 {
            match Site::ensure(&cache, "grpcio", GRPCIO) {
                Ok(found) => rivals.grpcio = Some(found),
                Err(error) => eprintln!("SKIPPED: every row of grpcio: {error:#}"),
            }
        }
        Ok(rivals)
    }
}

fn build_ghz(cache: &Cache) -> anyhow::Result<PathBuf> {
    let folder = cache.entry("tools/ghz", &digest::bytes(GHZ.as_bytes()), |folder| {
        eprintln!("building {GHZ} (minutes the first time)");
        let mut go = Command::new("go");
        // Whatever the folder it is run from is set to.
        go.args(["install", "-mod=mod", GHZ]).env("GOBIN", folder).env("CGO_ENABLED", "0").current_dir(folder);
        let out = process::output(&mut go, "go", Keep::Both)?;
        if !out.status.success() {
            bail!("go install failed: {}", out.stderr.trim());
        }
        Ok(())
    })?;
    Ok(folder.join("ghz"))
}
