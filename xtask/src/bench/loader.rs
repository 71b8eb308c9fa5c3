//! Runs `sortie bench` and reads what it prints.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::process::{self, Keep};

/// Milliseconds; `None` where there was no job.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct LatencyFigures {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
}

/// Jobs that failed for one reason.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FailureFigures {
    pub(crate) jobs: u64,
    pub(crate) after_ms: LatencyFigures,
}

/// One strategy's row.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StrategyFigures {
    pub(crate) strategy: String,
    pub(crate) jobs: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) reasons: BTreeMap<String, FailureFigures>,
    pub(crate) latency_ms: LatencyFigures,
    pub(crate) all_ms: LatencyFigures,
    pub(crate) goodput_tokens_per_second: f64,
    pub(crate) hedge_share: Option<f64>,
    pub(crate) retry_share: Option<f64>,
    pub(crate) free_share: Option<f64>,
    pub(crate) cpu_us_per_job: Option<f64>,
    pub(crate) late_ms: LatencyFigures,
}

impl StrategyFigures {
    /// Failures by reason, in words.
    pub(crate) fn failures(&self) -> String {
        let all: Vec<String> =
            self.reasons.iter().filter(|(_, f)| f.jobs > 0).map(|(reason, f)| format!("{reason} {}", f.jobs)).collect();
        if all.is_empty() { "0".to_owned() } else { all.join(", ") }
    }
}

/// What was asked for and what it came to.
#[derive(Debug, Deserialize)]
pub(crate) struct SettingFigures {
    pub(crate) rate: f64,
}

/// What `sortie bench --json` prints.
#[derive(Debug, Deserialize)]
pub(crate) struct BenchReport {
    pub(crate) setting: SettingFigures,
    /// One a strategy.
    pub(crate) results: Vec<StrategyFigures>,
}

/// Runs `sortie bench` with these arguments; its progress goes to standard error.
pub(crate) fn bench(sortie: &Path, arguments: &[String]) -> anyhow::Result<BenchReport> {
    let mut command = Command::new(sortie);
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SORTIE_")) {
        command.env_remove(key);
    }
    run(command.args(["bench", "--json"]).args(arguments))
}

/// Runs a command that ends in `sortie bench --json`.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<BenchReport> {
    let out = process::output(command.stderr(Stdio::inherit()), "sortie bench", Keep::Stdout)?;
    if !out.status.success() {
        bail!("sortie bench failed ({})", out.status);
    }
    serde_json::from_str(&out.stdout).context("cannot read what sortie bench printed")
}

/// A number of a table; a dash where there is none.
pub(crate) fn cell(value: Option<f64>, digits: usize) -> String {
    value.filter(|v| v.is_finite()).map_or_else(|| "–".to_owned(), |v| format!("{v:.digits$}"))
}

/// One number over another; `None` where one of them is missing.
pub(crate) fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    of.zip(to).map(|(of, to)| of / to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_a_dash() {
        assert_eq!(cell(Some(1.25), 1), "1.2");
        assert_eq!(cell(None, 1), "–");
        assert_eq!(cell(ratio(Some(3.0), Some(2.0)), 1), "1.5");
        assert_eq!(ratio(None, Some(2.0)), None);
    }
}
