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
    action::{Action, CancelReason, Coverage, FailReason, Kind, PlaceReason, Send},
    endpoint::Ticket,
    event::{Answer, AttemptId, Event, Failure},
    fleet::{EndpointId, Fleet, ModelId},
    options::JobOptions,
    plan::{Chunk, Plan},
    report::Report,
    time::Time,
};

#[derive(Debug)]
struct Attempt {
    chunk: usize,
    endpoint: EndpointId,
    ticket: Ticket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { not_before: Time },
    Running,
    Done,
}

#[derive(Debug)]
struct State {
    chunk: Chunk,
    kind: Kind,
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
    options: JobOptions,
    chunks: Vec<State>,
    live: BTreeMap<AttemptId, Attempt>,
    coverage: Coverage,
    over: bool,
}

impl Job {
    /// A job with a plan.
    #[must_use]
    pub fn new(model: ModelId, plan: Plan, options: JobOptions) -> Self {
        let state = |chunk: Chunk| State {
            chunk,
            kind: Kind::First,
            phase: Phase::Waiting { not_before: Time::default() },
            attempts: 0,
            failed: Vec::new(),
            last_failure: None,
            free_retry: true,
            internal_retry: true,
        };
        let coverage = Coverage {
            of_items: plan.chunks.iter().map(|chunk| chunk.items.len()).sum(),
            of_tokens: plan.chunks.iter().map(|chunk| chunk.tokens).sum(),
            ..Coverage::default()
        };
        let chunks = plan.chunks.into_iter().map(state).collect();
        Self { model, options, chunks, live: BTreeMap::new(), coverage, over: false }
    }

    /// A chunk by its number: those of the plan in its order, then halves of split ones.
    #[must_use]
    pub fn chunk(&self, number: usize) -> Option<&Chunk> {
        self.chunks.get(number).map(|state| &state.chunk)
    }

    /// What was answered so far, and what that took.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Takes an event and says what is to be done. After [`Action::Finish`] or [`Action::Fail`],
    /// which come last, events change nothing.
    pub fn handle(&mut self, fleet: &mut Fleet, now: Time, event: Event) -> Vec<Action> {
        if self.over {
            return Vec::new();
        }
        let mut actions = Vec::new();
        match event {
            Event::Start | Event::Tick | Event::ProbeAnswered { .. } | Event::ProbeFailed { .. } => {}
            Event::Answered { attempt, answer } => self.answered(fleet, now, attempt, &answer, &mut actions),
            Event::Failed { attempt, failure, report } => {
                if let Err(reason) = self.failed(fleet, now, attempt, failure, report) {
                    return self.fail(actions, reason, Some(attempt));
                }
            }
            Event::Cancelled => return self.fail(actions, FailReason::Cancelled, None),
        }
        if self.chunks.iter().all(|chunk| chunk.phase == Phase::Done) {
            self.over = true;
            actions.push(Action::Finish(self.coverage));
            return actions;
        }
        if now >= self.options.deadline {
            return self.fail(actions, FailReason::Deadline, None);
        }
        self.place(fleet, now, &mut actions);
        actions.extend(self.wake());
        actions
    }

    fn fail(&mut self, mut actions: Vec<Action>, reason: FailReason, cause: Option<AttemptId>) -> Vec<Action> {
        self.over = true;
        let live = std::mem::take(&mut self.live);
        actions.extend(live.into_keys().map(|attempt| Action::Cancel { attempt, reason: CancelReason::JobOver }));
        actions.push(Action::Fail { reason, cause, coverage: self.coverage });
        actions
    }

    /// An attempt has ended: its tokens are no longer in flight, which must be so before the report that
    /// came with its end is read: that would else seem to speak of them.
    fn end(&mut self, id: AttemptId) -> Option<(usize, EndpointId)> {
        let Attempt { chunk, endpoint, ticket } = self.live.remove(&id)?;
        drop(ticket);
        Some((chunk, endpoint))
    }

    fn answered(&mut self, fleet: &mut Fleet, now: Time, id: AttemptId, answer: &Answer, actions: &mut Vec<Action>) {
        let Some((number, endpoint)) = self.end(id) else { return };
        fleet.reached(endpoint);
        fleet.saw_texts(self.model, answer.texts);
        fleet.saw_batches(endpoint, self.model, answer.batches.iter().copied(), now);
        if let Some(report) = answer.report {
            fleet.report(endpoint, self.model, report, now);
        }
        if let Some(chunk) = self.chunks.get_mut(number) {
            chunk.phase = Phase::Done;
            self.coverage.items += chunk.chunk.items.len();
            self.coverage.tokens += chunk.chunk.tokens;
            actions.push(Action::ChunkAnswered { chunk: number, attempt: id });
        }
    }

    /// An error where the job cannot go on.
    fn failed(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        id: AttemptId,
        failure: Failure,
        report: Option<Report>,
    ) -> Result<(), FailReason> {
        let Some((number, endpoint)) = self.end(id) else { return Ok(()) };
        match failure {
            Failure::Transport | Failure::Unavailable => fleet.lost(endpoint, now),
            Failure::Overloaded { pushback } => fleet.pushed_back(endpoint, now, pushback.unwrap_or_default()),
            Failure::Internal | Failure::Deadline | Failure::Fatal => fleet.reached(endpoint),
        }
        if let Some(report) = report {
            fleet.report(endpoint, self.model, report, now);
        }
        let Some(chunk) = self.chunks.get_mut(number) else { return Ok(()) };
        if chunk.phase == Phase::Done {
            return Ok(());
        }
        chunk.last_failure = Some(id);
        if !chunk.failed.contains(&endpoint) {
            chunk.failed.push(endpoint);
        }
        match failure {
            Failure::Fatal => return Err(FailReason::Refused),
            Failure::Deadline => return Err(FailReason::Deadline),
            Failure::Internal if !std::mem::take(&mut chunk.internal_retry) => return Err(FailReason::Attempts),
            _ if chunk.attempts >= fleet.config().retry.max_attempts => return Err(FailReason::Attempts),
            _ => {}
        }
        let free = failure == Failure::Transport && std::mem::take(&mut chunk.free_retry);
        if !free && !fleet.withdraw(chunk.chunk.tokens, now) {
            return Err(FailReason::Budget);
        }
        chunk.kind = if free { Kind::FreeRetry } else { Kind::Retry };
        let other = fleet.pick(self.model, chunk.chunk.tokens, now, |id| !chunk.failed.contains(&id));
        let wait = match (other, failure) {
            (Some(_), _) => Duration::ZERO,
            (None, Failure::Overloaded { pushback: Some(wait) }) => wait,
            (None, _) => fleet.backoff(chunk.attempts),
        };
        let not_before = now + wait;
        chunk.phase = Phase::Waiting { not_before };
        if not_before < self.options.deadline { Ok(()) } else { Err(FailReason::NoTime) }
    }

    /// Sends what can be sent now, most tokens first.
    fn place(&mut self, fleet: &mut Fleet, now: Time, actions: &mut Vec<Action>) {
        for (number, state) in self.chunks.iter_mut().enumerate() {
            match state.phase {
                Phase::Waiting { not_before } if not_before <= now => {}
                _ => continue,
            }
            let tokens = state.chunk.tokens;
            let busy = |id: EndpointId| self.live.values().any(|attempt| attempt.endpoint == id);
            let failed = |id: EndpointId| state.failed.contains(&id);
            let target = state.chunk.target.filter(|&id| state.attempts == 0 && !busy(id) && fleet.is_ready(id, now));
            let mut pick = |reason, allowed: &dyn Fn(EndpointId) -> bool| {
                fleet.pick(self.model, tokens, now, allowed).map(|id| (id, reason))
            };
            let chosen = match target {
                Some(target) => Some((target, PlaceReason::Planned)),
                None if state.attempts == 0 => pick(PlaceReason::Scanned, &|id| !busy(id)),
                None => pick(PlaceReason::Scanned, &|id| !failed(id) && !busy(id))
                    .or_else(|| pick(PlaceReason::SharedWithSibling, &|id| !failed(id)))
                    .or_else(|| pick(PlaceReason::TriedBefore, &|_| true)),
            };
            let Some((endpoint, reason)) = chosen else { continue };
            let kind = state.kind;
            if kind == Kind::First {
                fleet.deposit(tokens);
            } else {
                self.coverage.retries += 1;
                self.coverage.extra_tokens += tokens;
                self.coverage.free_tokens += if kind == Kind::FreeRetry { tokens } else { 0 };
            }
            let attempt = AttemptId(self.coverage.attempts);
            self.coverage.attempts += 1;
            state.attempts += 1;
            state.phase = Phase::Running;
            let ticket = fleet.begin(endpoint, self.model, tokens);
            self.live.insert(attempt, Attempt { chunk: number, endpoint, ticket });
            let (deadline, number_of_attempt) = (self.options.deadline, state.attempts);
            let send = Send { attempt, chunk: number, endpoint, number: number_of_attempt, deadline, kind, reason };
            actions.push(Action::Send(send));
        }
    }

    fn wake(&self) -> Option<Action> {
        let waiting = self.chunks.iter().filter_map(|chunk| match chunk.phase {
            Phase::Waiting { not_before } => Some(not_before),
            Phase::Running | Phase::Done => None,
        });
        let first = waiting.filter(|&time| time > Time::default()).min();
        Some(Action::WakeAt(first.unwrap_or(self.options.deadline).min(self.options.deadline)))
    }
}
