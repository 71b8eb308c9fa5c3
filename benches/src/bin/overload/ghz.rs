//! ghz: an open loop at an even pace, without retries. One process a server, each with its share of the load, since it
//! balances by names only.
//!
//! Its own summary leaves failed calls out; what became of each call is in its details.

use std::{fs, net::SocketAddr, process::Command, thread};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::load::{JobResult, JobSample, LoadResult, LoadSpec, quietly};

/// The call.
const CALL: &str = "sortie.v1.EncoderService.Rerank";

/// Workers: with `--async` they do not wait for answers.
const WORKERS: &str = "8";

/// Connections, so that streams of one are not what is measured.
const CONNECTIONS: &str = "4";

#[derive(Deserialize)]
struct GhzReport {
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    /// When the call ended, as RFC 3339.
    timestamp: String,
    /// Nanoseconds.
    latency: f64,
    status: String,
}

pub(super) fn run(spec: &LoadSpec<'_>) -> anyhow::Result<LoadResult> {
    let ghz = spec.rivals.and_then(|rivals| rivals.ghz.as_ref()).context("there is no ghz")?;
    let &[(rate, seconds)] = spec.phases.as_slice() else { bail!("ghz has one phase") };
    // Whole calls a second, and one at least.
    let each = (rate / spec.addresses.len() as f64).round().max(1.0);
    let one = |address: &SocketAddr| -> anyhow::Result<String> {
        let out = spec.scratch.join(format!("ghz-{}.json", address.port()));
        let mut command = Command::new(ghz);
        command.args(["--insecure", "--async", "--call", CALL, "--format", "json", "--duration-stop", "wait"]);
        command.args([
            "--concurrency",
            WORKERS,
            "--connections",
            CONNECTIONS,
            "--cpus",
            &spec.pins.load.count().to_string(),
        ]);
        command.args(["--rps", &each.to_string(), "--duration", &format!("{}ms", (seconds * 1e3) as u64)]);
        command.args(["--timeout", &format!("{}ms", spec.deadline.as_millis())]);
        command.arg("--data-file").arg(&spec.bodies.array).arg("--output").arg(&out);
        if let Some(tenant) = spec.tenant {
            command.args(["--metadata", &serde_json::json!({ "sortie-tenant": tenant }).to_string()]);
        }
        command.arg(address.to_string());
        quietly(&mut command, "ghz", spec.pins)?;
        fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))
    };
    let texts: Vec<anyhow::Result<String>> = thread::scope(|scope| {
        let threads: Vec<_> = spec.addresses.iter().map(|address| scope.spawn(move || one(address))).collect();
        let gone = |_| Err(anyhow::anyhow!("the thread of ghz is gone"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(gone)).collect()
    });
    let mut result = LoadResult::default();
    for text in texts {
        read(&text?, &mut result)?;
    }
    Ok(result)
}

fn read(text: &str, result: &mut LoadResult) -> anyhow::Result<()> {
    let report: GhzReport = serde_json::from_str(text).context("cannot read what ghz wrote")?;
    let begin = |detail: &Detail| {
        let end = seconds(&detail.timestamp).with_context(|| format!("{:?} is no time", detail.timestamp))?;
        Ok(end - detail.latency / 1e9)
    };
    let begins: Vec<f64> = report.details.iter().map(begin).collect::<anyhow::Result<_>>()?;
    let first = begins.iter().copied().fold(f64::INFINITY, f64::min);
    for (detail, begin) in report.details.iter().zip(begins) {
        let (at, took) = (begin - first, detail.latency / 1e9);
        let job = JobSample { at, late: 0.0, took, outcome: JobResult::of(&detail.status), chunks: 1.0 };
        result.push(job, &detail.status);
    }
    Ok(())
}

/// Seconds of the day of `2026-11-29T17:20:01.5Z` and the like; a run over midnight is wrong by a day.
fn seconds(timestamp: &str) -> Option<f64> {
    let time = timestamp.split_once('T')?.1;
    let time = time.split(['Z', '+']).next()?;
    let time = time.split_once('-').map_or(time, |(time, _)| time);
    let mut parts = time.split(':').map(str::parse::<f64>);
    let mut next = || parts.next()?.ok();
    Some(next()? * 3_600.0 + next()? * 60.0 + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_jobs() {
        let text = r#"{"count": 2, "details": [
            {"timestamp": "2026-11-29T17:20:01.5Z", "latency": 100000000, "error": "", "status": "OK"},
            {"timestamp": "2026-11-29T17:20:02.25+01:00", "latency": 2000000, "error": "no", "status": "ResourceExhausted"}]}"#;
        let mut result = LoadResult::default();
        read(text, &mut result).unwrap();
        let [first, second] = result.jobs.as_slice() else { panic!("{result:?}") };
        assert_eq!((first.outcome, second.outcome), (JobResult::Answered, JobResult::Refused));
        assert!((second.at - 0.848).abs() < 1e-9 && (first.took - 0.1).abs() < 1e-9, "{result:?}");
        assert_eq!(seconds("nothing"), None);
    }
}
