//! `cargo xtask bench cpu`: the engine without padding against ONNX Runtime with padding, from Python.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::{
    cache::Cache,
    digest, models,
    ort::{self, ORT_VERSION},
    process::{self, Keep},
    python::Python,
    workspace,
};

/// NumPy's versions this was run with; any of them does the little that is asked.
const NUMPY: &str = "numpy>=1.26,<3";

/// Largest difference between a vector made padded and one made packed. Both are f32;
/// order of summing differs.
const TOLERANCE: f32 = 1e-4;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Threads on both sides
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Times each side runs, taking turns; the best of each counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// What both sides print.
#[derive(Debug, Deserialize)]
struct CpuReport {
    seconds: Vec<Timed>,
    outputs: Vec<Vec<f32>>,
}

#[derive(Debug, Deserialize)]
struct Timed {
    how: String,
    seconds: f64,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Args { threads, rounds } = *args;
    let cache = Cache::open()?;
    let library = ort::ensure(&cache)?;
    let [reranker, minilm, export] = ["reranker", "minilm", "minilm-onnx"].map(|name| models::ensure(&cache, name));
    let (reranker, minilm, export) = (reranker?, minilm?, export?);
    let python = Python::find()?;
    let site = site(&cache, &python)?;
    drop(cache);
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;

    // Without clients and servers, which this program has no use for.
    let build = ["build", "--release", "-p", "sortie-benches", "--no-default-features", "--bin", "packed_cpu"];
    process::run(workspace::cargo().args(build), "cargo build")?;
    let program = workspace::target()?.join("release/packed_cpu");
    let items = scratch.path().join("items.json");
    process::run(Command::new(&program).arg("--items-out").arg(&items), "packed_cpu")?;

    let packed = |folder: &Path| {
        let mut command = Command::new(&program);
        command.arg("--model").arg(folder).args(["--threads", &threads.to_string()]).env("ORT_DYLIB_PATH", &library);
        report(&mut command, "packed_cpu")
    };
    let padded = || {
        let mut command = python.command();
        command.arg(workspace::root().join("benches/padded_ort.py")).arg(&items).arg(export.join("onnx/model.onnx"));
        report(command.arg(threads.to_string()).env("PYTHONPATH", &site), "padded_ort.py")
    };
    let mut times: Times = Times::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let theirs = padded()?;
        let ours = packed(&minilm)?;
        agree(&ours.outputs, &theirs.outputs)?;
        times.add("Python", theirs);
        times.add("Sortie, embeddings", ours);
        times.add("Sortie, reranker", packed(&reranker)?);
    }
    print!("{}", times.table(threads, rounds));
    Ok(())
}

/// Seconds of each way, in the order first seen.
#[derive(Debug, Default)]
struct Times(Vec<(String, Vec<f64>)>);

impl Times {
    fn add(&mut self, side: &str, report: CpuReport) {
        for Timed { how, seconds } in report.seconds {
            let name = format!("{side}: {how}");
            match self.0.iter_mut().find(|(n, _)| *n == name) {
                Some((_, all)) => all.push(seconds),
                None => self.0.push((name, vec![seconds])),
            }
        }
    }

    /// A Markdown table; ratios of the best times, to padding in arrival order and to the
    /// best rival, which may well be one by one. The best time, because whatever else the machine does only ever adds.
    fn table(&self, threads: usize, rounds: u32) -> String {
        let least = |all: &[f64]| all.iter().copied().fold(f64::INFINITY, f64::min);
        let bests: BTreeMap<&str, f64> = self.0.iter().map(|(name, all)| (name.as_str(), least(all))).collect();
        let of = |name: &str| bests.get(name).copied().unwrap_or(f64::NAN);
        let arrival = of("Python: padded, arrival order, 32");
        let rival = least(&bests.iter().filter(|(n, _)| n.starts_with("Python")).map(|(_, t)| *t).collect::<Vec<_>>());
        let mut out = format!(
            "\n200 pairs, 32,182 tokens, MiniLM-L6 f32, {threads} threads, ONNX Runtime {ORT_VERSION}, rounds: {rounds}\n\n\
             | way | best s | median s | tokens/s | × padded arrival | × best rival |\n\
             | --- | ---: | ---: | ---: | ---: | ---: |\n"
        );
        for (name, all) in &self.0 {
            let best = of(name);
            out += &format!(
                "| {name} | {best:.2} | {:.2} | {:.0} | {:.2} | {:.2} |\n",
                median(all),
                32_182.0 / best,
                arrival / best,
                rival / best
            );
        }
        out
    }
}

fn median(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The two sides must have done the same work.
fn agree(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> anyhow::Result<()> {
    if ours.len() != theirs.len() || ours.is_empty() {
        bail!("{} items on one side, {} on the other", ours.len(), theirs.len());
    }
    let far =
        |a: &Vec<f32>, b: &Vec<f32>| a.len() != b.len() || a.iter().zip(b).any(|(a, b)| (a - b).abs() > TOLERANCE);
    match ours.iter().zip(theirs).position(|(a, b)| far(a, b)) {
        Some(at) => bail!("item {at} differs between the two sides: {:?} and {:?}", ours.get(at), theirs.get(at)),
        None => Ok(()),
    }
}

fn report(command: &mut Command, what: &str) -> anyhow::Result<CpuReport> {
    let out = process::output(command, what, Keep::Both)?;
    if !out.status.success() {
        bail!("{what} failed ({}): {}", out.status, out.stderr.trim());
    }
    serde_json::from_str(&out.stdout).with_context(|| format!("cannot read what {what} printed"))
}

/// A folder with ONNX Runtime and NumPy for the local Python. Pinned by version only:
/// which wheels these are depends on the Python, and nothing but this table rests on them.
fn site(cache: &Cache, python: &Python) -> anyhow::Result<std::path::PathBuf> {
    let wanted = [format!("onnxruntime=={ORT_VERSION}"), NUMPY.to_owned()];
    let version = process::output(python.command().arg("--version"), "python", Keep::Both)?.stdout;
    let fingerprint = digest::bytes(format!("{wanted:?}{version}").as_bytes());
    cache.entry("python/padded-ort", &fingerprint, |folder| {
        eprintln!("fetching {} for {}", wanted.join(" and "), version.trim());
        let mut pip = python.pip();
        pip.args(["install", "-q", "--only-binary=:all:", "--no-compile", "--target"]).arg(folder).args(&wanted);
        let out = process::output(&mut pip, "pip", Keep::Both)?;
        if !out.status.success() {
            bail!("pip could not install {}: {}", wanted.join(" and "), out.stderr.trim());
        }
        // pip may leave caches that Python rewrites on use.
        let _ = fs::remove_dir_all(folder.join("bin"));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_padding() {
        let mut times = Times::default();
        let report = |rows: &[(&str, f64)]| CpuReport {
            seconds: rows.iter().map(|(how, seconds)| Timed { how: (*how).to_owned(), seconds: *seconds }).collect(),
            outputs: Vec::new(),
        };
        for noise in [5.0, 0.0, 1.0] {
            times.add("Python", report(&[("padded, arrival order, 32", 12.0 + noise), ("padded, sorted, 8", 5.0)]));
        }
        times.add("Sortie, reranker", report(&[("one batch", 4.0)]));
        let table = times.table(2, 3);
        assert!(table.contains("| Sortie, reranker: one batch | 4.00 | 4.00 | 8046 | 3.00 | 1.25 |"), "{table}");
        assert!(table.contains("arrival order, 32 | 12.00 | 13.00 |"), "{table}");
    }

    #[test]
    fn different_work_is_noticed() {
        assert!(agree(&[vec![1.0]], &[vec![1.000_01]]).is_ok());
        assert!(agree(&[vec![1.0]], &[vec![1.1]]).is_err());
        assert!(agree(&[], &[]).is_err());
    }
}
