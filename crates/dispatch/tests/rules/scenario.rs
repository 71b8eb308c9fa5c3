//! What a run in virtual time is given, and what comes of it.

use std::time::Duration;

use sortie_dispatch::{Cost, DispatchConfig, Failure};

/// What is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) config: DispatchConfig,
    pub(crate) servers: usize,
    pub(crate) clients: usize,
    pub(crate) cost: Cost,
    pub(crate) budget: u64,
    /// Tokens a second that arrive, over those that all servers could run in endless batches.
    pub(crate) load: f64,
    pub(crate) items: usize,
    pub(crate) job_tokens: u64,
    /// Microseconds one way, and the mean of an exponential on top.
    pub(crate) net_us: (f64, f64),
    /// Relative standard deviation of service times.
    pub(crate) noise: f64,
    /// Mean pause between stalls of a server and their mean length, exponential.
    pub(crate) stalls: Option<(Duration, Duration)>,
    pub(crate) reports: bool,
    /// When jobs arrive, and from when on they are counted.
    pub(crate) warm_up: Duration,
    pub(crate) end: Duration,
    pub(crate) deadline: Duration,
    pub(crate) seed: u64,
    pub(crate) hedging: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            config: DispatchConfig::default(),
            servers: 8,
            clients: 1,
            cost: Cost { a_us: 1_000.0, b_us: 0.46 },
            budget: 16_384,
            load: 0.5,
            items: 200,
            job_tokens: 32_000,
            net_us: (250.0, 50.0),
            noise: 0.08,
            stalls: None,
            reports: true,
            warm_up: Duration::from_secs(1),
            end: Duration::from_secs(6),
            deadline: Duration::from_secs(30),
            seed: 1,
            hedging: true,
        }
    }
}

/// What a test may do to a server at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Stops for so long; nothing is answered meanwhile.
    Stall(Duration),
    /// Runs so many times slower from now on.
    Slow(f64),
    /// Loses its connections and what it had; refuses all until further notice.
    Die,
    /// Is back.
    Live,
    /// Answers every chunk at once with this, or no longer.
    Refuse(Option<Failure>),
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Milliseconds, of finished jobs after the warm-up.
    pub(crate) latencies: Vec<f64>,
    pub(crate) failed: usize,
    /// When each job was planned, in seconds, and its chunks.
    pub(crate) chunks: Vec<(f64, usize)>,
    /// Tokens dispatched first, as hedges, as paid and as free retries.
    pub(crate) tokens: [u64; 4],
    /// Attempts that reached each server.
    pub(crate) reached: Vec<u64>,
    /// Of them, in the last third of the run.
    pub(crate) reached_late: Vec<u64>,
    /// Most servers that were suspect, and ejected, at one time for one client.
    pub(crate) most_suspect: usize,
    pub(crate) most_ejected: usize,
    pub(crate) in_flight: u64,
}

impl Outcome {
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn extra(&self) -> f64 {
        (self.tokens[1] + self.tokens[2]) as f64 / self.tokens[0].max(1) as f64
    }
}
