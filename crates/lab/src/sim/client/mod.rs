//! A client: what it knows of the fleet, and its jobs under way.
//!
//! | module | client |
//! |---|---|
//! | `sortie` | the real thing: [`sortie_dispatch`] |
//! | `baseline` | what others do: [`crate::baseline`] |
//! | `wake` | its timers |
//! | `action` | what clients and the world say to each other |
//!
//! Invariant: a client sees only what the wire would show: answers, failures, reports in
//! trailers and probes, and the clock.

mod action;
mod baseline;
mod sortie;
mod wake;

use std::time::Duration;

use sortie_dispatch::{AnswerReport, AttemptId, Failure, ItemSize, LoadReport, ProbeId};

use super::scenario::Scenario;
use baseline::BaselineClient;
use sortie::Sortie;

pub(super) use action::{ClientTotals, Failed, JobId, ProbeOrigin, ServerEvent, SimAction};

/// One client.
#[derive(Debug)]
pub(crate) enum SimClient {
    Sortie(Box<Sortie>),
    Baseline(Box<BaselineClient>),
}

impl SimClient {
    /// The client of that number.
    pub(crate) fn new(scenario: &Scenario, number: usize, seed: u64) -> Self {
        let strategy = scenario.strategy_of(number);
        match BaselineClient::new(scenario, strategy, number, seed) {
            Some(baseline) => Self::Baseline(Box::new(baseline)),
            None => Self::Sortie(Box::new(Sortie::new(scenario, strategy, seed))),
        }
    }

    /// A server's report, before the first job.
    pub(crate) fn meet(&mut self, server: usize, report: LoadReport, now: Duration) {
        if let Self::Sortie(client) = self {
            client.meet(server, report, now);
        }
    }

    /// A job comes in.
    pub(crate) fn submit(&mut self, id: JobId, items: &[ItemSize], now: Duration, out: &mut Vec<SimAction>) {
        match self {
            Self::Sortie(client) => client.submit(id, items, now, out),
            Self::Baseline(client) => client.submit(id, items, now, out),
        }
    }

    /// An attempt has an answer or has failed.
    pub(crate) fn reply(
        &mut self,
        id: JobId,
        attempt: AttemptId,
        reply: Result<AnswerReport, Failed>,
        now: Duration,
        out: &mut Vec<SimAction>,
    ) {
        match self {
            Self::Sortie(client) => client.reply(id, attempt, reply, now, out),
            Self::Baseline(client) => client.reply(id, attempt, reply.map(drop), now, out),
        }
    }

    /// A probe has an answer or has failed.
    pub(crate) fn probed(
        &mut self,
        job: Option<JobId>,
        probe: ProbeId,
        reply: Result<LoadReport, Failure>,
        now: Duration,
        out: &mut Vec<SimAction>,
    ) {
        if let Self::Sortie(client) = self {
            client.probed(job, probe, reply, now, out);
        }
    }

    /// A moment that a job asked for has come.
    pub(crate) fn tick(&mut self, id: JobId, now: Duration, out: &mut Vec<SimAction>) {
        match self {
            Self::Sortie(client) => client.tick(id, now, out),
            Self::Baseline(client) => client.tick(id, now, out),
        }
    }

    /// A moment that the fleet asked for has come.
    pub(crate) fn tick_fleet(&mut self, now: Duration, out: &mut Vec<SimAction>) {
        if let Self::Sortie(client) = self {
            client.tick_fleet(now, out);
        }
    }

    /// News of a server.
    pub(crate) fn server_event(&mut self, server: usize, event: ServerEvent, now: Duration, out: &mut Vec<SimAction>) {
        match self {
            Self::Sortie(client) => client.server_event(server, event, now, out),
            Self::Baseline(client) => client.server_event(server, event),
        }
    }

    /// Suspects and ejected servers, as it sees them.
    pub(crate) fn shunned(&self, now: Duration) -> (usize, usize) {
        match self {
            Self::Sortie(client) => client.shunned(now),
            Self::Baseline(_) => (0, 0),
        }
    }

    /// What it did in all.
    pub(crate) fn tally(&self, now: Duration) -> ClientTotals {
        match self {
            Self::Sortie(client) => client.tally(now),
            Self::Baseline(client) => client.tally(),
        }
    }
}
