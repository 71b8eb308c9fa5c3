//! What happens at servers: chunks, resets and probes arrive, batches start and end.
//!
//! Invariant: while a process is stopped nothing happens in it, and nothing of what arrives is lost.

use std::time::Duration;

use sortie_dispatch::{AnswerReport, Failure};

use super::{
    World,
    event::{Arrival, WorldEvent},
    host::LinkState,
};
use crate::{
    micros,
    sim::{
        chunk::{ArrivedChunk, Key},
        client::{Failed, ProbeOrigin},
        server::PollOutcome,
    },
};

/// A poll that is set for later than this is for a deadline.
const SOON: Duration = Duration::from_secs(1);

impl World<'_> {
    pub(super) fn at_server(&mut self, place: usize, arrival: Arrival) {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(place) else { return };
        if host.stopped_until > now && host.link == LinkState::Up {
            if let Arrival::Cancel(key) = &arrival {
                // Frames are read in order: the reset is there before work on the chunk begins.
                host.waiting.retain(|held| !matches!(held, Arrival::Chunk(chunk) if chunk.key == *key));
            }
            host.waiting.push(arrival);
            return;
        }
        match arrival {
            Arrival::Chunk(chunk) => self.chunk_arrives(place, *chunk),
            Arrival::Cancel(key) => {
                if host.link == LinkState::Up {
                    host.server.cancel(key);
                }
            }
            Arrival::Probe(origin, tokens) => self.probe(place, origin, tokens),
            Arrival::BatchEnds(life) => self.batch_ends(place, life),
            Arrival::Poll(life) => {
                if host.life == life {
                    host.poll_at = host.poll_at.filter(|&at| at > now);
                    self.poll(place);
                }
            }
        }
    }

    /// A stopped process goes on: what arrived meanwhile happens, in its order.
    pub(super) fn resume(&mut self, place: usize) {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(place).filter(|host| host.stopped_until <= now) else { return };
        for arrival in std::mem::take(&mut host.waiting) {
            self.at_server(place, arrival);
        }
    }

    fn chunk_arrives(&mut self, place: usize, chunk: ArrivedChunk) {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(place) else { return };
        let Some(stats) = self.outcome.servers.get_mut(place) else { return };
        let refused = match host.link {
            LinkState::BlackHole => {
                host.vanished.push(chunk.key);
                return;
            }
            LinkState::Down => Err(Failure::Transport.into()),
            LinkState::Up => {
                host.calls += self.scenario.call_cost;
                let admitted = if host.failing { Err(Failure::Internal) } else { host.server.admit(&chunk, now) };
                admitted.map_err(|failure| Failed { failure, report: host.report(now, self.scenario) })
            }
        };
        stats.attempts += 1;
        stats.late_attempts += u64::from(now * 3 > self.scenario.end * 2);
        stats.most_queued = stats.most_queued.max(host.server.queued());
        let attentive = host.server.is_attentive();
        match refused {
            Err(failed) => {
                self.outcome.refused += 1;
                self.answer(chunk.key, Err(failed));
            }
            Ok(()) => {
                self.log.admitted(chunk.key);
                if attentive { self.poll(place) } else { self.poll_if_unset(place) }
            }
        }
    }

    fn probe(&mut self, place: usize, origin: ProbeOrigin, tokens: u64) {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(place) else { return };
        let reply = match host.link {
            LinkState::BlackHole => return,
            LinkState::Down => Err(Failure::Transport),
            // As a server answers that does not know the call.
            LinkState::Up if !self.scenario.reports => Err(Failure::Fatal),
            LinkState::Up => {
                let report = host.server.report(now);
                if !self.scenario.reserve.is_zero() && tokens > 0 {
                    host.server.reserve(tokens, now + self.scenario.reserve);
                }
                Ok(report)
            }
        };
        let one_way = self.random.one_way(&self.scenario.network);
        self.clock.after(one_way, WorldEvent::Probed(origin, Box::new(reply)));
    }

    fn batch_ends(&mut self, place: usize, life: u32) {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(place).filter(|host| host.life == life) else { return };
        let (done, next) = host.server.finish(now);
        let in_hole = host.link == LinkState::BlackHole;
        if in_hole {
            host.vanished.extend(done.iter().map(|done| done.key));
        }
        let mut answers = Vec::with_capacity(done.len());
        if !in_hole {
            let report = host.report(now, self.scenario);
            answers.extend(done.into_iter().map(|done| {
                let batches = if report.is_some() { done.batches } else { Vec::new() };
                (done.key, AnswerReport { batches, report, ..AnswerReport::default() })
            }));
        }
        for (key, answer) in answers {
            self.answer(key, Ok(answer));
        }
        if let Some(us) = next {
            self.batch_starts(place, us);
        }
        self.poll(place);
    }

    fn batch_starts(&mut self, place: usize, us: f64) {
        let Some(host) = self.hosts.get_mut(place) else { return };
        let (life, calls) = (host.life, std::mem::take(&mut host.calls));
        let takes = micros(us * self.random.service(self.scenario.noise)) + calls;
        self.clock.after(takes, WorldEvent::At(place, Arrival::BatchEnds(life)));
    }

    fn poll(&mut self, place: usize) {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(place) else { return };
        let PollOutcome { started_us, poll_at, expired } = host.server.poll(now);
        if let Some(at) = poll_at.filter(|at| host.poll_at.is_none_or(|set| *at < set)) {
            host.poll_at = Some(at);
            let life = host.life;
            self.clock.at(at, WorldEvent::At(place, Arrival::Poll(life)));
        }
        let report = if expired.is_empty() { None } else { host.report(now, self.scenario) };
        for key in expired {
            self.log.expired(key);
            self.answer(key, Err(Failed { failure: Failure::Deadline, report }));
        }
        if let Some(us) = started_us {
            self.batch_starts(place, us);
            // The next batch may be sealed behind it.
            self.poll(place);
        }
    }

    /// A chunk came while the device runs: the queue is polled when the next batch is to be sealed.
    fn poll_if_unset(&mut self, place: usize) {
        let soon = self.clock.now() + SOON;
        if self.hosts.get(place).is_some_and(|host| host.poll_at.is_none_or(|at| at > soon)) {
            self.poll(place);
        }
    }

    pub(super) fn answer(&mut self, key: Key, reply: Result<AnswerReport, Failed>) {
        let one_way = self.random.one_way(&self.scenario.network);
        self.clock.after(one_way, WorldEvent::Answer(key, Box::new(reply)));
    }
}
