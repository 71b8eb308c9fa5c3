//! What others do: a job is cut into a fixed number of chunks of even work, each to a random server or to
//! the one of two random servers that has fewer of this client's requests in flight (power of two choices
//! on local counts, as in tower, gRFC A48 and Envoy). With `p2c + hedge` an attempt past the quantile gets
//! one more on another server, within the budget. A failed attempt is tried on another server, up to
//! [`MOST_ATTEMPTS`] times.
//!
//! It is given what it could not know: the true cost of a batch, for the prediction.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sortie_dispatch::{AttemptId, Cost, DispatchConfig, FailReason, ItemSize};

use super::{
    ClientAction, ClientTotals, JobId, ServerEvent,
    hedging::{HedgeBudget, LatencyHistogram},
};
use crate::{
    scenario::{Scenario, micros},
    strategy::Strategy,
};

/// Attempts of one chunk, hedges not counted (gRFC A6).
const MOST_ATTEMPTS: u32 = 5;

/// Draws for a server that a chunk was not sent to.
const DRAWS: usize = 32;

/// A client with fixed rules.
#[derive(Debug)]
pub(crate) struct Fixed {
    strategy: Strategy,
    chunks: usize,
    exclusion: bool,
    deadline: Duration,
    cost: Cost,
    round_trip: Duration,
    config: DispatchConfig,
    /// Servers and this client's requests in flight there.
    servers: Vec<usize>,
    in_flight: Vec<u32>,
    jobs: BTreeMap<JobId, FixedJob>,
    histogram: LatencyHistogram,
    budget: HedgeBudget,
    rng: StdRng,
    tally: ClientTotals,
}

#[derive(Debug)]
struct FixedJob {
    began: Duration,
    chunks: Vec<FixedChunk>,
    attempts: Vec<FixedAttempt>,
    left: usize,
}

#[derive(Debug)]
struct FixedChunk {
    items: Box<[u32]>,
    tokens: u64,
    done: bool,
    tries: u32,
    hedged: bool,
}

#[derive(Debug)]
struct FixedAttempt {
    chunk: usize,
    server: usize,
    sent: Duration,
    live: bool,
    hedge: bool,
    late_at: Duration,
}

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendReason {
    First,
    Retry,
    Hedge,
}

impl Fixed {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let config = scenario.config(scenario.strategy);
        let network = &scenario.network;
        Self {
            strategy: scenario.strategy,
            chunks: scenario.fixed_chunks,
            exclusion: scenario.exclusion,
            deadline: scenario.deadline,
            cost: scenario.cost,
            round_trip: (network.one_way + network.tail) * 2,
            servers: (0..scenario.servers).collect(),
            in_flight: vec![0; scenario.servers],
            jobs: BTreeMap::new(),
            histogram: LatencyHistogram::new(),
            budget: HedgeBudget::new(&config.budget),
            config,
            rng: StdRng::seed_from_u64(seed),
            tally: ClientTotals::default(),
        }
    }

    pub(super) fn submit(&mut self, id: JobId, items: &[ItemSize], now: Duration, out: &mut Vec<ClientAction>) {
        let chunks = cut(items, self.chunks);
        let left = chunks.len();
        self.jobs.insert(id, FixedJob { began: now, chunks, attempts: Vec::new(), left });
        for chunk in 0..left {
            self.send(id, chunk, SendReason::First, now, out);
        }
        self.wake(id, out);
        out.push(ClientAction::Wake { job: id, at: now + self.deadline });
    }

    pub(super) fn reply(
        &mut self,
        id: JobId,
        attempt: AttemptId,
        ok: bool,
        now: Duration,
        out: &mut Vec<ClientAction>,
    ) {
        let Some(open) = self.jobs.get_mut(&id) else { return };
        let Some(ended) = open.attempts.get_mut(attempt.0 as usize).filter(|attempt| attempt.live) else { return };
        ended.live = false;
        let (number, hedge, took) = (ended.chunk, ended.hedge, now.saturating_sub(ended.sent));
        give_back(&mut self.in_flight, ended.server);
        let Some(chunk) = open.chunks.get_mut(number) else { return };
        let predicted = micros(self.cost.batch_us(chunk.tokens as f64)) + self.round_trip;
        self.histogram.record(took.as_secs_f64() / predicted.as_secs_f64());
        if chunk.done {
            return;
        }
        if !ok {
            let racing = open.attempts.iter().any(|attempt| attempt.live && attempt.chunk == number);
            if !racing && chunk.tries >= MOST_ATTEMPTS {
                return self.end(id, Some(FailReason::Attempts), out);
            }
            if !racing {
                self.send(id, number, SendReason::Retry, now, out);
            }
            return self.wake(id, out);
        }
        chunk.done = true;
        open.left -= 1;
        self.tally.hedges_won += u64::from(hedge);
        for (place, other) in open.attempts.iter_mut().enumerate() {
            if other.live && other.chunk == number {
                other.live = false;
                give_back(&mut self.in_flight, other.server);
                self.histogram.record(now.saturating_sub(other.sent).as_secs_f64() / predicted.as_secs_f64());
                let attempt = AttemptId(u32::try_from(place).unwrap_or(u32::MAX));
                out.push(ClientAction::Cancel { job: id, attempt, server: other.server });
            }
        }
        if open.left == 0 {
            self.end(id, None, out);
        }
    }

    pub(super) fn tick(&mut self, id: JobId, now: Duration, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.get_mut(&id) else { return };
        if now >= open.began + self.deadline {
            return self.end(id, Some(FailReason::Deadline), out);
        }
        let mut late = Vec::new();
        for attempt in &mut open.attempts {
            if attempt.live && attempt.late_at <= now {
                attempt.late_at = Duration::MAX;
                late.push(attempt.chunk);
            }
        }
        for number in late {
            let chunk = self.jobs.get(&id).and_then(|open| open.chunks.get(number));
            let Some(tokens) = chunk.filter(|chunk| !chunk.done && !chunk.hedged).map(|chunk| chunk.tokens) else {
                continue;
            };
            if self.budget.pay(tokens) {
                self.send(id, number, SendReason::Hedge, now, out);
            }
        }
        self.wake(id, out);
    }

    pub(super) fn server_event(&mut self, server: usize, event: ServerEvent) {
        match event {
            ServerEvent::Joined => {
                self.servers.push(server);
                self.in_flight.resize(self.in_flight.len().max(server + 1), 0);
            }
            // A channel without a connection is not ready.
            ServerEvent::Removed | ServerEvent::Disconnected => self.servers.retain(|&other| other != server),
            ServerEvent::Connected => {
                if !self.servers.contains(&server) {
                    self.servers.push(server);
                }
            }
        }
    }

    pub(super) fn tally(&self) -> ClientTotals {
        ClientTotals { in_flight: self.in_flight.iter().map(|&count| u64::from(count)).sum(), ..self.tally }
    }

    fn send(&mut self, id: JobId, number: usize, why: SendReason, now: Duration, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.get(&id) else { return };
        let tried = open.attempts.iter().filter(|attempt| attempt.chunk == number).map(|attempt| attempt.server);
        let tried: Vec<usize> = tried.collect();
        let excluded: &[usize] = if self.exclusion || why != SendReason::Hedge { &tried } else { &[] };
        let Some(server) = self.pick(excluded) else { return };
        let Some(open) = self.jobs.get_mut(&id) else { return };
        let attempt = AttemptId(u32::try_from(open.attempts.len()).unwrap_or(u32::MAX));
        let Some(chunk) = open.chunks.get_mut(number) else { return };
        let (tokens, items) = (chunk.tokens, chunk.items.clone());
        let spent = &mut self.tally.spent;
        match why {
            SendReason::First => {
                self.budget.deposit(tokens);
                spent.first += tokens;
            }
            SendReason::Retry => spent.free += tokens,
            SendReason::Hedge => {
                spent.hedges += tokens;
                self.tally.hedges += 1;
                chunk.hedged = true;
            }
        }
        chunk.tries += u32::from(why != SendReason::Hedge);
        let predicted = micros(self.cost.batch_us(tokens as f64)) + self.round_trip;
        let trigger = predicted.mul_f64(self.histogram.trigger(&self.config.hedge)).max(self.config.hedge.floor);
        let late_at = if self.strategy == Strategy::P2cHedge { now + trigger } else { Duration::MAX };
        let hedge = why == SendReason::Hedge;
        open.attempts.push(FixedAttempt { chunk: number, server, sent: now, live: true, hedge, late_at });
        if let Some(count) = self.in_flight.get_mut(server) {
            *count += 1;
        }
        let (number, deadline) = (tried.len() as u32 + 1, open.began + self.deadline);
        out.push(ClientAction::Send {
            job: id,
            attempt,
            server,
            items,
            number,
            deadline,
            first: why == SendReason::First,
        });
    }

    fn pick(&mut self, tried: &[usize]) -> Option<usize> {
        let mut draw = || {
            let place = self.rng.random_range(0..self.servers.len().max(1));
            self.servers.get(place).copied()
        };
        let mut fresh = || (0..DRAWS).filter_map(|_| draw()).find(|server| !tried.contains(server));
        let first = fresh();
        if self.strategy == Strategy::Random {
            return first.or_else(draw);
        }
        let second = fresh();
        let count = |server: &usize| self.in_flight.get(*server).copied().unwrap_or(u32::MAX);
        let best = [first, second].into_iter().flatten().min_by_key(count);
        best.or_else(|| self.servers.first().copied())
    }

    fn wake(&self, id: JobId, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.get(&id) else { return };
        let late = open.attempts.iter().filter(|attempt| attempt.live).map(|attempt| attempt.late_at);
        if let Some(at) = late.min().filter(|&at| at < Duration::MAX) {
            out.push(ClientAction::Wake { job: id, at });
        }
    }

    fn end(&mut self, id: JobId, failure: Option<FailReason>, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.remove(&id) else { return };
        for (place, attempt) in open.attempts.iter().enumerate().filter(|(_, attempt)| attempt.live) {
            give_back(&mut self.in_flight, attempt.server);
            let number = AttemptId(u32::try_from(place).unwrap_or(u32::MAX));
            out.push(ClientAction::Cancel { job: id, attempt: number, server: attempt.server });
        }
        out.push(match failure {
            None => ClientAction::Finished { job: id },
            Some(reason) => ClientAction::GaveUp { job: id, why: reason.as_str() },
        });
    }
}

fn give_back(in_flight: &mut [u32], server: usize) {
    if let Some(count) = in_flight.get_mut(server) {
        *count = count.saturating_sub(1);
    }
}

/// Longest item first, each to the chunk with the fewest tokens.
fn cut(items: &[ItemSize], chunks: usize) -> Vec<FixedChunk> {
    let mut sizes: Vec<u32> = items.iter().map(|item| u32::try_from(item.tokens).unwrap_or(u32::MAX)).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut bins: Vec<(u64, Vec<u32>)> = vec![(0, Vec::new()); chunks.min(items.len())];
    for size in sizes {
        if let Some(bin) = bins.iter_mut().min_by_key(|bin| bin.0) {
            bin.0 += u64::from(size);
            bin.1.push(size);
        }
    }
    let chunk = |(tokens, items): (u64, Vec<u32>)| FixedChunk {
        items: items.into(),
        tokens,
        done: false,
        tries: 0,
        hedged: false,
    };
    bins.into_iter().map(chunk).collect()
}
