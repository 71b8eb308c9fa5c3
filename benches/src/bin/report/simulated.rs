//! A scenario in virtual time and by processes, and a fleet that only virtual time has.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use sortie_benches::report;
use sortie_lab::{
    Strategy,
    fault::{Fault, Incident},
    sim::{self, JobSizes, RunOutcome, Scenario},
    stats::quantile,
    study::{RunBudget, vast_fleet},
};
use xtask::report::data::{ReportCell, ReportTimes};

use crate::{
    cell::blank,
    fleet::{DEVICE, Offer, SERVERS, TimedFleet, rate},
    plan::{OfferedLoad, PlannedCell},
    tools::ReportTools,
    trouble::{SLOWER, STALL, STALL_EVERY, Trouble},
};

/// Runs of each side, in pairs.
const RUNS: u64 = 5;

/// Seconds that a run counts.
const SECONDS: f64 = 5.0;

/// Seconds before.
const WARM_UP: f64 = 2.0;

/// Time a job has.
const DEADLINE: Duration = Duration::from_secs(5);

/// How far apart the two may lie.
const ALLOWED: f64 = 0.15;

/// Virtual seconds of the vast fleet that count.
const VAST_SECONDS: f64 = 1.0;

/// Quantiles of one run.
#[derive(Clone, Copy, Debug, Default)]
struct RunTimes {
    p50: f64,
    p99: f64,
    jobs: u64,
    failed: u64,
}

/// Both sides of a scenario: processes first.
pub(crate) fn measure(cell: &PlannedCell, tools: &ReportTools) -> anyhow::Result<Vec<ReportCell>> {
    let seconds = (SECONDS * tools.part_of_time).max(1.0);
    let (mut processes, mut simulated) = (Vec::new(), Vec::new());
    for seed in 1..=RUNS {
        processes.push(by_processes(cell, seconds, seed, tools)?);
        simulated.push(in_virtual_time(cell, seconds, seed)?);
    }
    let of = |runs: &[RunTimes], what: fn(&RunTimes) -> f64| runs.iter().map(what).collect::<Vec<f64>>();
    let row = |system: &str, runs: &[RunTimes], note: String| {
        let nan = f64::NAN;
        let (p50, p99) = (quantile(&of(runs, |run| run.p50), 0.5), quantile(&of(runs, |run| run.p99), 0.5));
        ReportCell {
            system: system.to_owned(),
            jobs: runs.iter().map(|run| run.jobs).sum(),
            failed: runs.iter().map(|run| run.failed).sum(),
            ms: ReportTimes { mean: nan, p50, p99, p999: nan, all_p99: p99 },
            note,
            ..blank(cell)
        }
    };
    let theirs = of(&processes, |run| run.p99);
    let middle = quantile(&theirs, 0.5);
    let noise = theirs.iter().map(|p99| (p99 / middle - 1.0).abs()).fold(0.0, f64::max);
    let apart = quantile(&of(&simulated, |run| run.p99), 0.5) / middle - 1.0;
    let within = if apart.abs() <= ALLOWED.max(noise) { "within" } else { "NOT within" };
    let note = format!(
        "p99 {:+.0}% of the processes': {within} {:.0}%, or the {:.0}% by which those differ among themselves",
        100.0 * apart,
        100.0 * ALLOWED,
        100.0 * noise
    );
    Ok(vec![row("processes", &processes, String::new()), row("simulator", &simulated, note)])
}

fn by_processes(cell: &PlannedCell, seconds: f64, seed: u64, tools: &ReportTools) -> anyhow::Result<RunTimes> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let fleet = TimedFleet::start(tools, scratch.path())?;
    if let (Trouble::Slow, Some(first)) = (cell.trouble, fleet.servers.first()) {
        first.slow(SLOWER)?;
    }
    let mut arguments =
        Offer { work: cell.work, rate: rate(cell.work, cell.load), seconds, deadline: "5s" }.arguments();
    for fault in cell.trouble.faults(&fleet.servers, seconds) {
        arguments.extend(["--fault".to_owned(), fault.to_string()]);
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--seed") {
        arguments.splice(at..at + 2, ["--seed".to_owned(), seed.to_string()]);
    }
    arguments.extend(["--strategies".to_owned(), "sortie".to_owned(), "--endpoint".to_owned(), fleet.endpoints()]);
    let found = report::bench(&tools.programs.sortie, &arguments)?;
    let row = found.results.first().context("sortie bench printed no row")?;
    Ok(RunTimes { p50: row.latency_ms.p50, p99: row.all_ms.p99, jobs: row.jobs, failed: row.failed })
}

/// The same fleet, work and fault. What the simulator does not have is time of processors and sockets.
fn scenario(cell: &PlannedCell, seconds: f64, seed: u64) -> Scenario {
    let OfferedLoad::Share(share) = cell.load else { return Scenario::default() };
    let warm_up = Duration::from_secs_f64(WARM_UP);
    let end = warm_up + Duration::from_secs_f64(seconds);
    let items = cell.work.jobs().documents.mean() as usize;
    let mut incidents = Vec::new();
    match cell.trouble {
        Trouble::Slow => incidents.push(Incident::one(Duration::ZERO, 0, Fault::Pace(SLOWER))),
        Trouble::Stalls => {
            let mut at = warm_up + STALL_EVERY;
            while at < end {
                // Which one is chance in processes too.
                let server = (at.as_secs().wrapping_mul(7).wrapping_add(seed) % SERVERS as u64) as usize;
                incidents.push(Incident::one(at, server, Fault::Stall(STALL)));
                at += STALL_EVERY;
            }
        }
        _ => {}
    }
    // Load in the simulator is of endless batches, here of full ones.
    let endless = 1e6 / DEVICE.b_us;
    Scenario {
        servers: SERVERS,
        clients: 1,
        load: share * DEVICE.capacity() / endless,
        cost: sortie_dispatch::Cost { a_us: DEVICE.a_ms * 1e3, b_us: DEVICE.b_us },
        budget: u64::from(DEVICE.max_batch),
        noise: DEVICE.noise,
        sizes: JobSizes::LogNormal { job_tokens: cell.work.tokens() as u64, items },
        incidents,
        warm_up,
        end,
        deadline: DEADLINE,
        seed,
        strategy: Strategy::Sortie,
        ..Scenario::default()
    }
}

fn in_virtual_time(cell: &PlannedCell, seconds: f64, seed: u64) -> anyhow::Result<RunTimes> {
    let outcome = sim::run(&scenario(cell, seconds, seed))?;
    let at = |q| outcome.latencies.ms(q);
    Ok(RunTimes { p50: at(0.5), p99: at(0.99), jobs: outcome.latencies.len() as u64, failed: outcome.failed as u64 })
}

/// Ten thousand servers and a thousand clients, for as long as a run of minutes allows.
pub(crate) fn vast(cell: &PlannedCell, tools: &ReportTools) -> anyhow::Result<ReportCell> {
    let began = Instant::now();
    let seconds = VAST_SECONDS * tools.part_of_time;
    let scenario = vast_fleet(RunBudget { seeds: 1, seconds, jobs: 0, threads: 1 });
    let (servers, clients) = (scenario.servers, scenario.clients);
    let outcome: RunOutcome = sim::run(&scenario)?;
    let at = |q| outcome.latencies.ms(q);
    Ok(ReportCell {
        system: format!("simulator, {servers} servers and {clients} clients"),
        fault: "1% 4x slow, stalls".to_owned(),
        jobs: outcome.latencies.len() as u64,
        failed: outcome.failed as u64,
        ms: ReportTimes { mean: f64::NAN, p50: at(0.5), p99: at(0.99), p999: at(0.999), all_p99: at(0.99) },
        extra_percent: 100.0 * outcome.spent.extra(),
        note: format!(
            "{seconds} virtual seconds, {} million events in {:.0} s of one core",
            outcome.events / 1_000_000,
            began.elapsed().as_secs_f64()
        ),
        ..blank(cell)
    })
}
