//! Tables of many runs: one function a question.
//!
//! | module | question |
//! |---|---|
//! | `large` | 1,000 servers: strategies, ablations, sensitivity, loads, client counts |
//! | `small` | 1 to 16 servers against sending the job whole |
//! | `capacity` | how many servers a load needs for a p99 |
//! | `long_texts` | texts that take longer than their tokens say |
//! | `faults` | each fault, on fleets of several sizes |
//! | `overload` | more work than can be done, from clients of every kind |
//! | `measure` | runs over seeds, pooled; no cell may pass its budget |
//! | `plot` | the pictures |
//!
//! Invariant: what a table shows depends on its arguments alone, whatever threads ran it.

mod capacity;
mod faults;
mod large;
mod long_texts;
mod measure;
mod overload;
mod plot;
mod small;

pub use capacity::{Capacity, MOST_SERVERS, Workload, capacity};
pub use faults::faults;
pub use large::{ablations, clients, every_way, large_fleet, loads, sensitivity, strategies, vast, vast_fleet};
pub use long_texts::{long_fleet, long_texts};
pub use measure::{Cell, Measured, RunBudget, StudyError, measure};
pub use overload::{
    Callers, FLEETS, LOADS, OverloadRow, Shape, Sweep, aims, fair, overload, overload_missed, overload_table,
};
pub use plot::{plot_loads, plot_tails};
pub use small::{small, small_fleet};

use crate::table::{ms, percent};

/// The columns that most tables have.
pub const HEADER: [&str; 10] =
    ["", "jobs", "p50 ms", "p99 ms", "p99.9 ms", "chunks", "extra sent", "extra run", "busy", "failed"];

/// The row of a cell.
#[must_use]
pub fn row(measured: &Measured) -> Vec<String> {
    let latencies = &measured.latencies;
    vec![
        measured.name.clone(),
        latencies.len().to_string(),
        ms(latencies.ms(0.5)),
        ms(latencies.ms(0.99)),
        ms(latencies.ms(0.999)),
        format!("{:.1}", measured.chunks_per_job),
        percent(measured.spent.extra()),
        percent(measured.extra_run),
        format!("{:.0}%", 100.0 * measured.busy),
        failed(measured),
    ]
}

/// Failed jobs, and why.
fn failed(measured: &Measured) -> String {
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    for (reason, count) in measured.runs.iter().flat_map(|run| &run.reasons) {
        *reasons.entry(reason).or_default() += count;
    }
    let words: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if words.is_empty() { "0".to_owned() } else { words.join(", ") }
}
