//! Runs over seeds, pooled.
//!
//! Invariant: no cell passes its budget: what hedges and paid retries took beyond what every client's
//! budget allows is an error, not a number in a table.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::{
    sim::{RunOutcome, Scenario, ScenarioError, run},
    stats::{LatencySamples, Spent},
};

/// How much is run for a cell.
#[derive(Clone, Copy, Debug)]
pub struct RunBudget {
    /// Seeds, from 1.
    pub seeds: u64,
    /// Virtual seconds that are counted of each run; small fleets count jobs instead.
    pub seconds: f64,
    /// Jobs that are counted of each run of a small fleet.
    pub jobs: u64,
    /// Runs at a time.
    pub threads: usize,
}

/// One cell of a table.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// What is run, whatever its seed.
    pub scenario: Scenario,
}

impl Cell {
    /// A cell.
    pub fn new(name: impl Into<String>, scenario: Scenario) -> Self {
        Self { name: name.into(), scenario }
    }
}

/// What came of a cell, all seeds together.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Of all seeds.
    pub latencies: LatencySamples,
    /// p99 of each seed, in milliseconds.
    pub p99s: Vec<f64>,
    /// First attempts a job.
    pub chunks_per_job: f64,
    /// Tokens sent, by kind.
    pub spent: Spent,
    /// Tokens that servers ran beyond the jobs', as a share.
    pub extra_run: f64,
    /// Share of the time that devices were at work.
    pub busy: f64,
    /// Jobs that failed.
    pub failed: usize,
    /// Events that happened.
    pub events: u64,
    /// What came of each seed's run.
    pub runs: Vec<RunOutcome>,
}

/// A study that does not stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// A scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Hedges and retries took more than they may.
    #[error("{cell}, seed {seed}: hedges and retries took {tokens} tokens more than their budget")]
    Overspent {
        /// The cell.
        cell: String,
        /// The seed.
        seed: u64,
        /// Tokens beyond the budget.
        tokens: u64,
    },
}

/// Runs every cell over every seed.
///
/// # Errors
///
/// If a scenario makes no sense or a client spent more than its budget.
pub fn measure(cells: Vec<Cell>, run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    let seeds = run_budget.seeds.max(1);
    let tasks: Vec<(usize, u64)> =
        (0..cells.len()).flat_map(|cell| (1..=seeds).map(move |seed| (cell, seed))).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(tasks.len()));
    std::thread::scope(|scope| {
        for _ in 0..run_budget.threads.clamp(1, tasks.len().max(1)) {
            scope.spawn(|| {
                while let Some(&(place, seed)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some(cell) = cells.get(place) else { return };
                    let result = run(&Scenario { seed, ..cell.scenario.clone() });
                    results.lock().push((place, seed, result));
                }
            });
        }
    });
    let mut results = results.into_inner();
    results.sort_by_key(|(place, seed, _)| (*place, *seed));
    let mut measured: Vec<Measured> =
        cells.into_iter().map(|cell| Measured { name: cell.name, ..Measured::default() }).collect();
    for (place, seed, result) in results {
        let Some(cell) = measured.get_mut(place) else { continue };
        let outcome = result?;
        if outcome.overspent > 0 {
            return Err(StudyError::Overspent { cell: cell.name.clone(), seed, tokens: outcome.overspent });
        }
        cell.take(outcome, seeds);
    }
    Ok(measured)
}

impl Measured {
    fn take(&mut self, mut outcome: RunOutcome, seeds: u64) {
        let share = 1.0 / seeds as f64;
        self.p99s.push(outcome.latencies.ms(0.99));
        self.latencies.extend(&outcome.latencies);
        self.chunks_per_job += share * outcome.chunks_per_job();
        self.spent += outcome.spent;
        self.extra_run += share * outcome.extra_tokens();
        self.busy += share * outcome.busy();
        self.failed += outcome.failed;
        self.events += outcome.events;
        // They are in the pool.
        outcome.latencies = LatencySamples::default();
        self.runs.push(outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn threads_change_nothing_and_seeds_are_pooled() {
        let scenario = Scenario { servers: 3, end: Duration::from_millis(1_500), ..Scenario::default() };
        let cells =
            || vec![Cell::new("a", scenario.clone()), Cell::new("b", Scenario { load: 0.7, ..scenario.clone() })];
        let run_budget = |threads| RunBudget { seeds: 2, seconds: 1.0, jobs: 0, threads };
        let one = measure(cells(), run_budget(1)).unwrap();
        let two = measure(cells(), run_budget(2)).unwrap();
        assert_eq!((one.len(), one[0].p99s.len()), (2, 2));
        for (one, two) in one.iter().zip(&two) {
            assert_eq!((&one.name, &one.p99s, one.spent), (&two.name, &two.p99s, two.spent));
            assert_eq!(one.latencies.quantile(0.5), two.latencies.quantile(0.5));
        }
        assert!(measure(vec![Cell::new("bad", Scenario { servers: 0, ..scenario })], run_budget(1)).is_err());
    }
}
