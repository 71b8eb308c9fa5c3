//! A client: what it knows of the fleet, and its jobs under way.
//!
//! | module | client |
//! |---|---|
//! | `sortie` | the real thing: [`sortie_dispatch`] |
//! | `fixed` | what others do: fixed chunks, random or power of two choices, one hedge |
//! | `tail` | the quantile and the budget of the latter |
//!
//! Invariant: a client sees only what the wire would show: answers, failures, reports in
//! trailers and probes, and the clock.

mod fixed;
mod sortie;
mod tail;

use std::time::Duration;

use sortie_dispatch::{Answer, AttemptId, Failure, Item, ProbeId, Report};

use crate::{
    scenario::{Scenario, Strategy},
    stats::Spent,
};
use fixed::Fixed;
use sortie::Sortie;

/// A job, by its number within a run.
pub(crate) type JobId = u32;

/// Whose probe it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) client: u32,
    /// None for the fleet's own.
    pub(crate) job: Option<JobId>,
    pub(crate) probe: ProbeId,
}

/// Something that a client does to the world.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Sends a chunk.
    Send { job: JobId, attempt: AttemptId, server: usize, units: Box<[u32]>, number: u32, first: bool },
    /// Resets an attempt's stream.
    Cancel { job: JobId, attempt: AttemptId, server: usize },
    /// Asks for a report.
    Probe { job: Option<JobId>, probe: ProbeId, server: usize, tokens: u64 },
    /// Wants to be woken for a job.
    Wake { job: JobId, at: Duration },
    /// Wants to be woken for the fleet.
    WakeFleet { at: Duration },
    /// Has every answer of a job that came in then.
    Finished { began: Duration },
    /// Gave a job up that came in then.
    GaveUp { began: Duration, why: &'static str },
}

/// News of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Connected,
    Disconnected,
    Joined,
    Removed,
}

/// What a client did in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
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
pub(crate) enum Client {
    Sortie(Box<Sortie>),
    Fixed(Box<Fixed>),
}

impl Client {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        match scenario.strategy {
            Strategy::Sortie | Strategy::WholeJob => Self::Sortie(Box::new(Sortie::new(scenario, seed))),
            Strategy::Random | Strategy::P2c | Strategy::P2cHedge => Self::Fixed(Box::new(Fixed::new(scenario, seed))),
        }
    }

    /// A server's report, before the first job.
    pub(crate) fn meet(&mut self, server: usize, report: Report, now: Duration) {
        if let Self::Sortie(client) = self {
            client.meet(server, report, now);
        }
    }

    /// A job comes in.
    pub(crate) fn submit(&mut self, id: JobId, items: &[Item], now: Duration, out: &mut Vec<Effect>) {
        match self {
            Self::Sortie(client) => client.submit(id, items, now, out),
            Self::Fixed(client) => client.submit(id, items, now, out),
        }
    }

    /// An attempt has an answer or has failed.
    pub(crate) fn reply(
        &mut self,
        id: JobId,
        attempt: AttemptId,
        reply: Result<Answer, Failure>,
        now: Duration,
        out: &mut Vec<Effect>,
    ) {
        match self {
            Self::Sortie(client) => client.reply(id, attempt, reply, now, out),
            Self::Fixed(client) => client.reply(id, attempt, reply.is_ok(), now, out),
        }
    }

    /// A probe has an answer or has failed.
    pub(crate) fn probed(
        &mut self,
        job: Option<JobId>,
        probe: ProbeId,
        reply: Result<Report, Failure>,
        now: Duration,
        out: &mut Vec<Effect>,
    ) {
        if let Self::Sortie(client) = self {
            client.probed(job, probe, reply, now, out);
        }
    }

    /// A moment that a job asked for has come.
    pub(crate) fn tick(&mut self, id: JobId, now: Duration, out: &mut Vec<Effect>) {
        match self {
            Self::Sortie(client) => client.tick(id, now, out),
            Self::Fixed(client) => client.tick(id, now, out),
        }
    }

    /// A moment that the fleet asked for has come.
    pub(crate) fn tick_fleet(&mut self, now: Duration, out: &mut Vec<Effect>) {
        if let Self::Sortie(client) = self {
            client.tick_fleet(now, out);
        }
    }

    /// News of a server.
    pub(crate) fn news(&mut self, server: usize, news: News, now: Duration, out: &mut Vec<Effect>) {
        match self {
            Self::Sortie(client) => client.news(server, news, now, out),
            Self::Fixed(client) => client.news(server, news),
        }
    }

    /// Suspects and ejected servers, as it sees them.
    pub(crate) fn shunned(&self, now: Duration) -> (usize, usize) {
        match self {
            Self::Sortie(client) => client.shunned(now),
            Self::Fixed(_) => (0, 0),
        }
    }

    /// What it did in all.
    pub(crate) fn tally(&self, now: Duration) -> Tally {
        match self {
            Self::Sortie(client) => client.tally(now),
            Self::Fixed(client) => client.tally(),
        }
    }
}
