//! One job on its way: a state machine without sockets or clocks. Events go in,
//! actions come out.
//!
//! ```text
//!            +--Probe--> asked --answers, or time over--+
//!            |                                          v
//! Start -----+----------------------------------> chunks Waiting
//!
//! Waiting --Send--> Running --first answer--> Done         enough Done => Finish
//!    ^               |   |
//!    |               |   +--late--> hedged: a second attempt runs beside the first
//!    +----retry------+--all attempts failed--> Split, or Lost, or the job fails
//! ```
//!
//! | module | part |
//! |---|---|
//! | `state` | what is kept of chunks and attempts |
//! | `place` | probes for a job, first attempts, sending |
//! | `retry` | what follows a failure |
//! | `hedge` | what follows lateness |
//! | `join` | when it is over |
//!
//! Invariants: a chunk is answered at most once; attempts of a chunk that run at the same
//! time are on different servers; after `Finish` or `Fail`, and once the job is dropped,
//! none of its tokens is in flight.

mod hedge;
mod join;
mod place;
mod retry;
mod state;

use std::collections::BTreeMap;

use crate::{
    action::{Action, AttemptKind, CancelReason, Coverage, FailReason},
    event::{AnswerReport, Event, Failure},
    fleet::Fleet,
    ids::{AttemptId, EndpointId, ModelId, ProbeId},
    options::{JobOptions, Join},
    plan::{Chunk, DeferredPlan, Plan},
    report::LoadReport,
    time::Time,
};
use state::{AttemptState, ChunkPhase, ChunkState, ProbeRound};

/// One job.
#[derive(Debug)]
pub struct Job {
    model: ModelId,
    options: JobOptions,
    deferred: Option<DeferredPlan>,
    chunks: Vec<ChunkState>,
    live: BTreeMap<AttemptId, AttemptState>,
    /// Probes under way before the job is cut.
    round: Option<ProbeRound>,
    coverage: Coverage,
    /// When a job with enough coverage ends.
    soft_end: Option<Time>,
    over: bool,
}

impl Job {
    /// A job with a plan.
    #[must_use]
    pub fn new(model: ModelId, plan: Plan, options: JobOptions) -> Self {
        let mut job = Self {
            model,
            options,
            deferred: plan.deferred,
            chunks: Vec::new(),
            live: BTreeMap::new(),
            round: None,
            coverage: Coverage::default(),
            soft_end: None,
            over: false,
        };
        job.take_chunks(plan.chunks);
        job
    }

    fn take_chunks(&mut self, chunks: Vec<Chunk>) {
        self.coverage.of_items += chunks.iter().map(|chunk| chunk.items.len()).sum::<usize>();
        self.coverage.of_tokens += chunks.iter().map(|chunk| chunk.tokens).sum::<u64>();
        self.chunks.extend(chunks.into_iter().map(ChunkState::new));
    }

    /// A chunk by its index: those of the plan in its order, then halves of split ones. A job whose
    /// plan is deferred has none before its probes are back.
    #[must_use]
    pub fn chunk(&self, index: usize) -> Option<&Chunk> {
        self.chunks.get(index).map(|state| &state.chunk)
    }

    /// What was answered so far, and what that took.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Takes an event and says what is to be done. After [`Action::Finish`] or [`Action::Fail`],
    /// which come last, events change nothing.
    pub fn handle(&mut self, fleet: &mut Fleet, now: Time, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.over {
            return actions;
        }
        let outcome = self.take(fleet, now, event, &mut actions);
        if let Err((reason, cause)) = outcome {
            self.fail(fleet, now, reason, cause, &mut actions);
        } else if !self.join(fleet, now, &mut actions) {
            self.ask_or_cut(fleet, now, &mut actions);
            self.hedge(fleet, now, &mut actions);
            match self.place(fleet, now, &mut actions) {
                // What could not be sent may have been the last that was waited for.
                Ok(()) if self.join(fleet, now, &mut actions) => {}
                Ok(()) => actions.push(Action::WakeAt(self.wake(fleet, now))),
                Err((reason, cause)) => self.fail(fleet, now, reason, cause, &mut actions),
            }
        }
        if fleet.take_dirty() {
            // Before the last action, which may end the job.
            actions.insert(0, Action::PollFleet);
        }
        actions
    }

    /// An error where the job cannot go on.
    fn take(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        event: Event,
        actions: &mut Vec<Action>,
    ) -> Result<(), (FailReason, Option<AttemptId>)> {
        match event {
            Event::Start | Event::Tick => Ok(()),
            Event::Answered { attempt, answer } => {
                self.answered(fleet, now, attempt, &answer, actions);
                Ok(())
            }
            Event::Failed { attempt, failure, report } => {
                self.failed(fleet, now, attempt, failure, report, actions).map_err(|reason| (reason, Some(attempt)))
            }
            Event::ProbeAnswered { probe, report } => {
                self.probe_over(fleet, now, probe, Ok(report));
                Ok(())
            }
            Event::ProbeFailed { probe, failure } => {
                self.probe_over(fleet, now, probe, Err(failure));
                Ok(())
            }
            Event::Cancelled => Err((FailReason::Cancelled, None)),
        }
    }

    fn answered(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        id: AttemptId,
        answer: &AnswerReport,
        actions: &mut Vec<Action>,
    ) {
        let Some(attempt) = self.live.remove(&id) else { return };
        let took = attempt.times(now);
        // No longer in flight, before the report is read: that would else seem to speak of it.
        let AttemptState { chunk: index, endpoint, kind, in_flight, .. } = attempt;
        drop(in_flight);
        fleet.answered(endpoint, self.model, answer, took, now);
        let Some(state) = self.chunks.get_mut(index).filter(|state| state.phase != ChunkPhase::Done) else { return };
        state.phase = ChunkPhase::Done;
        fleet.deposit(state.chunk.work);
        self.coverage.items += state.chunk.items.len();
        self.coverage.tokens += state.chunk.tokens;
        if kind == AttemptKind::Hedge {
            self.coverage.hedges_won += 1;
            fleet.count_won();
        }
        actions.push(Action::ChunkAnswered { chunk: index, attempt: id });
        let losers = self.live.iter().filter(|(_, attempt)| attempt.chunk == index).map(|(id, _)| *id);
        for loser in losers.collect::<Vec<_>>() {
            self.cancel_attempt(fleet, now, loser, CancelReason::Lost, actions);
        }
    }

    /// Gives an attempt up: its tokens are back, and it counts as one that would have taken longer.
    fn cancel_attempt(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        id: AttemptId,
        reason: CancelReason,
        actions: &mut Vec<Action>,
    ) {
        if let Some(attempt) = self.live.remove(&id) {
            fleet.left(self.model, attempt.times(now), now);
            fleet.count_cancelled();
            actions.push(Action::Cancel { attempt: id, reason });
        }
    }

    /// The next moment at which something may be to do. What is waited for without a time comes with
    /// an event; where none can come, for nothing is under way and there is no server, another look is
    /// taken after a pause.
    fn wake(&self, fleet: &Fleet, now: Time) -> Time {
        let waits = |state: &ChunkState| matches!(state.phase, ChunkPhase::Waiting { not_before } if not_before <= now);
        let stranded = self.live.is_empty() && self.chunks.iter().any(waits);
        let look = stranded.then(|| now + fleet.config().retry.max_backoff);
        let waiting = self.chunks.iter().filter_map(|state| match state.phase {
            ChunkPhase::Waiting { not_before } => Some(not_before),
            _ => None,
        });
        let late = self.live.values().filter_map(|attempt| attempt.check_at);
        let asking = self.round.as_ref().filter(|_| self.deferred.is_some());
        let rounds = self.chunks.iter().filter_map(|state| state.round.as_ref()).chain(asking);
        let all = waiting.chain(late).chain(rounds.map(|round| round.until)).chain(self.soft_end).chain(look);
        all.filter(|&time| time > now).min().unwrap_or(self.options.deadline).min(self.options.deadline)
    }
}
