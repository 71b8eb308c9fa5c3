//! One job on its way: a state machine without sockets or clocks. Events go in,
//! actions come out.
//!
//! ```text
//! Waiting --Send--> Running --Answered--> Done          all Done      => Finish
//!    ^                 |
//!    +----- retry -----+--Failed, no retry-->           job fails     => Fail
//! ```
//!
//! * A chunk's first attempt goes to a server that has no other chunk of the job;
//!   chunks for which there is none wait until one is free.
//! * A failed chunk goes at once to a server that has not failed it. The first
//!   retry of a chunk that died in transport is free; others take their tokens out
//!   of the fleet's retry budget. Only where every server has failed it there is a
//!   wait: what the server asked for, else exponential backoff with full jitter.
//! * What no other server would answer otherwise ends the job at once.
//!
//! Invariant: after `Finish` or `Fail`, and once the job is dropped, none of its
//! tokens is in flight.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    endpoint::Ticket,
    fleet::{EndpointId, Fleet, ModelId},
    plan::{Chunk, Plan},
    time::Time,
};

/// An attempt, by its number within the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u32);

/// Why an attempt failed, as far as it matters what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The connection could not be made, or ended before the answer did.
    Transport,
    /// The server takes no work, and said so.
    Unavailable,
    /// The server has too much work.
    Overloaded {
        /// How long it asks to wait, if it says.
        pushback: Option<Duration>,
    },
    /// The server failed in a way that another may not.
    Internal,
    /// The time was up.
    Deadline,
    /// Every server would say the same.
    Fatal,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The job starts.
    Start,
    /// A moment that [`Action::WakeAt`] named has come.
    Tick,
    /// An attempt was answered.
    Answered(AttemptId),
    /// An attempt failed.
    Failed(AttemptId, Failure),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send a chunk to a server.
    Send {
        /// Names the attempt in later events.
        attempt: AttemptId,
        /// Place of the chunk in the plan.
        chunk: usize,
        /// The server.
        endpoint: EndpointId,
        /// Which attempt of the chunk it is, from 1.
        number: u32,
    },
    /// Come back with [`Event::Tick`] then, if nothing happens before.
    WakeAt(Time),
    /// Every chunk is answered.
    Finish,
    /// The job has failed: for what this attempt met, or, without one, for its time was up. All other
    /// attempts are to be cancelled.
    Fail(Option<AttemptId>),
}

#[derive(Debug)]
struct Attempt {
    chunk: usize,
    endpoint: EndpointId,
    /// Gone once the attempt's work is known to be over.
    ticket: Option<Ticket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { not_before: Time },
    Running,
    Done,
}

#[derive(Debug)]
struct State {
    tokens: u64,
    target: Option<EndpointId>,
    phase: Phase,
    attempts: u32,
    failed: Vec<EndpointId>,
    last_failure: Option<AttemptId>,
    free_retry: bool,
    internal_retry: bool,
}

/// One job.
#[derive(Debug)]
pub struct Job {
    model: ModelId,
    deadline: Time,
    chunks: Vec<State>,
    live: BTreeMap<AttemptId, Attempt>,
    made: u32,
    over: bool,
}

impl Job {
    /// A job with a plan, to be over by `deadline`.
    #[must_use]
    pub fn new(model: ModelId, plan: &Plan, deadline: Time) -> Self {
        let state = |chunk: &Chunk| State {
            tokens: chunk.tokens,
            target: chunk.target,
            phase: Phase::Waiting { not_before: Time::default() },
            attempts: 0,
            failed: Vec::new(),
            last_failure: None,
            free_retry: true,
            internal_retry: true,
        };
        let chunks = plan.chunks.iter().map(state).collect();
        Self { model, deadline, chunks, live: BTreeMap::new(), made: 0, over: false }
    }

    /// Attempts made so far, over all chunks.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.made
    }

    /// The server has ended an attempt: its tokens are no longer in flight. To be said before the
    /// report that came with the end is told to the fleet, which would else take this client's own
    /// finished work for part of what the report speaks of. Its event follows.
    pub fn release(&mut self, attempt: AttemptId) {
        if let Some(attempt) = self.live.get_mut(&attempt) {
            attempt.ticket = None;
        }
    }

    /// Takes an event and says what is to be done. After [`Action::Finish`] or [`Action::Fail`],
    /// which come last, events change nothing.
    pub fn handle(&mut self, fleet: &mut Fleet, now: Time, event: Event) -> Vec<Action> {
        if self.over {
            return Vec::new();
        }
        match event {
            Event::Start | Event::Tick => {}
            Event::Answered(id) => self.answered(fleet, id),
            Event::Failed(id, failure) => {
                if !self.failed(fleet, now, id, failure) {
                    return self.end(Action::Fail(Some(id)));
                }
            }
        }
        if self.chunks.iter().all(|chunk| chunk.phase == Phase::Done) {
            return self.end(Action::Finish);
        }
        if now >= self.deadline {
            return self.end(Action::Fail(None));
        }
        let mut actions = self.place(fleet, now);
        actions.extend(self.wake());
        actions
    }

    fn end(&mut self, action: Action) -> Vec<Action> {
        self.over = true;
        self.live.clear();
        vec![action]
    }

    fn answered(&mut self, fleet: &mut Fleet, id: AttemptId) {
        let Some(attempt) = self.live.remove(&id) else { return };
        fleet.reached(attempt.endpoint);
        if let Some(chunk) = self.chunks.get_mut(attempt.chunk) {
            chunk.phase = Phase::Done;
        }
    }

    /// Whether the job goes on.
    fn failed(&mut self, fleet: &mut Fleet, now: Time, id: AttemptId, failure: Failure) -> bool {
        let Some(Attempt { chunk, endpoint, ticket }) = self.live.remove(&id) else { return true };
        drop(ticket);
        match failure {
            Failure::Transport | Failure::Unavailable => fleet.lost(endpoint, now),
            Failure::Overloaded { pushback } => fleet.pushed_back(endpoint, now, pushback.unwrap_or_default()),
            Failure::Internal | Failure::Deadline | Failure::Fatal => fleet.reached(endpoint),
        }
        let Some(chunk) = self.chunks.get_mut(chunk) else { return true };
        if chunk.phase == Phase::Done {
            return true;
        }
        chunk.last_failure = Some(id);
        if !chunk.failed.contains(&endpoint) {
            chunk.failed.push(endpoint);
        }
        let may_retry = match failure {
            Failure::Deadline | Failure::Fatal => false,
            Failure::Internal => std::mem::take(&mut chunk.internal_retry),
            Failure::Transport | Failure::Unavailable | Failure::Overloaded { .. } => true,
        };
        if !may_retry || chunk.attempts >= fleet.config().max_attempts {
            return false;
        }
        let free = failure == Failure::Transport && std::mem::take(&mut chunk.free_retry);
        if !free && !fleet.withdraw(chunk.tokens, now) {
            return false;
        }
        let other = fleet.pick(self.model, chunk.tokens, now, |id| !chunk.failed.contains(&id));
        let wait = match (other, failure) {
            (Some(_), _) => Duration::ZERO,
            (None, Failure::Overloaded { pushback: Some(wait) }) => wait,
            (None, _) => fleet.backoff(chunk.attempts),
        };
        let not_before = now + wait;
        chunk.phase = Phase::Waiting { not_before };
        not_before < self.deadline
    }

    /// Sends what can be sent now, most tokens first.
    fn place(&mut self, fleet: &mut Fleet, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            match chunk.phase {
                Phase::Waiting { not_before } if not_before <= now => {}
                _ => continue,
            }
            let busy = |id: EndpointId| self.live.values().any(|attempt| attempt.endpoint == id);
            let target = chunk.target.take().filter(|&id| !busy(id) && fleet.is_ready(id, now));
            let mut pick = |allowed: &dyn Fn(EndpointId) -> bool| fleet.pick(self.model, chunk.tokens, now, allowed);
            let failed = |id: EndpointId| chunk.failed.contains(&id);
            let endpoint = match target {
                Some(target) => Some(target),
                None if chunk.attempts == 0 => pick(&|id| !busy(id)),
                None => {
                    pick(&|id| !failed(id) && !busy(id)).or_else(|| pick(&|id| !failed(id))).or_else(|| pick(&|_| true))
                }
            };
            let Some(endpoint) = endpoint else { continue };
            if chunk.attempts == 0 {
                fleet.deposit(chunk.tokens);
            }
            let id = AttemptId(self.made);
            self.made += 1;
            chunk.attempts += 1;
            chunk.phase = Phase::Running;
            let ticket = fleet.begin(endpoint, self.model, chunk.tokens);
            self.live.insert(id, Attempt { chunk: index, endpoint, ticket: Some(ticket) });
            actions.push(Action::Send { attempt: id, chunk: index, endpoint, number: chunk.attempts });
        }
        actions
    }

    fn wake(&self) -> Option<Action> {
        let waiting = self.chunks.iter().filter_map(|chunk| match chunk.phase {
            Phase::Waiting { not_before } => Some(not_before),
            Phase::Running | Phase::Done => None,
        });
        Some(Action::WakeAt(
            waiting.filter(|&time| time > Time::default()).min().unwrap_or(self.deadline).min(self.deadline),
        ))
    }
}
