//! `cargo xtask bench overload`: one server, offered 0.5 to 3 times what it can do.
//!
//! Capacity is that of full batches, `max_batch / (a + b·max_batch)`. Jobs go whole to the one server by a client that
//! neither hedges nor retries, so that every refusal is seen. What it should show: at and above capacity the device is
//! never idle, what was admitted is answered in time, refusals come at once, and nothing grows.

use std::{net::Ipv4Addr, path::Path, thread, time::Duration};

use anyhow::Context as _;

use super::{
    jobs::Jobs,
    loader::{self, Report, Row, cell},
    samples::{Sample, Sampler},
    timed::{self, Programs, Server, Shape},
};
use crate::{cache::Cache, models};

/// Loads offered, and the share of jobs that callers give up.
const RUNS: [(f64, f64); 6] = [(0.5, 0.0), (0.9, 0.0), (1.0, 0.0), (1.5, 0.0), (3.0, 0.0), (1.5, 0.3)];

/// The load of the soak.
const SOAK: (f64, f64) = (1.5, 0.3);

/// A mid-sized device, slow enough that two cores serve three times its load without being the measure of it.
const DEVICE: Shape = Shape { a_ms: 1.0, b_us: 4.6, noise: 0.0, max_batch: 4_096 };

/// Time a job has: fifteen full batches.
const DEADLINE_MS: u64 = 300;

/// Time a job has on the real model, where a batch takes about as long as five of the device's above.
const MODEL_DEADLINE_MS: u64 = 3_000;

/// Batch of the real model: the server's default on a CPU.
const MODEL_BATCH: u32 = 1_024;

/// Between a run and the look at what it left behind: connections of a client that is gone are closed by then.
const SETTLE: Duration = Duration::from_millis(500);

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds each load is measured
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Only one load, 1.5 with 30% of jobs given up, for ten minutes (or --seconds, if that is more)
    #[arg(long)]
    soak: bool,
    /// Leave the real model on the CPU out
    #[arg(long)]
    no_model: bool,
    #[command(flatten)]
    build: timed::Build,
}

/// Runs it and prints a Markdown table.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let programs = timed::build(&args.build)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let capacity = DEVICE.capacity();
    println!(
        "\nOne server over a timed device (a {} ms, b {} µs, batches of {} tokens: {capacity:.0} tokens/s), jobs of about \
         {:.0} tokens with a deadline of {DEADLINE_MS} ms, {} s a row, {}\n",
        DEVICE.a_ms,
        DEVICE.b_us,
        DEVICE.max_batch,
        Jobs::SMALL.tokens(),
        if args.soak { args.seconds.max(600) } else { args.seconds },
        args.build,
    );
    println!("{HEADER}");
    let server = Server::start(&programs, &DEVICE, "overload", (Ipv4Addr::LOCALHOST, 0), scratch.path())?;
    let runs: &[(f64, f64)] = if args.soak { &[SOAK] } else { &RUNS };
    for &(load, cancel) in runs {
        let seconds = if args.soak { args.seconds.max(600) } else { args.seconds };
        let rate = load * capacity / Jobs::SMALL.tokens();
        let arguments = ["--rate".to_owned(), format!("{rate}")];
        let line = one(&programs, &server, &arguments, cancel, DEADLINE_MS, seconds, Some(capacity))?;
        println!("| {load} | {line}");
    }
    drop(server);
    if !args.no_model && !args.soak {
        println!("{}", model(&programs, args.seconds, scratch.path())?);
    }
    Ok(())
}

/// Columns of the table.
const HEADER: &str = "| load | given up % | jobs | goodput ÷ capacity | p50 ms | p99 ms | refused % | refusal p99 ms | \
    other failures | memory MiB, 2nd → 4th quarter (peak) | threads, same | open files before → after |\n\
    | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- | --- | --- |";

/// The real model, at one and a half times the rate it reports.
fn model(programs: &Programs, seconds: u64, scratch: &Path) -> anyhow::Result<String> {
    let cache = Cache::open()?;
    let folder = models::ensure(&cache, "reranker")?;
    drop(cache);
    let spec = format!("reranker={}", folder.display());
    let server = Server::start_model(programs, &spec, MODEL_BATCH, "model", (Ipv4Addr::LOCALHOST, 0), scratch)?;
    let arguments = ["--load".to_owned(), "1.5".to_owned()];
    let line = one(programs, &server, &arguments, 0.0, MODEL_DEADLINE_MS, seconds, None)?;
    Ok(format!("| 1.5, MiniLM on this CPU, deadline {MODEL_DEADLINE_MS} ms | {line}"))
}

/// One run; the rest of its line.
fn one(
    programs: &Programs,
    server: &Server,
    load: &[String],
    cancel: f64,
    deadline_ms: u64,
    seconds: u64,
    capacity: Option<f64>,
) -> anyhow::Result<String> {
    let pid = server.pid().context("the server has no process id")?;
    let before = Sample::of(pid).unwrap_or_default();
    let mut arguments = load.to_vec();
    arguments.extend(Jobs::SMALL.arguments());
    let more = format!(
        "--strategies whole --retries 0 --warm-up 5s --duration {seconds}s --deadline {deadline_ms}ms --cancel {cancel} \
         --cancel-within {deadline_ms}ms --endpoint http://{}",
        server.address
    );
    arguments.extend(more.split(' ').map(str::to_owned));
    let sampler = Sampler::start(pid);
    let report = loader::bench(&programs.sortie, &arguments)?;
    let samples = sampler.finish();
    thread::sleep(SETTLE);
    let after = Sample::of(pid).unwrap_or_default();
    let capacity = capacity.or_else(|| report.capacity());
    let row = report.results.first().context("sortie bench measured nothing")?;
    let (memory, threads) = (samples.quarters(|s| s.memory), samples.quarters(|s| s.threads));
    Ok(format!(
        "{:.0} | {} | {:.0} → {:.0} ({:.0}) | {:.0} → {:.0} ({:.0}) | {} → {} |",
        cancel * 100.0,
        figures(row, capacity),
        memory.0,
        memory.1,
        samples.most(|s| s.memory),
        threads.0,
        threads.1,
        samples.most(|s| s.threads),
        before.files,
        after.files,
    ))
}

/// Reasons that mean a refusal at the door.
const REFUSALS: [&str; 1] = ["RESOURCE_EXHAUSTED"];

fn figures(row: &Row, capacity: Option<f64>) -> String {
    let refusal = row.reasons.iter().find(|(reason, _)| REFUSALS.contains(&reason.as_str())).map(|(_, f)| f);
    let refused = refusal.map_or(0, |f| f.jobs);
    let others: Vec<String> = row
        .reasons
        .iter()
        .filter(|(reason, _)| !REFUSALS.contains(&reason.as_str()))
        .map(|(reason, f)| format!("{reason} {}", f.jobs))
        .collect();
    format!(
        "{} | {} | {} | {} | {:.1} | {} | {}",
        row.jobs + row.cancelled,
        cell(capacity.map(|capacity| row.goodput_tok_s / capacity), 3),
        cell(row.latency_ms.p50, 1),
        cell(row.latency_ms.p99, 1),
        refused as f64 * 100.0 / row.jobs.max(1) as f64,
        cell(refusal.and_then(|f| f.after_ms.p99), 2),
        if others.is_empty() { "0".to_owned() } else { others.join(", ") },
    )
}

impl Report {
    /// Tokens a second that the servers said they can do.
    fn capacity(&self) -> Option<f64> {
        self.setting.load.map(|load| self.setting.rate * self.setting.tokens_per_job / load)
    }
}
