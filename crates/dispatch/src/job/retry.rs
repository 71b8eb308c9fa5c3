//! What follows a failure.
//!
//! * While another attempt of the chunk runs: nothing. An error does not end a race.
//! * At once on a server that has not had the chunk. The first retry of a chunk whose attempt
//!   died in transport is free: a dead server's share of the work must go somewhere, all of
//!   it at once. Others take their tokens out of the budget.
//! * Only where every server has had it there is a wait: what the server asked for, else
//!   exponential backoff with full jitter.
//! * A chunk that servers fail one after the other, or die of, may hold a poisoned item: it is
//!   split once, and each half tried once.
//! * What every server would say ends the job.

use std::time::Duration;

use super::{Action, AttemptId, FailReason, Failure, Fleet, Job, Join, Phase, Report, Time, state::ChunkState};
use crate::{
    action::{Kind, Missing},
    fleet::Wish,
    plan::Chunk,
};

/// Faults of different servers after which a chunk is split: one is the server's, two are the chunk's.
const FAULTS_TO_SPLIT: u32 = 2;

/// Deaths of different servers after which a chunk is split: servers do die together, of a power
/// cut or a roll-out.
const DEATHS_TO_SPLIT: u32 = 3;

impl Job {
    /// An error where the job cannot go on.
    pub(super) fn failed(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        id: AttemptId,
        failure: Failure,
        report: Option<Report>,
        actions: &mut Vec<Action>,
    ) -> Result<(), FailReason> {
        let Some(attempt) = self.live.remove(&id) else { return Ok(()) };
        let (number, endpoint, took) = (attempt.chunk, attempt.endpoint, attempt.took(now));
        drop(attempt);
        fleet.left(self.model, took, now);
        fleet.failed(endpoint, failure, now);
        if let Some(report) = report {
            fleet.report(endpoint, self.model, report, now);
        }
        let racing = self.live.values().any(|attempt| attempt.chunk == number);
        let Some(state) = self.chunks.get_mut(number).filter(|state| state.phase == Phase::Running) else {
            return Ok(());
        };
        state.last_failure = Some(id);
        match failure {
            Failure::Fatal => return Err(FailReason::Refused),
            Failure::Transport => state.deaths += 1,
            Failure::Internal => state.faults += 1,
            Failure::Unavailable | Failure::Overloaded { .. } | Failure::Deadline => {}
        }
        if racing {
            return Ok(());
        }
        state.round = None;
        if failure == Failure::Deadline {
            return self.lose(number, FailReason::Deadline, actions);
        }
        if state.faults >= FAULTS_TO_SPLIT || state.deaths >= DEATHS_TO_SPLIT || (state.is_half && state.faults > 0) {
            return self.split(fleet, now, number, actions);
        }
        if state.attempts >= fleet.config().retry.max_attempts {
            return self.lose(number, FailReason::Attempts, actions);
        }
        let free = failure == Failure::Transport && std::mem::take(&mut state.free_retry);
        if !free && !fleet.pay_retry(state.chunk.tokens, now) {
            return self.lose(number, FailReason::Budget, actions);
        }
        state.next = if free { Kind::FreeRetry } else { Kind::Retry };
        let not_before = now + self.wait(fleet, now, number, failure);
        if not_before >= self.options.deadline {
            return self.lose(number, FailReason::NoTime, actions);
        }
        if let Some(state) = self.chunks.get_mut(number) {
            state.phase = Phase::Waiting { not_before };
        }
        Ok(())
    }

    /// How long a chunk waits before it is tried again: not at all where there is a server that has not
    /// had it and can be reached.
    fn wait(&self, fleet: &mut Fleet, now: Time, number: usize, failure: Failure) -> Duration {
        let Some(state) = self.chunks.get(number) else { return Duration::ZERO };
        let (kind, tokens) = (state.next, state.chunk.tokens);
        let wish = Wish { model: self.model, tokens, kind, tried: &state.tried, siblings: &[] };
        let other = fleet.pick(&wish, now).is_some_and(|(other, _)| !state.tried.contains(&other.endpoint));
        match failure {
            _ if other => Duration::ZERO,
            Failure::Overloaded { pushback: Some(wait) } => wait,
            _ => fleet.backoff(state.attempts),
        }
    }

    /// A chunk that may hold a poisoned item goes on as two halves, once.
    fn split(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        number: usize,
        actions: &mut Vec<Action>,
    ) -> Result<(), FailReason> {
        let halves = self.chunks.get(number).filter(|state| !state.is_half).and_then(|state| halves(&state.chunk));
        let Some(halves) = halves else { return self.lose(number, FailReason::Poison, actions) };
        let tokens = halves.iter().map(|half| half.tokens).sum();
        if !fleet.pay_retry(tokens, now) {
            return self.lose(number, FailReason::Budget, actions);
        }
        fleet.count_split();
        let first = self.chunks.len();
        for chunk in halves {
            let half = ChunkState { is_half: true, free_retry: false, next: Kind::Retry, ..ChunkState::new(chunk) };
            self.chunks.push(half);
        }
        if let Some(state) = self.chunks.get_mut(number) {
            state.phase = Phase::Split;
        }
        actions.push(Action::Split { chunk: number, halves: [first, first + 1] });
        Ok(())
    }

    /// A chunk will have no answer: that is the job's end where all are wanted.
    fn lose(&mut self, number: usize, reason: FailReason, actions: &mut Vec<Action>) -> Result<(), FailReason> {
        if self.options.join == Join::All {
            return Err(reason);
        }
        if let Some(state) = self.chunks.get_mut(number) {
            state.phase = Phase::Lost;
            let why = if reason == FailReason::Deadline { Missing::TooLate } else { Missing::Failed };
            actions.push(Action::ChunkLost { chunk: number, reason: why, cause: state.last_failure });
        }
        Ok(())
    }
}

/// The two halves of a chunk; none of a chunk of one item.
fn halves(chunk: &Chunk) -> Option<[Chunk; 2]> {
    let middle = chunk.items.len() / 2;
    let (left, right) = chunk.items.split_at_checked(middle).filter(|(left, _)| !left.is_empty())?;
    // By items: what single items weigh is not kept.
    let share = |part: &[usize]| chunk.tokens * part.len() as u64 / chunk.items.len().max(1) as u64;
    Some([left, right].map(|part| Chunk { items: part.to_vec(), tokens: share(part).max(1), target: None }))
}
