//! What rows need: programs that are built or fetched when the first row asks for them.

use std::{cell::OnceCell, path::PathBuf};

use sortie_benches::{
    envoy::Envoy,
    timed::{self, Programs},
};
use xtask::{cache::Cache, models, site::Site};

use crate::exported;

/// The rivals' packages.
const RIVALS: &str = "benches/rivals/requirements.lock";

/// What infinity needs older than they are.
const INFINITY: &str = "benches/rivals/infinity.lock";

/// The splitters'.
const SPLITTERS: &str = "benches/rivals/splitters.lock";

/// What rows need.
pub(crate) struct ReportTools {
    pub(crate) programs: Programs,
    pub(crate) build: timed::Build,
    /// The share of its time that a row gets: 1, or less for a trial.
    pub(crate) part_of_time: f64,
    envoy: OnceCell<Envoy>,
    gateway: OnceCell<PathBuf>,
    rivals: OnceCell<Site>,
    infinity: OnceCell<Site>,
    splitters: OnceCell<Site>,
}

/// What a cell holds, made where it is empty.
fn made<T>(cell: &OnceCell<T>, make: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<&T> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = make()?;
            Ok(cell.get_or_init(|| value))
        }
    }
}

impl ReportTools {
    /// Builds the servers and the command-line tool.
    pub(crate) fn new(build: timed::Build, part_of_time: f64) -> anyhow::Result<Self> {
        let programs = timed::build(&build)?;
        let (envoy, gateway) = (OnceCell::new(), OnceCell::new());
        let (rivals, infinity, splitters) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Ok(Self { programs, build, part_of_time, envoy, gateway, rivals, infinity, splitters })
    }

    /// Envoy.
    pub(crate) fn envoy(&self) -> anyhow::Result<&Envoy> {
        made(&self.envoy, || Envoy::find(&Cache::open()?))
    }

    /// `sortie-gateway`.
    pub(crate) fn gateway(&self) -> anyhow::Result<&PathBuf> {
        made(&self.gateway, || timed::build_gateway(&self.build))
    }

    /// The rivals' packages: gigabytes, where they are not in the cache yet.
    pub(crate) fn rivals(&self) -> anyhow::Result<&Site> {
        made(&self.rivals, || Site::ensure(&Cache::open()?, "rivals", RIVALS))
    }

    /// infinity's packages.
    pub(crate) fn infinity(&self) -> anyhow::Result<&Site> {
        let rivals = self.rivals()?;
        made(&self.infinity, || Ok(Site::ensure(&Cache::open()?, "infinity", INFINITY)?.over(rivals)))
    }

    /// The splitters' packages.
    pub(crate) fn splitters(&self) -> anyhow::Result<&Site> {
        made(&self.splitters, || Site::ensure(&Cache::open()?, "splitters", SPLITTERS))
    }

    /// A model of the cache.
    pub(crate) fn model(&self, name: &str) -> anyhow::Result<PathBuf> {
        models::ensure(&Cache::open()?, name)
    }

    /// The reranker as an ONNX file.
    pub(crate) fn exported_reranker(&self) -> anyhow::Result<PathBuf> {
        let (rivals, folder) = (self.rivals()?, self.model("reranker")?);
        exported::ensure(&Cache::open()?, rivals, &folder)
    }
}
