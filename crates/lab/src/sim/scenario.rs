//! What is simulated: fleet, network, load, faults and how clients send.

use std::time::Duration;

use sortie_dispatch::{Cost, DispatchConfig, WorkCurve, config::PRIOR};

use super::job_generator::mean_work;
use crate::{
    fault::{Incident, Stalls},
    micros,
    strategy::Strategy,
};

/// Tokens in a batch: what a server on a GPU would be set to.
pub const DEFAULT_BUDGET: u64 = 16_384;

/// Tokens of a job: 200 pairs of 160.
pub const DEFAULT_JOB_TOKENS: u64 = 32_000;

/// Items of a job.
pub const DEFAULT_ITEMS: usize = 200;

/// Relative standard deviation of service times (design's figure; GPUs at fixed clocks do better).
pub const DEFAULT_NOISE: f64 = 0.08;

/// One way between a client and a server of one data centre, gRPC's own work included: the fixed part.
pub const DEFAULT_ONE_WAY: Duration = Duration::from_micros(250);

/// Mean of the exponential part on top of [`DEFAULT_ONE_WAY`].
pub const DEFAULT_NETWORK_TAIL: Duration = Duration::from_micros(50);

/// Longest a job may take: far beyond what a stable fleet needs, so that only a drowned one fails.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// How long a server counts the tokens of a probe as queued: what the real one does.
pub const DEFAULT_RESERVE: Duration = Duration::from_millis(2);

/// Chunks that strategies without a planner cut a job into.
pub const DEFAULT_FIXED_CHUNKS: usize = 16;

/// The way between clients and servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// One way, the fixed part.
    pub one_way: Duration,
    /// Mean of the exponential part on top.
    pub tail: Duration,
    /// Share of probes whose answer never comes.
    pub probe_loss: f64,
}

impl Default for Network {
    fn default() -> Self {
        Self { one_way: DEFAULT_ONE_WAY, tail: DEFAULT_NETWORK_TAIL, probe_loss: 0.0 }
    }
}

/// Sizes of jobs and of their items.
#[derive(Clone, Debug, PartialEq)]
pub enum JobSizes {
    /// Jobs of so many items; item sizes vary evenly from half to one and a half times the mean.
    Even {
        /// Tokens of a job.
        job_tokens: u64,
        /// Items of a job.
        items: usize,
    },
    /// Items of log-normal size within bounds: what passages look like.
    LogNormal {
        /// Tokens of a job, about.
        job_tokens: u64,
        /// Items of a job.
        items: usize,
    },
    /// The same, and beside them so many long texts in each job.
    WithLong {
        /// Tokens of the passages of a job, about.
        job_tokens: u64,
        /// Passages of a job.
        items: usize,
        /// Long texts of a job.
        long: usize,
        /// Tokens of a long text.
        long_tokens: u64,
    },
    /// One of these at random, evenly.
    Mixed(Vec<JobSizes>),
}

impl JobSizes {
    /// Mean tokens of a job.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Self::Even { job_tokens, .. } | Self::LogNormal { job_tokens, .. } => *job_tokens as f64,
            Self::WithLong { job_tokens, long, long_tokens, .. } => (job_tokens + *long as u64 * long_tokens) as f64,
            Self::Mixed(all) => all.iter().map(Self::mean).sum::<f64>() / all.len().max(1) as f64,
        }
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Even { job_tokens, items }
            | Self::LogNormal { job_tokens, items }
            | Self::WithLong { job_tokens, items, .. } => *items > 0 && *job_tokens >= *items as u64,
            Self::Mixed(all) => !all.is_empty() && all.iter().all(Self::is_sound),
        }
    }
}

/// A load that lasts for a while from the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surge {
    /// Until when.
    pub until: Duration,
    /// In the unit of [`Scenario::load`].
    pub load: f64,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Servers at the start.
    pub servers: usize,
    /// Clients; each has a brain of its own and sees only its own work and what servers report.
    pub clients: usize,
    /// Work a second that arrives, over what all servers could run in endless batches (1/b); of short texts it is their
    /// tokens.
    pub load: f64,
    /// Another load at first.
    pub surge: Option<Surge>,
    /// What a batch costs on every server.
    pub cost: Cost,
    /// What a text counts as on a device.
    pub curve: WorkCurve,
    /// Whether servers and clients know that curve; else they reckon in tokens.
    pub curve_is_known: bool,
    /// Tokens below which a batch takes no less time.
    pub knee: u64,
    /// Tokens in a batch.
    pub budget: u64,
    /// Relative standard deviation of service times.
    pub noise: f64,
    /// Time that a call takes from its server's device, whatever becomes of it: a processor that computes also
    /// reads requests. Zero for a device of its own.
    pub call_cost: Duration,
    /// Sizes of jobs.
    pub sizes: JobSizes,
    /// The way to servers and back.
    pub network: Network,
    /// Stops of whole processes, now and then.
    pub stalls: Option<Stalls>,
    /// The faults of servers, and when they happen.
    pub incidents: Vec<Incident>,
    /// Whether servers say what they do, in trailers and to probes; else they are old ones, or behind a proxy that
    /// strips trailers.
    pub reports: bool,
    /// How long a server counts the tokens of a probe as queued.
    pub reserve: Duration,
    /// Jobs that arrive before this are not counted.
    pub warm_up: Duration,
    /// No job arrives after this.
    pub end: Duration,
    /// Longest a job may take.
    pub deadline: Duration,
    /// Where all chance comes from.
    pub seed: u64,
    /// How clients send.
    pub strategy: Strategy,
    /// How they send where they differ: client `n` by the `n`-th of these, over and over. Empty: all by `strategy`.
    pub mix: Vec<Strategy>,
    /// Whether clients of each strategy are a tenant of their own.
    pub apart: bool,
    /// Chunks of a job under strategies without a planner.
    pub fixed_chunks: usize,
    /// Whether jobs are hedged.
    pub hedging: bool,
    /// Whether strategies without a planner hedge on a server that the chunk was not sent to. (Dispatch has a
    /// setting of its own.)
    pub exclusion: bool,
    /// The clients' settings.
    pub dispatch: DispatchConfig,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            servers: 8,
            clients: 1,
            load: 0.5,
            surge: None,
            cost: PRIOR,
            curve: WorkCurve::STRAIGHT,
            curve_is_known: true,
            knee: 0,
            budget: DEFAULT_BUDGET,
            noise: DEFAULT_NOISE,
            call_cost: Duration::ZERO,
            sizes: JobSizes::Even { job_tokens: DEFAULT_JOB_TOKENS, items: DEFAULT_ITEMS },
            network: Network::default(),
            stalls: None,
            incidents: Vec::new(),
            reports: true,
            reserve: DEFAULT_RESERVE,
            warm_up: Duration::from_secs(1),
            end: Duration::from_secs(5),
            deadline: DEFAULT_DEADLINE,
            seed: 1,
            strategy: Strategy::Sortie,
            mix: Vec::new(),
            apart: false,
            fixed_chunks: DEFAULT_FIXED_CHUNKS,
            hedging: true,
            exclusion: true,
            dispatch: DispatchConfig::default(),
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
        let share = |x: f64| (0.0..1.0).contains(&x);
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let budget = self.budget > 0 && u32::try_from(self.budget).is_ok();
        let checks = [
            ("servers", self.servers > 0, "must be above zero"),
            ("clients", self.clients > 0, "must be above zero"),
            ("load", positive(self.load), "must be above zero"),
            ("surge.load", self.surge.is_none_or(|surge| positive(surge.load)), "must be above zero"),
            ("cost", self.cost.is_usable(), "must be finite, with b above zero"),
            ("budget", budget, "must be above zero and below 2^32"),
            ("noise", share(self.noise), "must be from 0 to below 1"),
            ("sizes", self.sizes.is_sound(), "must be at least one token an item"),
            ("network.probe_loss", share(self.network.probe_loss), "must be from 0 to below 1"),
            ("end", self.end > self.warm_up, "must be after the warm-up"),
            ("fixed_chunks", self.fixed_chunks > 0, "must be above zero"),
            ("dispatch", self.dispatch.validate().is_ok(), "is refused by dispatch"),
        ];
        match checks.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, problem)) => Err(ScenarioError { field, problem }),
            None => Ok(()),
        }
    }

    /// Mean time between two jobs: `b · work / (load · servers)`.
    #[must_use]
    pub fn mean_gap(&self) -> Duration {
        self.gap_at(self.load)
    }

    /// The same under a load.
    pub(crate) fn gap_at(&self, load: f64) -> Duration {
        micros(self.cost.b_us * mean_work(&self.sizes, self.curve) / (load * self.servers as f64))
    }

    /// The curve that servers and clients reckon by.
    #[must_use]
    pub fn believed_curve(&self) -> WorkCurve {
        if self.curve_is_known { self.curve } else { WorkCurve::STRAIGHT }
    }

    /// How a client sends, by its number from 0.
    #[must_use]
    pub fn strategy_of(&self, client: usize) -> Strategy {
        self.mix.get(client % self.mix.len().max(1)).copied().unwrap_or(self.strategy)
    }

    /// The clients' settings under a strategy.
    #[must_use]
    pub fn config(&self, strategy: Strategy) -> DispatchConfig {
        let mut config = self.dispatch.clone();
        strategy.restrict(&mut config);
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
        let wrong = Scenario { sizes: JobSizes::Even { job_tokens: 3, items: 4 }, ..Scenario::default() };
        assert_eq!(wrong.validate().unwrap_err().field, "sizes");
    }

    #[test]
    fn load_is_against_endless_batches() {
        let cost = Cost { a_us: 1_000.0, b_us: 1.0 };
        let scenario = Scenario { servers: 4, load: 0.5, cost, ..Scenario::default() };
        assert_eq!(scenario.mean_gap(), Duration::from_millis(16));
    }
}
