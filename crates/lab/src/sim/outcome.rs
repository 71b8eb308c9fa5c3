//! What came of a run: latencies, tokens, what clients and servers went through.

use std::{collections::BTreeMap, time::Duration};

use super::job_log::FinishedJob;
use crate::stats::{LatencySamples, Spent};

/// A slice of a run, [`SLICE`] long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Jobs that came in.
    pub jobs: u64,
    /// First attempts sent.
    pub chunks: u64,
    /// Most suspects that any client had, and most ejected servers.
    pub suspects: usize,
    /// See `suspects`.
    pub ejected: usize,
}

/// Length of a [`Interval`].
pub const SLICE: Duration = Duration::from_millis(100);

/// What a server went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Attempts that arrived.
    pub attempts: u64,
    /// Of them, those in the last third of the run.
    pub late_attempts: u64,
    /// Most tokens that ever waited.
    pub most_queued: u64,
    /// Tokens that ran.
    pub served_tokens: u64,
    /// How long the device was at work.
    pub busy: Duration,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunOutcome {
    /// From a job's arrival to its last answer, of the jobs that are counted. One that failed counts as its
    /// deadline.
    pub latencies: LatencySamples,
    /// Every job that ended, in the order of their ends.
    pub ended: Vec<FinishedJob>,
    /// Jobs that failed, counted or not.
    pub failed: usize,
    /// Why they failed.
    pub reasons: BTreeMap<&'static str, usize>,
    /// Refusals and failures of attempts.
    pub refused: u64,
    /// Jobs that came in.
    pub jobs: usize,
    /// Tokens of all jobs.
    pub job_tokens: u64,
    /// Tokens that servers ran.
    pub served_tokens: u64,
    /// Tokens that clients sent.
    pub spent: Spent,
    /// Tokens that hedges and retries took beyond what the budgets allow, of all clients. To be zero.
    pub overspent: u64,
    /// Hedges whose answer came first, and hedges.
    pub hedges_won: u64,
    /// See `hedges_won`.
    pub hedges: u64,
    /// Probes sent.
    pub probes: u64,
    /// Times that a server became suspect to a client.
    pub suspicions: u64,
    /// Times that a client ejected a server.
    pub ejections: u64,
    /// Tokens that clients still believe in flight at the end.
    pub in_flight: u64,
    /// By time.
    pub slices: Vec<Interval>,
    /// By server.
    pub servers: Vec<ServerStats>,
    /// ρ as the first client saw it last, in thousandths.
    pub rho_milli: u64,
    /// Virtual time that the run took.
    pub took: Duration,
    /// Events that happened.
    pub events: u64,
}

impl RunOutcome {
    /// Tokens that servers ran beyond those of the jobs, as a share of these.
    #[must_use]
    pub fn extra_tokens(&self) -> f64 {
        self.served_tokens as f64 / self.job_tokens.max(1) as f64 - 1.0
    }

    /// First attempts a job.
    #[must_use]
    pub fn chunks_per_job(&self) -> f64 {
        self.slices.iter().map(|slice| slice.chunks).sum::<u64>() as f64 / self.jobs.max(1) as f64
    }

    /// Share of the time that devices were at work.
    #[must_use]
    pub fn busy(&self) -> f64 {
        let busy: f64 = self.servers.iter().map(|server| server.busy.as_secs_f64()).sum();
        busy / (self.took.as_secs_f64() * self.servers.len().max(1) as f64).max(1e-9)
    }

    /// The slice that holds a moment.
    pub(crate) fn slice(&mut self, now: Duration) -> &mut Interval {
        let place = (now.as_nanos() / SLICE.as_nanos()) as usize;
        if self.slices.len() <= place {
            self.slices.resize(place + 1, Interval::default());
        }
        &mut self.slices[place]
    }
}
