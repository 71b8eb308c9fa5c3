//! What is simulated.

use std::time::Duration;

use sortie_dispatch::{Config, Cost, config::PRIOR};

/// Tokens in a batch: what a server on a GPU would be set to.
pub(crate) const DEFAULT_BUDGET: u64 = 16_384;

/// Tokens of a job: 200 pairs of 160.
pub(crate) const DEFAULT_JOB_TOKENS: u64 = 32_000;

/// Items of a job.
pub(crate) const DEFAULT_ITEMS: usize = 200;

/// Jobs of a run: enough for a p99 of some twenty.
pub(crate) const DEFAULT_JOBS: usize = 2_000;

/// Round trip between a client and a server of one data centre, gRPC included.
pub(crate) const DEFAULT_ROUND_TRIP: Duration = Duration::from_micros(500);

/// How clients cut jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The whole job to the server that would finish it first.
    WholeJob,
    /// As sortie's planner says.
    Chunks,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Servers.
    pub servers: usize,
    /// Clients; each has a brain of its own and sees only its own work and what servers report.
    pub clients: usize,
    /// Tokens a second that arrive, over those that all servers could run in endless batches (1/b).
    pub load: f64,
    /// What a batch costs on every server.
    pub cost: Cost,
    /// Tokens in a batch.
    pub budget: u64,
    /// Tokens of a job.
    pub job_tokens: u64,
    /// Items of a job; their sizes vary evenly from half to one and a half times the mean.
    pub items: usize,
    /// Jobs that are counted; a tenth as many before them are not.
    pub jobs: usize,
    /// Time to a server and back.
    pub round_trip: Duration,
    /// Where all chance comes from.
    pub seed: u64,
    /// The clients' settings, but for what [`Strategy`] sets.
    pub dispatch: Config,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            servers: 8,
            clients: 1,
            load: 0.5,
            cost: PRIOR,
            budget: DEFAULT_BUDGET,
            job_tokens: DEFAULT_JOB_TOKENS,
            items: DEFAULT_ITEMS,
            jobs: DEFAULT_JOBS,
            round_trip: DEFAULT_ROUND_TRIP,
            seed: 1,
            dispatch: Config::default(),
        }
    }
}

/// A scenario that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
#[non_exhaustive]
pub struct ScenarioError {
    /// The field of [`Scenario`].
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Scenario {
    /// Checks every number.
    ///
    /// # Errors
    ///
    /// Names the first that makes no sense.
    pub fn validate(&self) -> Result<(), ScenarioError> {
        let checks = [
            ("servers", self.servers > 0, "must be above zero"),
            ("clients", self.clients > 0, "must be above zero"),
            ("load", self.load.is_finite() && self.load > 0.0, "must be above zero"),
            ("cost", self.cost.is_usable(), "must be finite, with b above zero"),
            ("budget", self.budget > 0, "must be above zero"),
            ("items", self.items > 0, "must be above zero"),
            ("job_tokens", self.job_tokens >= self.items as u64, "must be at least one an item"),
            ("jobs", self.jobs > 0, "must be above zero"),
            ("dispatch", self.dispatch.validate().is_ok(), "is refused by the planner"),
        ];
        match checks.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, problem)) => Err(ScenarioError { field, problem }),
            None => Ok(()),
        }
    }

    /// Mean time between two jobs: `b · tokens / (load · servers)`.
    #[must_use]
    pub fn mean_gap(&self) -> Duration {
        let us = self.cost.b_us * self.job_tokens as f64 / (self.load * self.servers as f64);
        crate::server::micros(us)
    }

    /// The clients' settings under a strategy.
    #[must_use]
    pub fn config(&self, strategy: Strategy) -> Config {
        let mut config = self.dispatch.clone();
        if strategy == Strategy::WholeJob {
            config.plan.max_chunks = 1;
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_named() {
        assert_eq!(Scenario::default().validate(), Ok(()));
        let wrong = Scenario { load: f64::NAN, ..Scenario::default() };
        assert_eq!(wrong.validate().unwrap_err().to_string(), "load must be above zero");
        let wrong = Scenario { job_tokens: 3, ..Scenario::default() };
        assert_eq!(wrong.validate().unwrap_err().field, "job_tokens");
    }
}
