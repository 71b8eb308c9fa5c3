//! Runs `sortie bench` and reads what it prints.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use sortie_lab::bench::{BenchReport, StrategyRow};
use xtask::{
    process::{self, Keep},
    server_process::unset_settings,
};

/// Runs `sortie bench` with these arguments; its progress goes to standard error.
///
/// # Errors
///
/// If it cannot be run, fails or prints something else.
pub fn bench(sortie: &Path, arguments: &[String]) -> anyhow::Result<BenchReport> {
    run(unset_settings(&mut Command::new(sortie)).args(["bench", "--json"]).args(arguments))
}

/// Runs a command that ends in `sortie bench --json`.
///
/// # Errors
///
/// As [`bench()`].
pub fn run(command: &mut Command) -> anyhow::Result<BenchReport> {
    let out = process::output(command.stderr(Stdio::inherit()), "sortie bench", Keep::Stdout)?;
    if !out.status.success() {
        bail!("sortie bench failed ({})", out.status);
    }
    read(&out.stdout)
}

/// Reads what `sortie bench --json` printed.
///
/// # Errors
///
/// If it is something else.
pub fn read(text: &str) -> anyhow::Result<BenchReport> {
    serde_json::from_str(text).context("cannot read what sortie bench printed")
}

/// Failures of a strategy by reason, in words.
#[must_use]
pub fn failures(row: &StrategyRow) -> String {
    let all = row.reasons.iter().filter(|(_, f)| f.jobs > 0).map(|(reason, f)| format!("{reason} {}", f.jobs));
    let all: Vec<String> = all.collect();
    if all.is_empty() { "0".to_owned() } else { all.join(", ") }
}

/// A number of a table; a dash where there is none.
#[must_use]
pub fn cell(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_a_dash() {
        assert_eq!((cell(1.25, 1), cell(f64::NAN, 1)), ("1.2".to_owned(), "–".to_owned()));
        assert_eq!(failures(&StrategyRow::default()), "0");
    }
}
