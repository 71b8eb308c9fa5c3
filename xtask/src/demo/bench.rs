//! Runs `sortie bench` and reads of what it prints what the demo tells.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::process::{self, Keep};

/// What `sortie bench --json` prints.
#[derive(Debug, Deserialize)]
pub(super) struct BenchFigures {
    /// What was asked for and what it came to.
    pub(super) setting: SettingFigures,
    /// One a strategy.
    pub(super) results: Vec<StrategyFigures>,
}

/// What was asked for.
#[derive(Debug, Deserialize)]
pub(super) struct SettingFigures {
    /// Jobs a second.
    pub(super) rate: f64,
}

/// One strategy's row: what it sent twice, as shares.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StrategyFigures {
    pub(super) strategy: String,
    pub(super) hedge_share: Option<f64>,
    pub(super) retry_share: Option<f64>,
    pub(super) free_share: Option<f64>,
}

/// Runs `sortie bench` with these arguments; its progress goes to standard error.
pub(super) fn bench(sortie: &Path, arguments: &[String]) -> anyhow::Result<BenchFigures> {
    let mut command = Command::new(sortie);
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SORTIE_")) {
        command.env_remove(key);
    }
    command.args(["bench", "--json"]).args(arguments).stderr(Stdio::inherit());
    let out = process::output(&mut command, "sortie bench", Keep::Stdout)?;
    if !out.status.success() {
        bail!("sortie bench failed ({})", out.status);
    }
    serde_json::from_str(&out.stdout).context("cannot read what sortie bench printed")
}
