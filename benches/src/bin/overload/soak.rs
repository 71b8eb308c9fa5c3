//! `cargo xtask bench overload --soak`: ten minutes at one and a half times what a server can do, with callers that go
//! away.
//!
//! What it should show: nothing grows. Memory, threads and open files of the last quarter are those of the second.

use std::{net::Ipv4Addr, path::Path, thread, time::Duration};

use anyhow::Context as _;

use sortie_benches::{
    jobs::Jobs,
    report::{self, cell},
    samples::{Sample, Sampler},
    timed::{Programs, TimedDevice, TimedServer},
};
use sortie_lab::bench::StrategyRow;

/// Load, and the share of jobs that callers give up.
const SOAK: (f64, f64) = (1.5, 0.3);

/// How long at least.
const SECONDS: u64 = 600;

/// Time a job has: fifteen full batches.
const DEADLINE_MS: u64 = 300;

/// Between a run and the look at what it left behind: connections of a client that is gone are closed by then.
const SETTLE: Duration = Duration::from_millis(500);

/// Runs it before this device and prints a Markdown table.
pub(super) fn run(programs: &Programs, device: &TimedDevice, seconds: u64, scratch: &Path) -> anyhow::Result<()> {
    let seconds = seconds.max(SECONDS);
    let capacity = device.capacity();
    println!(
        "\nOne server over a timed device (a {} ms, b {} µs, batches of {} tokens: {capacity:.0} tokens/s), jobs of about \
         {:.0} tokens with a deadline of {DEADLINE_MS} ms, {seconds} s\n\n{HEADER}",
        device.a_ms,
        device.b_us,
        device.max_batch,
        Jobs::SMALL.tokens(),
    );
    let server = TimedServer::start(programs, device, "soak", (Ipv4Addr::LOCALHOST, 0), scratch)?;
    let (load, cancel) = SOAK;
    let rate = load * capacity / Jobs::SMALL.tokens();
    println!("| {load} | {}", one(programs, &server, rate, cancel, seconds, capacity)?);
    Ok(())
}

/// Columns of the table.
const HEADER: &str = "| load | given up % | jobs | goodput ÷ capacity | p50 ms | p99 ms | refused % | refusal p99 ms | \
    other failures | memory MiB, 2nd → 4th quarter (peak) | threads, same | open files before → after |\n\
    | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- | --- | --- |";

/// One run; the rest of its line.
fn one(
    programs: &Programs,
    server: &TimedServer,
    rate: f64,
    cancel: f64,
    seconds: u64,
    capacity: f64,
) -> anyhow::Result<String> {
    let pid = server.pid().context("the server has no process id")?;
    let before = Sample::of(pid).unwrap_or_default();
    let mut arguments = vec!["--rate".to_owned(), rate.to_string()];
    arguments.extend(Jobs::SMALL.arguments());
    let more = format!(
        "--strategies whole --retries 0 --warm-up 5s --duration {seconds}s --deadline {DEADLINE_MS}ms --cancel {cancel} \
         --cancel-within {DEADLINE_MS}ms --endpoint http://{}",
        server.address
    );
    arguments.extend(more.split(' ').map(str::to_owned));
    let sampler = Sampler::start(pid);
    let report = report::bench(&programs.sortie, &arguments)?;
    let samples = sampler.finish();
    thread::sleep(SETTLE);
    let after = Sample::of(pid).unwrap_or_default();
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

fn figures(row: &StrategyRow, capacity: f64) -> String {
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
        cell(row.goodput_tokens_per_second / capacity, 3),
        cell(row.latency_ms.p50, 1),
        cell(row.latency_ms.p99, 1),
        refused as f64 * 100.0 / row.jobs.max(1) as f64,
        cell(refusal.map_or(f64::NAN, |f| f.after_ms.p99), 2),
        if others.is_empty() { "0".to_owned() } else { others.join(", ") },
    )
}
