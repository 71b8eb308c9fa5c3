//! A row of a client in Python that cuts by count: `benches/rivals/splitter.py`, offered the same kind of jobs by the same
//! kind of open loop.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use rand::{SeedableRng as _, rngs::StdRng};
use serde::Deserialize;
use sortie_benches::report;
use sortie_lab::{arrivals::exponential, stats::quantile};
use xtask::{
    process::{self, Keep},
    report::data::{ReportCell, ReportTimes},
    workspace,
};

use crate::{
    cell::blank,
    fleet::{TimedFleet, WARM_UP, write},
    plan::PlannedCell,
    tools::ReportTools,
};

/// What runs it.
const PROGRAM: &str = "benches/rivals/splitter.py";

/// Documents of a chunk: TEI's most, and what `sortie bench` cuts by.
const CHUNK: usize = 32;

/// Jobs that come in turn: reading more would take the client's own time.
const JOBS: usize = 48;

/// Seconds that a job has.
const PATIENCE: f64 = 5.0;

/// Shares of jobs whose latency is kept for a picture.
const CURVE: [f64; 8] = [0.1, 0.5, 0.8, 0.9, 0.95, 0.99, 0.995, 1.0];

#[derive(Deserialize)]
struct SplitLine {
    latency_ms: f64,
    late_ms: f64,
    outcome: String,
}

/// Measures a row through a proxy.
pub(crate) fn measure(
    cell: &PlannedCell,
    kind: &str,
    (fleet, address): (&TimedFleet, SocketAddr),
    (rate, seconds): (f64, f64),
    (tools, scratch): (&ReportTools, &Path),
) -> anyhow::Result<ReportCell> {
    let [plain, jobs, moments] = ["plain.jsonl", "jobs.jsonl", "moments"].map(|name| scratch.join(name));
    write(&plain, &lines(cell))?;
    reference(&plain, &jobs, fleet, tools)?;
    let warm_up = WARM_UP;
    write(&moments, &times(rate, warm_up + seconds))?;
    let mut command = tools.splitters()?.python();
    command.arg(workspace::root().join(PROGRAM)).args([kind, &format!("http://{address}"), &CHUNK.to_string()]);
    command.arg(&jobs).arg(&moments).args([warm_up.to_string(), PATIENCE.to_string()]);
    let out = process::output(&mut command, PROGRAM, Keep::Both)?;
    if !out.status.success() {
        bail!("{PROGRAM} failed ({}): {}", out.status, out.stderr.trim());
    }
    let lines = out
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<SplitLine>(line).context("the splitter printed something else"));
    Ok(cell_of(blank(cell), &lines.collect::<anyhow::Result<Vec<_>>>()?, seconds))
}

/// The jobs with the scores that the servers give to whole ones.
fn reference(plain: &Path, jobs: &Path, fleet: &TimedFleet, tools: &ReportTools) -> anyhow::Result<()> {
    let mut seconds = 2;
    loop {
        let text = format!("--closed 2 --duration {seconds}s --warm-up 0s --strategies whole --deadline 20s");
        let mut arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
        arguments.extend(["--jobs".to_owned(), plain.display().to_string()]);
        arguments.extend(["--save-reference".to_owned(), jobs.display().to_string()]);
        arguments.extend(["--endpoint".to_owned(), fleet.endpoints()]);
        report::bench(&tools.programs.sortie, &arguments)?;
        let saved = fs::read_to_string(jobs).context("no reference was written")?;
        if saved.lines().all(|line| line.contains("\"scores\"")) {
            return Ok(());
        }
        // A busy machine: not every job had its turn.
        seconds *= 2;
        anyhow::ensure!(seconds < 120, "the servers do not answer every job");
    }
}

/// Sums lines up.
fn cell_of(cell: ReportCell, lines: &[SplitLine], seconds: f64) -> ReportCell {
    let answered: Vec<f64> = lines.iter().filter(|line| line.outcome == "OK").map(|line| line.latency_ms).collect();
    let counted =
        |line: &SplitLine| if line.outcome == "OK" { line.latency_ms } else { line.latency_ms.max(PATIENCE * 1e3) };
    let all: Vec<f64> = lines.iter().map(counted).collect();
    let late: Vec<f64> = lines.iter().map(|line| line.late_ms).collect();
    let mut reasons = std::collections::BTreeMap::new();
    for line in lines.iter().filter(|line| line.outcome != "OK") {
        *reasons.entry(line.outcome.clone()).or_insert(0) += 1;
    }
    let short = |ms: f64| (ms * 1e3).round() / 1e3;
    let at = |q| short(quantile(&answered, q));
    ReportCell {
        jobs: lines.len() as u64,
        failed: (lines.len() - answered.len()) as u64,
        ms: ReportTimes {
            mean: short(answered.iter().sum::<f64>() / answered.len() as f64),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            all_p99: short(quantile(&all, 0.99)),
        },
        per_second: short(answered.len() as f64 / seconds),
        wrong_documents: reasons.get("WRONG_SCORE").copied().unwrap_or(0)
            + reasons.get("MISSING_SCORE").copied().unwrap_or(0),
        late_p99_ms: short(quantile(&late, 0.99)),
        curve: CURVE.iter().filter(|_| !answered.is_empty()).map(|&q| (q, at(q))).collect(),
        reasons,
        ..cell
    }
}

/// The jobs, one JSON value a line.
fn lines(cell: &PlannedCell) -> String {
    let (shape, mut random) = (cell.work.jobs(), StdRng::seed_from_u64(7));
    let mut job = |n: usize| {
        let count = shape.documents.draw(&mut random);
        let mut document = |m: u64| {
            let mut text = format!("document {m} of job {n} ");
            let bytes = shape.bytes.draw(&mut random) as usize;
            text.extend(std::iter::repeat_n("words ", bytes / 6));
            text.truncate(bytes.max(1));
            text
        };
        let documents: Vec<String> = (0..count).map(&mut document).collect();
        format!("{}\n", serde_json::json!({"query": "what is measured here, again", "documents": documents}))
    };
    (0..JOBS).map(&mut job).collect()
}

/// Moments of a Poisson stream in milliseconds, one a line.
fn times(rate: f64, seconds: f64) -> String {
    let (mut random, mut at, mut text) = (StdRng::seed_from_u64(1), Duration::ZERO, String::new());
    let mean = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
    loop {
        at = at.saturating_add(exponential(mean, &mut random));
        if at.as_secs_f64() >= seconds {
            return text;
        }
        text += &format!("{}\n", at.as_secs_f64() * 1e3);
    }
}
