//! grpcio with gRPC's own retries: our script `benches/overload/grpcio_load.py`.

use std::fs;

use anyhow::Context as _;
use serde::Deserialize;

use super::offer::{Job, Offer, Offered, Outcome, quietly};
use crate::workspace;

/// A line of the script: a job, or the last one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Job { at: f64, late: f64, took: f64, code: String },
    Last { cpu: f64, unended: u64 },
}

pub(super) fn run(offer: &Offer<'_>) -> anyhow::Result<Offered> {
    let (python, site) = offer.rivals.and_then(|rivals| rivals.grpcio.as_ref()).context("there is no grpcio")?;
    let out = offer.scratch.join("grpcio.jsonl");
    let list = |words: Vec<String>| words.join(",");
    let mut command = python.command();
    // Its byte code would change the cache's folder.
    command.env("PYTHONPATH", site).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(workspace::root().join("benches/overload/grpcio_load.py"));
    command.args(["--servers", &list(offer.addresses.iter().map(ToString::to_string).collect())]);
    command.arg("--bodies").arg(&offer.bodies.wire).arg("--out").arg(&out);
    command.args(["--phases", &list(offer.phases.iter().map(|(rate, seconds)| format!("{rate}:{seconds}")).collect())]);
    command.args(["--deadline", &offer.deadline.as_secs_f64().to_string(), "--seed", &offer.seed.to_string()]);
    command.args(offer.tenant.map(|tenant| ["--tenant", tenant]).into_iter().flatten());
    quietly(&mut command, "grpcio_load.py", offer.pins)?;
    read(&fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?)
}

fn read(text: &str) -> anyhow::Result<Offered> {
    let mut offered = Offered::default();
    for line in text.lines() {
        match serde_json::from_str(line).with_context(|| format!("cannot read {line:?}"))? {
            Line::Job { at, late, took, code } => {
                offered.push(Job { at, late, took, outcome: Outcome::of(&code), chunks: 1.0 }, &code);
            }
            Line::Last { cpu, unended } => {
                offered.cpu = Some(cpu);
                anyhow::ensure!(unended == 0, "{unended} calls of grpcio never ended");
            }
        }
    }
    Ok(offered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_jobs_but_for_the_last() {
        let text = "{\"at\": 0.5, \"late\": 0.001, \"took\": 0.1, \"code\": \"OK\"}\n{\"at\": 1, \"late\": 0, \"took\": 1, \"code\": \"DEADLINE_EXCEEDED\"}\n{\"cpu\": 1.5, \"unended\": 0}\n";
        let offered = read(text).unwrap();
        let outcomes: Vec<_> = offered.jobs.iter().map(|job| job.outcome).collect();
        assert_eq!((outcomes, offered.cpu), (vec![Outcome::Answered, Outcome::Deadline], Some(1.5)));
        assert!(read("{\"cpu\": 1.5, \"unended\": 2}").is_err());
    }
}
