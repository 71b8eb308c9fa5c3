//! How many servers a load needs for a p99.
//!
//! Formula: a server runs at most `R = B / (a + b · B)` tokens a second in batches of `B` tokens, so a load of `λ` jobs
//! a second of `W` tokens is `ρ = λ · W / R` servers' worth, and fewer than `ρ` servers never catch up. From there the
//! number doubles until the simulated p99 is short enough, and is halved back to the smallest that holds.
//!
//! Invariant: the answer holds, and one server less was tried and does not, or has no steady state.

use std::{collections::BTreeMap, time::Duration};

use sortie_dispatch::Cost;

use super::{Cell, Measured, RunBudget, StudyError, measure};
use crate::{
    fault::Stalls,
    sim::{DEFAULT_DEADLINE, JobSizes, Scenario, ScenarioError},
};

/// Servers tried at most: what one process simulates in minutes.
pub const MOST_SERVERS: usize = 1_024;

/// Deadline of a job, in target p99s: a job that takes so long has failed its caller whatever comes.
const DEADLINE: u32 = 20;

/// Jobs before the counted ones, as a share of those: queues have found their length by then.
const WARM_UP: u64 = 5;

/// A load and what is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Jobs a second, of all clients together.
    pub jobs_per_second: f64,
    /// Sizes of jobs.
    pub sizes: JobSizes,
    /// What a batch costs on a server.
    pub cost: Cost,
    /// Tokens in a batch.
    pub budget: u64,
    /// Clients that know nothing of each other.
    pub clients: usize,
    /// 99 of 100 jobs end within this.
    pub p99: Duration,
    /// Stops of whole processes, now and then.
    pub stalls: Option<Stalls>,
}

/// What was tried and what is enough.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// Servers' worth of work.
    pub worth: f64,
    /// What came of each number of servers that was tried, in order.
    pub tried: BTreeMap<usize, Measured>,
    /// The smallest number that holds; `None` where none up to [`MOST_SERVERS`] does.
    pub enough: Option<usize>,
}

impl Workload {
    /// Servers' worth of the load.
    #[must_use]
    pub fn worth(&self) -> f64 {
        let full = self.cost.a_us / self.budget.max(1) as f64 + self.cost.b_us;
        self.jobs_per_second * self.sizes.mean() * full / 1e6
    }

    fn scenario(&self, servers: usize, jobs: u64) -> Scenario {
        let load = self.jobs_per_second * self.sizes.mean() * self.cost.b_us / 1e6 / servers as f64;
        let lasting = |jobs: u64| Duration::from_secs_f64(jobs.max(1) as f64 / self.jobs_per_second);
        let warm_up = lasting(jobs / WARM_UP).max(Duration::from_secs(1));
        Scenario {
            servers,
            clients: self.clients,
            load,
            cost: self.cost,
            budget: self.budget,
            sizes: self.sizes.clone(),
            stalls: self.stalls,
            warm_up,
            end: warm_up + lasting(jobs),
            deadline: self.p99.saturating_mul(DEADLINE).max(DEFAULT_DEADLINE),
            ..Scenario::default()
        }
    }

    fn holds(&self, measured: &Measured) -> bool {
        measured.failed == 0 && measured.latencies.ms(0.99) <= self.p99.as_secs_f64() * 1e3
    }
}

/// Finds the smallest number of servers that holds; `run_budget.jobs` jobs are counted of each run.
///
/// # Errors
///
/// As [`measure`], and if the load is no number above zero.
pub fn capacity(demand: &Workload, run_budget: RunBudget) -> Result<Capacity, StudyError> {
    if !(demand.jobs_per_second.is_finite() && demand.jobs_per_second > 0.0) {
        return Err(ScenarioError { field: "jobs_per_second", problem: "must be above zero" }.into());
    }
    let mut found = Capacity { worth: demand.worth(), tried: BTreeMap::new(), enough: None };
    let mut holds = |servers: usize| -> Result<bool, StudyError> {
        let cell = Cell::new(format!("{servers} servers"), demand.scenario(servers, run_budget.jobs));
        let Some(measured) = measure(vec![cell], run_budget)?.pop() else { return Ok(false) };
        let holds = demand.holds(&measured);
        found.tried.insert(servers, measured);
        Ok(holds)
    };
    // The largest that is known not to hold, and the one looked at.
    let (mut low, mut high) = (demand.worth().floor() as usize, 0);
    // No number of servers makes a batch shorter than its fixed part.
    if demand.p99.as_secs_f64() * 1e6 > demand.cost.a_us && low < MOST_SERVERS {
        high = low + 1;
        while !holds(high)? {
            low = high;
            if high == MOST_SERVERS {
                return Ok(found);
            }
            high = (high * 2).min(MOST_SERVERS);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if holds(middle)? { high = middle } else { low = middle }
        }
    }
    found.enough = (high > 0).then_some(high);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFORT: RunBudget = RunBudget { seeds: 1, seconds: 0.0, jobs: 300, threads: 1 };

    fn demand(jobs_per_second: f64, p99_ms: u64) -> Workload {
        Workload {
            jobs_per_second,
            sizes: JobSizes::Even { job_tokens: 32_000, items: 200 },
            cost: Cost { a_us: 3_000.0, b_us: 5.0 },
            budget: 16_384,
            clients: 2,
            p99: Duration::from_millis(p99_ms),
            stalls: None,
        }
    }

    #[test]
    fn the_answer_holds_and_one_less_does_not() {
        let demand = demand(20.0, 90);
        let found = capacity(&demand, EFFORT).unwrap();
        let enough = found.enough.unwrap();
        assert!(enough as f64 > found.worth, "{enough} servers for {:.1} servers' worth", found.worth);
        assert!(demand.holds(&found.tried[&enough]));
        assert!(!demand.holds(&found.tried[&(enough - 1)]));
    }

    #[test]
    fn more_jobs_or_a_shorter_p99_need_more() {
        let needs = |jobs: f64, p99: u64| capacity(&demand(jobs, p99), EFFORT).unwrap().enough.unwrap();
        let base = needs(20.0, 150);
        assert!(needs(60.0, 150) > base);
        assert!(needs(20.0, 60) > base);
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        // Shorter than one batch's fixed cost, and more work than so many servers have: nothing is run for either.
        for demand in [demand(0.5, 2), demand(1e6, 100)] {
            let found = capacity(&demand, EFFORT).unwrap();
            assert!(found.enough.is_none() && found.tried.is_empty(), "{found:?}");
        }
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = capacity(&demand(wrong, 100), EFFORT).unwrap_err();
            assert_eq!(error.to_string(), "jobs_per_second must be above zero");
        }
    }
}
