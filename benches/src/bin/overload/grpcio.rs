//! grpcio with gRPC's own retries: our script `benches/overload/grpcio_load.py`.

use std::fs;

use anyhow::Context as _;
use serde::Deserialize;
use xtask::workspace;

use crate::load::{JobResult, JobSample, LoadResult, LoadSpec, quietly};

/// A line of the script: a job, or the last one.
#[derive(Deserialize)]
#[serde(untagged)]
enum GrpcioLine {
    JobSample { at: f64, late: f64, took: f64, code: String },
    Last { cpu: f64, unended: u64 },
}

pub(super) fn run(spec: &LoadSpec<'_>) -> anyhow::Result<LoadResult> {
    let site = spec.rivals.and_then(|rivals| rivals.grpcio.as_ref()).context("there is no grpcio")?;
    let out = spec.scratch.join("grpcio.jsonl");
    let list = |words: Vec<String>| words.join(",");
    let mut command = site.python();
    command.arg(workspace::root().join("benches/overload/grpcio_load.py"));
    command.args(["--servers", &list(spec.addresses.iter().map(ToString::to_string).collect())]);
    command.arg("--bodies").arg(&spec.bodies.wire).arg("--out").arg(&out);
    command.args(["--phases", &list(spec.phases.iter().map(|(rate, seconds)| format!("{rate}:{seconds}")).collect())]);
    command.args(["--deadline", &spec.deadline.as_secs_f64().to_string(), "--seed", &spec.seed.to_string()]);
    command.args(spec.tenant.map(|tenant| ["--tenant", tenant]).into_iter().flatten());
    quietly(&mut command, "grpcio_load.py", spec.pins)?;
    read(&fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?)
}

fn read(text: &str) -> anyhow::Result<LoadResult> {
    let mut result = LoadResult::default();
    for line in text.lines() {
        match serde_json::from_str(line).with_context(|| format!("cannot read {line:?}"))? {
            GrpcioLine::JobSample { at, late, took, code } => {
                result.push(JobSample { at, late, took, outcome: JobResult::of(&code), chunks: 1.0 }, &code);
            }
            GrpcioLine::Last { cpu, unended } => {
                result.cpu = Some(cpu);
                anyhow::ensure!(unended == 0, "{unended} calls of grpcio never ended");
            }
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_jobs_but_for_the_last() {
        let text = "{\"at\": 0.5, \"late\": 0.001, \"took\": 0.1, \"code\": \"OK\"}\n{\"at\": 1, \"late\": 0, \"took\": 1, \"code\": \"DEADLINE_EXCEEDED\"}\n{\"cpu\": 1.5, \"unended\": 0}\n";
        let result = read(text).unwrap();
        let outcomes: Vec<_> = result.jobs.iter().map(|job| job.outcome).collect();
        assert_eq!((outcomes, result.cpu), (vec![JobResult::Answered, JobResult::Deadline], Some(1.5)));
        assert!(read("{\"cpu\": 1.5, \"unended\": 2}").is_err());
    }
}
