//! What others do: clients with fixed rules, without sockets or a clock.
//!
//! A job is cut, each chunk is sent to a server picked by counts of the client's own, one that failed is perhaps sent
//! again, one that is late perhaps gets a hedge; a job fails with its first chunk that does. Calls come in with the time
//! and actions go out, as in dispatch: virtual time drives a baseline in the simulator, sockets under `sortie bench`.
//!
//! | module | part |
//! |---|---|
//! | `rules` | what a baseline is |
//! | `action` | what a client wants done |
//! | `chunk` | jobs, chunks, attempts |
//! | `servers` | whom a chunk is sent to |
//! | `hedging` | what is late, and what hedges may add |
//!
//! Invariant: each job ends once, by an answer of every chunk, a failure or its deadline; then nothing of it is counted
//! as in flight.

mod action;
mod chunk;
mod hedging;
mod rules;
mod servers;

pub use action::{ChunkItem, ClientAction, SendKind};
pub use rules::{Balance, BaselineRules, BaselineSetup, Cut, ExpectedTime, RetryOn, RetryRule};

use std::{collections::BTreeMap, time::Duration};

use sortie_dispatch::{FailReason, Failure};

use crate::stats::Spent;
use chunk::{OpenAttempt, OpenJob, cut};
use hedging::{HedgeBudget, LatencyHistogram};
use servers::Servers;

/// What a baseline did in all. What it sent again counts as retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaselineTotals {
    /// Tokens sent.
    pub spent: Spent,
    /// Hedges.
    pub hedges: u64,
    /// Hedges whose answer came first.
    pub hedges_won: u64,
    /// Attempts in flight.
    pub in_flight: u64,
}

/// A client with fixed rules.
#[derive(Debug)]
pub struct Baseline {
    setup: BaselineSetup,
    servers: Servers,
    jobs: BTreeMap<u32, OpenJob>,
    histogram: LatencyHistogram,
    budget: HedgeBudget,
    totals: BaselineTotals,
}

impl Baseline {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(setup: BaselineSetup) -> Self {
        Self {
            servers: Servers::new(setup.rules.balance, setup.servers, setup.turn, setup.seed),
            jobs: BTreeMap::new(),
            histogram: LatencyHistogram::new(),
            budget: HedgeBudget::new(&setup.budget),
            totals: BaselineTotals::default(),
            setup,
        }
    }

    /// A job of items of so many tokens comes in.
    pub fn submit(&mut self, id: u32, tokens: impl Iterator<Item = u64>, now: Duration, out: &mut Vec<ClientAction>) {
        let chunks = cut(tokens, self.setup.rules.cut);
        let left = chunks.len();
        self.jobs.insert(id, OpenJob { began: now, chunks, attempts: Vec::new(), left });
        for chunk in 0..left {
            self.send(id, chunk, SendKind::First, now, out);
        }
        self.wake(id, out);
        out.push(ClientAction::Wake { job: id, at: now + self.setup.deadline });
    }

    /// An attempt was answered, or failed.
    pub fn reply(
        &mut self,
        id: u32,
        attempt: u32,
        reply: Result<(), Failure>,
        now: Duration,
        out: &mut Vec<ClientAction>,
    ) {
        let Some(open) = self.jobs.get_mut(&id) else { return };
        let Some(ended) = open.attempts.get_mut(attempt as usize).filter(|attempt| attempt.live) else { return };
        ended.live = false;
        let (number, kind, server, took) = (ended.chunk, ended.kind, ended.server, now.saturating_sub(ended.sent));
        let Some(chunk) = open.chunks.get_mut(number) else { return };
        self.servers.give_back(server, chunk.tokens);
        let expected = self.setup.expected.of(chunk.tokens);
        self.histogram.record(took, expected);
        if chunk.done {
            return;
        }
        if let Err(failure) = reply {
            return self.failed(id, number, failure, now, out);
        }
        chunk.done = true;
        open.left -= 1;
        self.totals.hedges_won += u64::from(kind == SendKind::Hedge);
        let tokens = chunk.tokens;
        for (attempt, other) in (0..).zip(&mut open.attempts).filter(|(_, other)| other.live && other.chunk == number) {
            other.live = false;
            self.servers.give_back(other.server, tokens);
            self.histogram.record(now.saturating_sub(other.sent), expected);
            out.push(ClientAction::Cancel { job: id, attempt, server: other.server });
        }
        if open.left == 0 {
            self.end(id, None, out);
        }
    }

    /// A moment that a job asked for has come.
    pub fn tick(&mut self, id: u32, now: Duration, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.get_mut(&id) else { return };
        if now >= open.began + self.setup.deadline {
            return self.end(id, Some(FailReason::Deadline), out);
        }
        let mut late = Vec::new();
        for attempt in open.attempts.iter_mut().filter(|attempt| attempt.live && attempt.late_at <= now) {
            attempt.late_at = Duration::MAX;
            late.push(attempt.chunk);
        }
        for number in late {
            let chunk = self.jobs.get(&id).and_then(|open| open.chunks.get(number));
            let Some(tokens) = chunk.filter(|chunk| !chunk.done && !chunk.hedged).map(|chunk| chunk.tokens) else {
                continue;
            };
            if self.budget.pay(tokens) {
                self.send(id, number, SendKind::Hedge, now, out);
            }
        }
        self.wake(id, out);
    }

    /// The caller wants nothing of a job any more: it is forgotten.
    pub fn abandon(&mut self, id: u32) {
        self.forget(id, |_, _| {});
    }

    /// A server can be sent to from now on.
    pub fn add_server(&mut self, server: usize) {
        self.servers.add(server);
    }

    /// A server cannot be sent to any more: a channel without a connection is not ready.
    pub fn remove_server(&mut self, server: usize) {
        self.servers.remove(server);
    }

    /// What it did in all.
    #[must_use]
    pub fn totals(&self) -> BaselineTotals {
        BaselineTotals { in_flight: self.servers.requests(), ..self.totals }
    }

    /// An attempt of a chunk failed that has no answer.
    fn failed(&mut self, id: u32, number: usize, failure: Failure, now: Duration, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.get(&id) else { return };
        let retry = self.setup.rules.retry;
        let (racing, tries) = (open.is_racing(number), open.chunks.get(number).map_or(0, |chunk| chunk.tries));
        match (racing, retry.covers(failure)) {
            (true, _) => {}
            (false, true) if tries < retry.attempts => self.send(id, number, SendKind::Retry, now, out),
            (false, false) if failure == Failure::Deadline => return self.end(id, Some(FailReason::Deadline), out),
            (false, _) => return self.end(id, Some(FailReason::Attempts), out),
        }
        self.wake(id, out);
    }

    fn send(&mut self, id: u32, number: usize, kind: SendKind, now: Duration, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.get_mut(&id) else { return };
        let retry = self.setup.rules.retry;
        let tried = open.tried(number);
        let elsewhere = if kind == SendKind::Hedge { self.setup.exclusion } else { retry.elsewhere };
        let Some(server) = self.servers.pick(if elsewhere { &tried } else { &[] }) else { return };
        let attempt = u32::try_from(open.attempts.len()).unwrap_or(u32::MAX);
        let Some(chunk) = open.chunks.get_mut(number) else { return };
        let tokens = chunk.tokens;
        match kind {
            SendKind::First => {
                self.budget.deposit(tokens);
                self.totals.spent.first += tokens;
            }
            SendKind::Retry => self.totals.spent.retries += tokens,
            SendKind::Hedge => {
                self.totals.spent.hedges += tokens;
                self.totals.hedges += 1;
                chunk.hedged = true;
            }
        }
        chunk.tries += u32::from(kind != SendKind::Hedge);
        let late_at = if self.setup.rules.hedges {
            let expected = self.setup.expected.of(tokens);
            self.histogram.late_after(expected, &self.setup.hedge).map_or(Duration::MAX, |late| now + late)
        } else {
            Duration::MAX
        };
        let items = chunk.items.clone();
        open.attempts.push(OpenAttempt { chunk: number, server, sent: now, live: true, kind, late_at });
        self.servers.take(server, tokens);
        let number = if retry.numbered { tried.len() as u32 + 1 } else { 1 };
        let deadline = open.began + self.setup.deadline;
        out.push(ClientAction::Send { job: id, attempt, server, items, number, deadline, kind });
    }

    fn wake(&self, id: u32, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.get(&id) else { return };
        let late = open.attempts.iter().filter(|attempt| attempt.live).map(|attempt| attempt.late_at);
        if let Some(at) = late.min().filter(|&at| at < Duration::MAX) {
            out.push(ClientAction::Wake { job: id, at });
        }
    }

    fn end(&mut self, id: u32, failed: Option<FailReason>, out: &mut Vec<ClientAction>) {
        self.forget(id, |attempt, server| out.push(ClientAction::Cancel { job: id, attempt, server }));
        out.push(ClientAction::End { job: id, failed });
    }

    /// Takes a job out, and every attempt of it that is in flight.
    fn forget(&mut self, id: u32, mut lost: impl FnMut(u32, usize)) {
        let Some(open) = self.jobs.remove(&id) else { return };
        for (number, attempt) in (0..).zip(&open.attempts).filter(|(_, attempt)| attempt.live) {
            let tokens = open.chunks.get(attempt.chunk).map_or(0, |chunk| chunk.tokens);
            self.servers.give_back(attempt.server, tokens);
            lost(number, attempt.server);
        }
    }
}

#[cfg(test)]
mod tests;
