//! 1 to 16 servers, against sending the whole job to the least loaded one: design's row 6b.
//!
//! Load is a share of what the fleet runs in full batches of [`DEFAULT_BUDGET`], `B ÷ (a + b·B)` tokens a second a
//! server: what servers report as their rate. ([`Scenario::load`] leaves `a` out.)
//!
//! Invariant: both ways meet the same jobs at the same times.

use std::time::Duration;

use sortie_dispatch::Cost;

use super::{Cell, Measured, RunBudget, StudyError, measure};
use crate::{
    Strategy,
    sim::{DEFAULT_BUDGET, JobSizes, Scenario},
};

/// Fleets.
const FLEETS: [usize; 5] = [1, 2, 4, 8, 16];

/// Shares of what the fleet runs in full batches.
const LOADS: [f64; 3] = [0.2, 0.5, 0.75];

/// Tokens and items of jobs.
const JOBS: [(u64, usize); 3] = [(1_600, 10), (32_000, 200), (160_000, 1_000)];

/// Costs by name: a 6-layer and a 12-layer encoder on a data-centre GPU.
const COSTS: [(&str, Cost); 2] =
    [("MiniLM", Cost { a_us: 500.0, b_us: 0.13 }), ("base", Cost { a_us: 1_000.0, b_us: 0.46 })];

/// Nothing may be slower than the whole job by more than this.
const NEVER_WORSE: f64 = 1.05;

/// A small fleet, run for so many jobs.
#[must_use]
pub fn small_fleet(servers: usize, clients: usize, load: f64, cost: Cost, job: (u64, usize), jobs: u64) -> Scenario {
    let sizes = JobSizes::Even { job_tokens: job.0, items: job.1 };
    let mut scenario = Scenario { servers, clients, load, cost, sizes, ..Scenario::default() };
    let gap = scenario.mean_gap();
    let many = |jobs: u64| gap.saturating_mul(u32::try_from(jobs).unwrap_or(u32::MAX));
    scenario.warm_up = many(jobs / 10).max(Duration::from_secs(1));
    scenario.end = scenario.warm_up + many(jobs.max(1));
    scenario
}

/// Every cell of the row: a markdown table of how many times sooner jobs end than when they are sent
/// whole, at p50 and p99, and the cells in which they end later than allowed.
///
/// # Errors
///
/// As [`measure`].
pub fn small(clients: usize, run_budget: RunBudget) -> Result<(String, Vec<String>), StudyError> {
    let mut cells = Vec::new();
    for (name, cost) in COSTS {
        for job in JOBS {
            for servers in FLEETS {
                for load in LOADS {
                    for strategy in [Strategy::WholeJob, Strategy::Sortie] {
                        let scenario =
                            small_fleet(servers, clients, load * full_batches(cost), cost, job, run_budget.jobs);
                        let name = format!("{name}, {} k, N {servers}, load {load}", job.0 as f64 / 1e3);
                        cells.push(Cell::new(name, Scenario { strategy, ..scenario }));
                    }
                }
            }
        }
    }
    let measured = measure(cells, run_budget)?;
    let mut missed = Vec::new();
    let rows = measured.chunks(2 * LOADS.len()).map(|cells| {
        let name = cells.first().map_or("", |cell| cell.name.rsplit_once(", ").map_or("", |(name, _)| name));
        let mut row = vec![name.to_owned()];
        for pair in cells.chunks(2) {
            if let [whole, sortie] = pair {
                row.push(compare(whole, sortie, &mut missed));
            }
        }
        row
    });
    let rows: Vec<_> = rows.collect();
    let header: Vec<String> = LOADS.iter().map(|load| format!("load {load}: p50, p99 (chunks)")).collect();
    let mut names = vec!["times sooner than the whole job"];
    names.extend(header.iter().map(String::as_str));
    Ok((crate::table::markdown(&names, rows), missed))
}

/// The rate in full batches, as a share of a rate without any cost of a batch.
fn full_batches(cost: Cost) -> f64 {
    let tokens = cost.b_us * DEFAULT_BUDGET as f64;
    tokens / (cost.a_us + tokens)
}

fn compare(whole: &Measured, sortie: &Measured, missed: &mut Vec<String>) -> String {
    let ratio = |q: f64| whole.latencies.ms(q) / sortie.latencies.ms(q).max(1e-9);
    let ratios = [ratio(0.5), ratio(0.99)];
    for (ratio, q) in ratios.into_iter().zip(["p50", "p99"]) {
        if ratio * NEVER_WORSE < 1.0 {
            missed.push(format!("{}: {q} {:.2} times the whole job's", sortie.name, 1.0 / ratio));
        }
    }
    format!("{:.2}, {:.2} ({:.1})", ratios[0], ratios[1], sortie.chunks_per_job)
}
