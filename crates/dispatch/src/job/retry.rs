//! What follows a failure.
//!
//! * While another attempt of the chunk runs: nothing. An error does not end a race.
//! * At once on a server that has not had the chunk. The first retry of a chunk whose attempt
//!   died in transport is free: a dead server's share of the work must go somewhere, all of
//!   it at once. Others take their tokens out of the budget.
//! * Only where every server has had it there is a wait: what the server asked for, else
//!   exponential backoff with full jitter.
//! * A server that refused for having too much work has done none, but calls cost it too: a refusal is an attempt like
//!   others, and takes from the budget. The chunk goes to another server that may have time, if the budget pays
//!   for that; with nowhere else to go it waits for as long as the server asked, if that leaves time for the work and
//!   the server did not say "never". Else the job ends now, with the refusal: a failure at once is worth more to its
//!   caller than the same failure at the deadline (gRFC A6; Site Reliability Engineering, chapters 21 and 22).
//! * Bulk work waits: its refusals neither count nor are paid for, and the deadline alone ends it.
//! * A chunk that servers fail one after the other, or die of, may hold a poisoned item: it is
//!   split once, and each half tried once.
//! * What every server would say ends the job.

use sortie_work::Lane;

use super::{
    Action, AttemptId, ChunkPhase, FailReason, Failure, Fleet, Job, Join, LoadReport, Time, state::ChunkState,
};
use crate::{
    action::{AttemptKind, Missing, PlaceReason},
    event::Pushback,
    fleet::PickRequest,
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
        report: Option<LoadReport>,
        actions: &mut Vec<Action>,
    ) -> Result<(), FailReason> {
        let Some(attempt) = self.live.remove(&id) else { return Ok(()) };
        let (index, endpoint, kind, took) = (attempt.chunk, attempt.endpoint, attempt.kind, attempt.times(now));
        drop(attempt);
        fleet.left(self.model, took, now);
        fleet.failed(endpoint, failure, now);
        if let Some(report) = report {
            fleet.report(endpoint, self.model, report, now);
        }
        if let Failure::Overloaded { queue, .. } = failure
            && let Some(state) = self.chunks.get(index)
        {
            let request = PickRequest::of(self.model, state.chunk.work, AttemptKind::Retry, &self.options);
            // A hedge waits behind first attempts: what is ahead of it is not ahead of them.
            fleet.refused(endpoint, &request, queue.filter(|_| kind != AttemptKind::Hedge), now);
        }
        let racing = self.live.values().any(|attempt| attempt.chunk == index);
        let Some(state) = self.chunks.get_mut(index).filter(|state| state.phase == ChunkPhase::Running) else {
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
            return self.fail_chunk(index, FailReason::Deadline, actions);
        }
        if state.faults >= FAULTS_TO_SPLIT || state.deaths >= DEATHS_TO_SPLIT || (state.is_half && state.faults > 0) {
            return self.split(fleet, now, index, actions);
        }
        if let Failure::Overloaded { pushback, .. } = failure {
            return self.refused(fleet, now, index, pushback, actions);
        }
        if state.attempts >= fleet.config().retry.max_attempts {
            return self.fail_chunk(index, FailReason::Attempts, actions);
        }
        let died = failure == Failure::Transport && std::mem::take(&mut state.free_retry);
        let (work, newest) = (state.chunk.work, state.newest);
        let elsewhere = self.has_other(fleet, now, index);
        let paid = !died && fleet.pay_retry(work, now);
        if !(died || paid) {
            return self.fail_chunk(index, FailReason::Budget, actions);
        }
        let not_before = if elsewhere { now } else { now + fleet.backoff(newest) };
        self.again(index, not_before, if paid { AttemptKind::Retry } else { AttemptKind::FreeRetry }, actions)
    }

    /// What follows a refusal for too much work.
    fn refused(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        index: usize,
        pushback: Pushback,
        actions: &mut Vec<Action>,
    ) -> Result<(), FailReason> {
        let bulk = self.options.lane == Lane::Bulk;
        let Some(state) = self.chunks.get_mut(index) else { return Ok(()) };
        if bulk {
            state.attempts = state.attempts.saturating_sub(1);
        }
        let (work, newest, attempts) = (state.chunk.work, state.newest, state.attempts);
        let elsewhere = self.has_other(fleet, now, index);
        let not_before = match pushback {
            _ if elsewhere => now,
            Pushback::Never => return self.fail_chunk(index, FailReason::Overloaded, actions),
            Pushback::After(wait) => now + wait.max(fleet.backoff(newest)),
            Pushback::Unsaid => now + fleet.backoff(newest),
        };
        if not_before >= self.options.deadline {
            return self.fail_chunk(index, FailReason::NoTime, actions);
        }
        if !bulk && attempts >= fleet.config().retry.max_attempts {
            return self.fail_chunk(index, FailReason::Attempts, actions);
        }
        let paid = !bulk && fleet.pay_retry(work, now);
        if !(bulk || paid) {
            return self.fail_chunk(index, FailReason::Budget, actions);
        }
        self.again(index, not_before, if paid { AttemptKind::Retry } else { AttemptKind::FreeRetry }, actions)
    }

    /// The chunk is sent again, not before that moment.
    fn again(
        &mut self,
        index: usize,
        not_before: Time,
        next: AttemptKind,
        actions: &mut Vec<Action>,
    ) -> Result<(), FailReason> {
        if not_before >= self.options.deadline {
            return self.fail_chunk(index, FailReason::NoTime, actions);
        }
        if let Some(state) = self.chunks.get_mut(index) {
            state.next = next;
            state.phase = ChunkPhase::Waiting { not_before };
        }
        Ok(())
    }

    /// Whether there is a server that has not had the chunk and can be reached.
    fn has_other(&self, fleet: &mut Fleet, now: Time, index: usize) -> bool {
        let Some(state) = self.chunks.get(index) else { return false };
        let request = PickRequest::of(self.model, state.chunk.work, AttemptKind::Retry, &self.options);
        let request = PickRequest { tried: &state.tried, ..request };
        fleet
            .pick(&request, now)
            .is_some_and(|(other, reason)| !state.tried.contains(&other.endpoint) && reason != PlaceReason::NotReady)
    }

    /// A chunk that may hold a poisoned item goes on as two halves, once.
    fn split(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        index: usize,
        actions: &mut Vec<Action>,
    ) -> Result<(), FailReason> {
        let halves = self.chunks.get(index).filter(|state| !state.is_half).and_then(|state| halves(&state.chunk));
        let Some(halves) = halves else { return self.fail_chunk(index, FailReason::Poison, actions) };
        let work = halves.iter().map(|half| half.work).sum();
        if !fleet.pay_retry(work, now) {
            return self.fail_chunk(index, FailReason::Budget, actions);
        }
        fleet.count_split();
        let first = self.chunks.len();
        for chunk in halves {
            let half =
                ChunkState { is_half: true, free_retry: false, next: AttemptKind::Retry, ..ChunkState::new(chunk) };
            self.chunks.push(half);
        }
        if let Some(state) = self.chunks.get_mut(index) {
            state.phase = ChunkPhase::Split;
        }
        actions.push(Action::Split { chunk: index, halves: [first, first + 1] });
        Ok(())
    }

    /// A chunk will have no answer: that is the job's end where all are wanted.
    pub(super) fn fail_chunk(
        &mut self,
        index: usize,
        reason: FailReason,
        actions: &mut Vec<Action>,
    ) -> Result<(), FailReason> {
        if self.options.join == Join::All {
            return Err(reason);
        }
        if let Some(state) = self.chunks.get_mut(index) {
            state.phase = ChunkPhase::Lost;
            let why = if reason == FailReason::Deadline { Missing::OutOfTime } else { Missing::Failed };
            actions.push(Action::ChunkLost { chunk: index, reason: why, cause: state.last_failure });
        }
        Ok(())
    }
}

/// The two halves of a chunk; none of a chunk of one item.
fn halves(chunk: &Chunk) -> Option<[Chunk; 2]> {
    let middle = chunk.items.len() / 2;
    let (left, right) = chunk.items.split_at_checked(middle).filter(|(left, _)| !left.is_empty())?;
    // By items: what single items weigh is not kept.
    let share = |all: u64, part: &[usize]| (all * part.len() as u64 / chunk.items.len().max(1) as u64).max(1);
    let half = |part: &[usize]| Chunk {
        items: part.to_vec(),
        tokens: share(chunk.tokens, part),
        work: share(chunk.work, part),
        target: None,
    };
    Some([half(left), half(right)])
}
