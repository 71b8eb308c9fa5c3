//! One generator's run: so many jobs a second for so long, whatever becomes of them, and what became of each.
//!
//! | by | what it is | arrivals |
//! |---|---|---|
//! | `sortie` | the client library, under `sortie bench` | Poisson |
//! | `whole` | one request to the least loaded server, under `sortie bench`; no retry | Poisson |
//! | `ghz` | ghz, one process a server; no retry | even: it offers no other |
//! | `grpcio` | grpcio with gRPC's own retries, five attempts, round robin | Poisson |

use std::{fs, process::Command};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use sortie_benches::report;
use xtask::{
    process::{self, Keep},
    server_process::unset_settings,
};

use crate::{
    ghz, grpcio,
    load::{JobResult, JobSample, LoadGenerator, LoadResult, LoadSpec},
};

/// Runs one generator on the load's cores.
pub(super) fn run(spec: &LoadSpec<'_>) -> anyhow::Result<LoadResult> {
    match spec.by {
        LoadGenerator::Sortie | LoadGenerator::Whole => bench(spec),
        LoadGenerator::Ghz => ghz::run(spec),
        LoadGenerator::Grpcio => grpcio::run(spec),
    }
}

/// A line of `sortie bench --log`.
#[derive(Deserialize)]
struct BenchLine {
    at_ms: f64,
    latency_ms: f64,
    late_ms: f64,
    outcome: String,
    chunks: f64,
}

fn bench(spec: &LoadSpec<'_>) -> anyhow::Result<LoadResult> {
    let &[(rate, seconds)] = spec.phases.as_slice() else { bail!("sortie bench has one phase") };
    let log = spec.scratch.join(format!("{}.log.jsonl", spec.by.name()));
    let mut command = Command::new(&spec.programs.sortie);
    unset_settings(&mut command);
    let endpoints: Vec<String> = spec.addresses.iter().map(|address| format!("http://{address}")).collect();
    command.args(["bench", "--json", "--strategies", spec.by.name(), "--retries", "0", "--warm-up", "0s"]);
    command.args(["--rate", &rate.to_string(), "--duration", &format!("{}ms", (seconds * 1e3) as u64)]);
    command.args(["--deadline", &format!("{}ms", spec.deadline.as_millis()), "--endpoint", &endpoints.join(",")]);
    command.args(["--seed", &spec.seed.to_string()]);
    command.arg("--jobs").arg(&spec.bodies.lines).arg("--log").arg(&log);
    command.args(spec.tenant.map(|tenant| ["--tenant", tenant]).into_iter().flatten());
    let out = spec.pins.load.run(|| process::output(&mut command, "sortie bench", Keep::Both))?;
    if !out.status.success() {
        bail!("sortie bench failed ({}): {}", out.status, out.stderr.trim());
    }
    let report = report::read(&out.stdout)?;
    let row = report.results.first().context("sortie bench measured nothing")?;
    let jobs = (row.jobs + row.cancelled) as f64;
    let mut result = LoadResult {
        cpu: Some(row.cpu_us_per_job * jobs / 1e6).filter(|cpu| cpu.is_finite()),
        ..LoadResult::default()
    };
    let text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    for line in text.lines() {
        let line: BenchLine = serde_json::from_str(line).with_context(|| format!("cannot read {line:?}"))?;
        let (at, late) = (line.at_ms / 1e3, line.late_ms / 1e3);
        let job = JobSample {
            at,
            late,
            took: line.latency_ms / 1e3 - late,
            outcome: JobResult::of(&line.outcome),
            chunks: line.chunks,
        };
        result.push(job, &line.outcome);
    }
    Ok(result)
}
