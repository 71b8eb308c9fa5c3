//! Ours beside others: foreign retriers of another tenant, and what is left of a flood of them once it is over.

use std::{fmt::Write as _, thread};

use anyhow::Context as _;

use sortie_lab::{stats::quantile, study::fair};

use crate::{
    device::BenchFleet,
    generator,
    load::{JobResult, JobSample, LoadGenerator, LoadResult, LoadSpec},
};

/// Share of the jobs that are the others'.
const FOREIGN: f64 = 0.3;

/// The flood: its load and seconds, then the load after it and for how long.
const FLOOD: (f64, f64) = (8.0, 30.0);
const AFTER: (f64, f64) = (0.5, 8.0);

/// The tenant of the others.
const TENANT: &str = "foreign";

/// Ours beside foreign retriers.
#[derive(Debug, serde::Serialize)]
pub(super) struct MixedClients {
    pub(super) device: &'static str,
    pub(super) servers: usize,
    pub(super) load: f64,
    /// Goodput over capacity.
    pub(super) ours: f64,
    pub(super) theirs: f64,
    /// Our fair part: all we ask for, what the others leave, or half.
    pub(super) fair: f64,
}

/// p99 by second after a flood, beside that of a run without one; milliseconds.
#[derive(Debug, serde::Serialize)]
pub(super) struct Recovery {
    pub(super) device: &'static str,
    pub(super) servers: usize,
    pub(super) seconds: Vec<(f64, f64)>,
}

impl Recovery {
    /// p99 of the plain run: its seconds' median, since single ones hold few jobs.
    pub(super) fn plain_ms(&self) -> f64 {
        quantile(&self.seconds.iter().map(|(_, plain)| *plain).collect::<Vec<_>>(), 0.5)
    }
}

/// Runs both at once.
pub(super) fn mixed_clients(
    fleet: &BenchFleet,
    base: &LoadSpec<'_>,
    load: f64,
    window: (f64, f64),
) -> anyhow::Result<MixedClients> {
    let (warm, seconds) = window;
    let total = warm + seconds + base.deadline.as_secs_f64();
    let rate = load * fleet.capacity;
    let spec = |by, share: f64, tenant| LoadSpec {
        by,
        addresses: base.addresses.clone(),
        phases: vec![(rate * share, total)],
        tenant,
        ..*base
    };
    let (ours, theirs) =
        (spec(LoadGenerator::Sortie, 1.0 - FOREIGN, None), spec(LoadGenerator::Grpcio, FOREIGN, Some(TENANT)));
    let (ours, theirs) = thread::scope(|scope| {
        let theirs = scope.spawn(|| generator::run(&theirs));
        let ours = generator::run(&ours);
        let gone = |_| Err(anyhow::anyhow!("the other generator is gone"));
        (ours, theirs.join().unwrap_or_else(gone))
    });
    let goodput = |result: &LoadResult| {
        let in_time = |job: &&JobSample| {
            job.outcome == JobResult::Answered
                && job.took <= base.deadline.as_secs_f64()
                && (warm..warm + seconds).contains(&job.at)
        };
        result.jobs.iter().filter(in_time).count() as f64 / seconds / fleet.capacity
    };
    let (ours, theirs) = (goodput(&ours?), goodput(&theirs?));
    let fair = fair(load, 1.0 - FOREIGN);
    Ok(MixedClients { device: fleet.device.name(), servers: fleet.servers.len(), load, ours, theirs, fair })
}

/// Floods, lets the load fall, and looks at the seconds after.
pub(super) fn recovery(fleet: &BenchFleet, base: &LoadSpec<'_>) -> anyhow::Result<Recovery> {
    let rate = |load: f64| load * fleet.capacity;
    let flood = (rate(FLOOD.0), FLOOD.1);
    let after = (rate(AFTER.0), AFTER.1);
    let run = |phases: Vec<(f64, f64)>| {
        generator::run(&LoadSpec { by: LoadGenerator::Grpcio, addresses: base.addresses.clone(), phases, ..*base })
    };
    // The plain run has as long to settle as the other has to forget.
    let (flooded, plain) = (run(vec![flood, after])?, run(vec![(rate(AFTER.0), 3.0), after])?);
    let by_second = |result: &LoadResult, from: f64, second: f64| {
        let deadline = base.deadline.as_secs_f64();
        let jobs = result.jobs.iter().filter(|job| (from + second..from + second + 1.0).contains(&job.at));
        // A failed job took all of its time at least.
        let took = |job: &JobSample| if job.outcome == JobResult::Answered { job.took } else { job.took.max(deadline) };
        quantile(&jobs.map(took).collect::<Vec<_>>(), 0.99) * 1e3
    };
    let seconds = (0..AFTER.1 as usize).map(|second| {
        let second = second as f64;
        (by_second(&flooded, FLOOD.1, second), by_second(&plain, 3.0, second))
    });
    Ok(Recovery { device: fleet.device.name(), servers: fleet.servers.len(), seconds: seconds.collect() })
}

/// Both tables.
pub(super) fn tables(mixed: &[MixedClients], recoveries: &[Recovery]) -> anyhow::Result<String> {
    let mut text = String::new();
    if !mixed.is_empty() {
        writeln!(
            text,
            "\n{:.0}% of the load by grpcio with retries, as another tenant (a share is fair if it is all that was asked for, what the others leave, or half):\n\n\
             | | load | ours ÷ capacity | theirs | our fair part | ours ÷ fair |\n| --- | ---: | ---: | ---: | ---: | ---: |",
            FOREIGN * 100.0
        )?;
        for MixedClients { device, servers, load, ours, theirs, fair } in mixed {
            writeln!(
                text,
                "| {device}, N {servers} | {load} | {ours:.3} | {theirs:.3} | {fair:.3} | {:.2} |",
                ours / fair
            )?;
        }
    }
    let longest = recoveries.iter().map(|recovery| recovery.seconds.len()).max().unwrap_or_default();
    if longest > 0 {
        let head: String = (1..=longest).map(|second| format!(" {second} |")).collect();
        let line = " ---: |".repeat(longest);
        writeln!(
            text,
            "\np99 in ms by second after {:.0} s at {}x by grpcio with retries, then {} of capacity, beside {} alone:\n\n| second |{head}\n| --- |{line}",
            FLOOD.1, FLOOD.0, AFTER.0, AFTER.0
        )?;
        for Recovery { device, servers, seconds } in recoveries {
            for (name, of) in [("after the flood", 0), ("alone", 1)] {
                let cells: String = seconds.iter().map(|pair| format!(" {:.0} |", [pair.0, pair.1][of])).collect();
                writeln!(text, "| {device}, N {servers}, {name} |{cells}")?;
            }
        }
    }
    Some(text).context("no text")
}
