//! When a job is over, by what its caller wants.

use super::{Action, AttemptId, CancelReason, ChunkPhase, ChunkState, FailReason, Fleet, Job, Join, Time};

impl Job {
    /// Ends the job if it is time. Whether it is over.
    pub(super) fn join(&mut self, fleet: &mut Fleet, now: Time, actions: &mut Vec<Action>) -> bool {
        if self.deferred.is_none() && self.chunks.iter().all(|state| is_settled(state.phase)) {
            self.settle(fleet, now, FailReason::Attempts, actions);
        } else if now >= self.options.deadline {
            self.settle(fleet, now, FailReason::Deadline, actions);
        } else if let Join::Coverage { min, soft_wait } = self.options.join {
            if self.reachable() < min {
                self.fail(fleet, now, FailReason::Attempts, None, actions);
            } else if self.coverage.of_items > 0 && self.coverage.share() >= min {
                let end = *self.soft_end.get_or_insert(now + soft_wait);
                if now >= end {
                    self.finish(fleet, now, actions);
                }
            }
        }
        self.over
    }

    /// Nothing more is to come: is it enough?
    fn settle(&mut self, fleet: &mut Fleet, now: Time, reason: FailReason, actions: &mut Vec<Action>) {
        let enough = match self.options.join {
            Join::All => self.deferred.is_none() && self.coverage.items == self.coverage.of_items,
            Join::Coverage { min, .. } => self.deferred.is_none() && self.coverage.share() >= min,
            Join::Deadline => self.coverage.items > 0 || (self.deferred.is_none() && self.chunks.is_empty()),
        };
        if enough {
            self.finish(fleet, now, actions);
        } else {
            self.fail(fleet, now, reason, self.waited_for(), actions);
        }
    }

    /// The failed attempt after which a chunk waits for another one: what keeps the job from its end, where
    /// no attempt does.
    fn waited_for(&self) -> Option<AttemptId> {
        let waits = |state: &&ChunkState| matches!(state.phase, ChunkPhase::Waiting { .. });
        self.chunks.iter().filter(waits).find_map(|state| state.last_failure)
    }

    /// Share of the items that may still be answered.
    fn reachable(&self) -> f64 {
        let lost = self.chunks.iter().filter(|state| state.phase == ChunkPhase::Lost);
        let lost: usize = lost.map(|state| state.chunk.items.len()).sum();
        1.0 - lost as f64 / self.coverage.of_items.max(1) as f64
    }

    fn finish(&mut self, fleet: &mut Fleet, now: Time, actions: &mut Vec<Action>) {
        self.stop(fleet, now, CancelReason::JobOver, actions);
        for (index, state) in self.chunks.iter_mut().enumerate() {
            if !is_settled(state.phase) {
                state.phase = ChunkPhase::Lost;
                let reason = crate::action::Missing::OutOfTime;
                actions.push(Action::ChunkLost { chunk: index, reason, cause: state.last_failure });
            }
        }
        actions.push(Action::Finish(self.coverage));
    }

    pub(super) fn fail(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        reason: FailReason,
        cause: Option<AttemptId>,
        actions: &mut Vec<Action>,
    ) {
        let why = if reason == FailReason::Cancelled { CancelReason::Caller } else { CancelReason::JobOver };
        self.stop(fleet, now, why, actions);
        actions.push(Action::Fail { reason, cause, coverage: self.coverage });
    }

    fn stop(&mut self, fleet: &mut Fleet, now: Time, reason: CancelReason, actions: &mut Vec<Action>) {
        self.over = true;
        self.round = None;
        let live: Vec<_> = self.live.keys().copied().collect();
        for id in live {
            self.cancel_attempt(fleet, now, id, reason, actions);
        }
    }
}

fn is_settled(phase: ChunkPhase) -> bool {
    matches!(phase, ChunkPhase::Done | ChunkPhase::Split | ChunkPhase::Lost)
}
