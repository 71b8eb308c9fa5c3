//! A client: what it knows of the fleet, and its jobs under way.
//!
//! | module | client |
//! |---|---|
//! | `sortie` | the real thing: [`sortie_dispatch`] |
//! | `fixed` | what others do: fixed chunks, random or power of two choices, one hedge |
//! | `hedging` | the quantile and the budget of the latter |
//! | `plain` | what a stub does: whole jobs in turn, with or without retries |
//!
//! Invariant: a client sees only what the wire would show: answers, failures, reports in
//! trailers and probes, and the clock.

mod fixed;
mod hedging;
mod plain;
mod sortie;

use std::time::Duration;

use sortie_dispatch::{AnswerReport, AttemptId, Failure, ItemSize, LoadReport, ProbeId};

use crate::{scenario::Scenario, stats::Spent, strategy::Strategy};
use fixed::Fixed;
use plain::Plain;
use sortie::Sortie;

/// A job, by its number within a run.
pub(crate) type JobId = u32;

/// Whose probe it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeOrigin {
    pub(crate) client: u32,
    /// None for the fleet's own.
    pub(crate) job: Option<JobId>,
    pub(crate) probe: ProbeId,
}

/// Something that a client does to the world.
#[derive(Debug)]
pub(crate) enum ClientAction {
    /// Sends a chunk.
    Send {
        job: JobId,
        attempt: AttemptId,
        server: usize,
        items: Box<[u32]>,
        number: u32,
        deadline: Duration,
        first: bool,
    },
    /// Resets an attempt's stream.
    Cancel { job: JobId, attempt: AttemptId, server: usize },
    /// Asks for a report.
    Probe { job: Option<JobId>, probe: ProbeId, server: usize, tokens: u64 },
    /// Wants to be woken for a job.
    Wake { job: JobId, at: Duration },
    /// Wants to be woken for the fleet.
    WakeFleet { at: Duration },
    /// Has every answer of a job.
    Finished { job: JobId },
    /// Gave a job up.
    GaveUp { job: JobId, why: &'static str },
}

/// An attempt that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// The server's report, which errors of its own carry as well as answers.
    pub(crate) report: Option<LoadReport>,
}

impl From<Failure> for Failed {
    /// One that no server speaks of.
    fn from(failure: Failure) -> Self {
        Self { failure, report: None }
    }
}

/// News of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerEvent {
    Connected,
    Disconnected,
    Joined,
    Removed,
}

/// What a client did in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientTotals {
    pub(crate) spent: Spent,
    pub(crate) overspent: u64,
    pub(crate) hedges: u64,
    pub(crate) hedges_won: u64,
    pub(crate) probes: u64,
    pub(crate) suspicions: u64,
    pub(crate) ejections: u64,
    pub(crate) in_flight: u64,
    pub(crate) rho: f64,
}

/// One client.
#[derive(Debug)]
pub(crate) enum SimClient {
    Sortie(Box<Sortie>),
    Fixed(Box<Fixed>),
    Plain(Box<Plain>),
}

impl SimClient {
    /// The client of that number.
    pub(crate) fn new(scenario: &Scenario, number: usize, seed: u64) -> Self {
        let scenario = &Scenario { strategy: scenario.strategy_of(number), ..scenario.clone() };
        match scenario.strategy {
            Strategy::Sortie | Strategy::WholeJob => Self::Sortie(Box::new(Sortie::new(scenario, seed))),
            Strategy::Random | Strategy::P2c | Strategy::P2cHedge => Self::Fixed(Box::new(Fixed::new(scenario, seed))),
            Strategy::Once | Strategy::Again => Self::Plain(Box::new(Plain::new(scenario, number as u64))),
        }
    }

    /// A server's report, before the first job.
    pub(crate) fn meet(&mut self, server: usize, report: LoadReport, now: Duration) {
        if let Self::Sortie(client) = self {
            client.meet(server, report, now);
        }
    }

    /// A job comes in.
    pub(crate) fn submit(&mut self, id: JobId, items: &[ItemSize], now: Duration, out: &mut Vec<ClientAction>) {
        match self {
            Self::Sortie(client) => client.submit(id, items, now, out),
            Self::Fixed(client) => client.submit(id, items, now, out),
            Self::Plain(client) => client.submit(id, items, now, out),
        }
    }

    /// An attempt has an answer or has failed.
    pub(crate) fn reply(
        &mut self,
        id: JobId,
        attempt: AttemptId,
        reply: Result<AnswerReport, Failed>,
        now: Duration,
        out: &mut Vec<ClientAction>,
    ) {
        match self {
            Self::Sortie(client) => client.reply(id, attempt, reply, now, out),
            Self::Fixed(client) => client.reply(id, attempt, reply.is_ok(), now, out),
            Self::Plain(client) => client.reply(id, attempt, reply.err().map(|failed| failed.failure), out),
        }
    }

    /// A probe has an answer or has failed.
    pub(crate) fn probed(
        &mut self,
        job: Option<JobId>,
        probe: ProbeId,
        reply: Result<LoadReport, Failure>,
        now: Duration,
        out: &mut Vec<ClientAction>,
    ) {
        if let Self::Sortie(client) = self {
            client.probed(job, probe, reply, now, out);
        }
    }

    /// A moment that a job asked for has come.
    pub(crate) fn tick(&mut self, id: JobId, now: Duration, out: &mut Vec<ClientAction>) {
        match self {
            Self::Sortie(client) => client.tick(id, now, out),
            Self::Fixed(client) => client.tick(id, now, out),
            Self::Plain(client) => client.tick(id, now, out),
        }
    }

    /// A moment that the fleet asked for has come.
    pub(crate) fn tick_fleet(&mut self, now: Duration, out: &mut Vec<ClientAction>) {
        if let Self::Sortie(client) = self {
            client.tick_fleet(now, out);
        }
    }

    /// News of a server.
    pub(crate) fn server_event(
        &mut self,
        server: usize,
        event: ServerEvent,
        now: Duration,
        out: &mut Vec<ClientAction>,
    ) {
        match self {
            Self::Sortie(client) => client.server_event(server, event, now, out),
            Self::Fixed(client) => client.server_event(server, event),
            Self::Plain(client) => client.server_event(server, event),
        }
    }

    /// Suspects and ejected servers, as it sees them.
    pub(crate) fn shunned(&self, now: Duration) -> (usize, usize) {
        match self {
            Self::Sortie(client) => client.shunned(now),
            Self::Fixed(_) | Self::Plain(_) => (0, 0),
        }
    }

    /// What it did in all.
    pub(crate) fn tally(&self, now: Duration) -> ClientTotals {
        match self {
            Self::Sortie(client) => client.tally(now),
            Self::Fixed(client) => client.tally(),
            Self::Plain(client) => client.tally(),
        }
    }
}
