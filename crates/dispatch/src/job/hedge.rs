//! What follows lateness.
//!
//! An attempt past `trigger · predicted`, and past the floor, makes its server suspect. It is
//! hedged, if the best server that the chunk was not sent to, as it stands now, is
//! predicted to answer sooner than waiting on would take; else it is looked at again when
//! it should have been answered. Of several, the one with the most time left goes first: it
//! holds the job.
//!
//! What waiting on takes: what the server's report of after the sending says that it
//! still has to do; else what was predicted; and once that is past, as long again as it has
//! been overdue, for a stall of unknown length.
//!
//! A server that has not answered its probe for some time either ([`Fleet::is_silent`]) does not run. Whatever it
//! has is late then, also what is not yet past its own trigger, and is not waited for: its chunks are hedged at once,
//! as far as the budget goes. (Real processes stopped for 150 ms: comparing with the time overdue hedged after 60 to
//! 100 ms.)

use std::time::Duration;

use sortie_work::Lane;

use super::{Action, AttemptId, ChunkPhase, EndpointId, Fleet, Job, Time, place::ask, state::AttemptState};
use crate::{
    action::{AttemptKind, HedgeSkipped, PlaceReason, ProbePurpose},
    fleet::PickRequest,
    place::Candidate,
};

impl Job {
    /// Looks at attempts that are late.
    pub(super) fn hedge(&mut self, fleet: &mut Fleet, now: Time, actions: &mut Vec<Action>) {
        let mut due: Vec<(f64, AttemptId)> = Vec::new();
        for (&id, attempt) in &mut self.live {
            let silent = !attempt.late && fleet.is_silent(attempt.endpoint, now);
            if silent || attempt.check_at.is_some_and(|at| at <= now) {
                if !std::mem::replace(&mut attempt.late, true) {
                    fleet.suspect(attempt.endpoint, now);
                }
                due.push((left_us(fleet, attempt, now), id));
            }
        }
        due.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (left_us, id) in due {
            self.consider(fleet, now, id, left_us, actions);
        }
        self.finish_rounds(fleet, now, actions);
    }

    /// Hedges a late attempt, asks servers about it, or says why not.
    fn consider(&mut self, fleet: &mut Fleet, now: Time, id: AttemptId, left_us: f64, actions: &mut Vec<Action>) {
        let Some(attempt) = self.live.get(&id) else { return };
        let index = attempt.chunk;
        let newest = self.live.iter().rev().find(|(_, other)| other.chunk == index).map(|(id, _)| *id);
        let again = again(fleet, attempt, left_us);
        if let Some(reason) = self.forbidden(fleet, now, attempt) {
            // These end when the server falls silent, or the load falls.
            let passes = matches!(reason, HedgeSkipped::WholeAndLoaded | HedgeSkipped::Bulk);
            let check_at = passes.then(|| now + again);
            return self.skip_hedge(fleet, id, reason, check_at, actions);
        }
        if newest != Some(id) {
            // Its hedge is under way, and is looked at itself.
            return self.check(id, None);
        }
        if !fleet.is_small() && fleet.config().place.probing {
            self.ask_for_hedge(fleet, now, id, actions);
            return;
        }
        let candidate = self.alternative(fleet, now, index, None);
        self.decide(fleet, now, id, left_us, candidate, actions);
    }

    /// Why an attempt is never hedged, or not at this load.
    fn forbidden(&self, fleet: &Fleet, now: Time, attempt: &AttemptState) -> Option<HedgeSkipped> {
        let hedge = &fleet.config().hedge;
        let state = self.chunks.get(attempt.chunk)?;
        if !self.options.hedging || !hedge.enabled {
            return Some(HedgeSkipped::Off);
        }
        if state.hedges >= hedge.max_hedges {
            return Some(HedgeSkipped::Enough);
        }
        // What a silent server has is lost for now: sending it again is no gamble on its speed.
        if fleet.is_silent(attempt.endpoint, now) {
            return None;
        }
        if self.options.lane == Lane::Bulk {
            return Some(HedgeSkipped::Bulk);
        }
        let whole = self.chunks.iter().filter(|state| state.phase != ChunkPhase::Split).count() == 1;
        (whole && fleet.load() > hedge.whole_load).then_some(HedgeSkipped::WholeAndLoaded)
    }

    /// Asks some servers, so that the hedge goes to one that is idle now.
    fn ask_for_hedge(&mut self, fleet: &mut Fleet, now: Time, id: AttemptId, actions: &mut Vec<Action>) {
        let Some(index) = self.live.get(&id).map(|attempt| attempt.chunk) else { return };
        let siblings = self.siblings(fleet, index);
        let Some(state) = self.chunks.get_mut(index).filter(|state| state.round.is_none()) else { return };
        let work = state.chunk.work;
        let request = PickRequest::of(self.model, work, AttemptKind::Hedge, &self.options);
        let request = PickRequest { tried: &state.tried, siblings: &siblings, ..request };
        let servers = fleet.draw_for_hedge(&request, now);
        let round = ask(fleet, now, &servers, work, ProbePurpose::Hedge, actions);
        let until = round.until;
        state.round = Some(round);
        self.check(id, Some(until));
    }

    /// Decides about chunks whose probes are back.
    fn finish_rounds(&mut self, fleet: &mut Fleet, now: Time, actions: &mut Vec<Action>) {
        for index in 0..self.chunks.len() {
            let over = |state: &mut super::ChunkState| state.round.take_if(|round| round.is_over(now));
            let Some(round) = self.chunks.get_mut(index).and_then(over) else { continue };
            let newest = self.live.iter().rev().find(|(_, attempt)| attempt.chunk == index);
            let Some((&id, attempt)) = newest else { continue };
            let left_us = left_us(fleet, attempt, now);
            let candidate = self.alternative(fleet, now, index, Some(&round.answered));
            self.decide(fleet, now, id, left_us, candidate, actions);
        }
    }

    /// The server that would answer a chunk first beside those that have it.
    fn alternative(
        &self,
        fleet: &mut Fleet,
        now: Time,
        index: usize,
        among: Option<&[EndpointId]>,
    ) -> Option<(Candidate, PlaceReason)> {
        let state = self.chunks.get(index)?;
        let siblings = self.siblings(fleet, index);
        let request = PickRequest::of(self.model, state.chunk.work, AttemptKind::Hedge, &self.options);
        let request = PickRequest { tried: &state.tried, siblings: &siblings, ..request };
        match among {
            None => fleet.pick(&request, now),
            Some(servers) => fleet.best_of(servers, &request, now).map(|best| (best, PlaceReason::Probed)),
        }
    }

    /// Servers that have attempts of this job; without exclusion, those of its other chunks.
    fn siblings(&self, fleet: &Fleet, index: usize) -> Vec<EndpointId> {
        let exclusion = fleet.config().place.exclusion;
        let others = self.live.values().filter(|attempt| exclusion || attempt.chunk != index);
        others.map(|attempt| attempt.endpoint).collect()
    }

    fn decide(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        id: AttemptId,
        left_us: f64,
        candidate: Option<(Candidate, PlaceReason)>,
        actions: &mut Vec<Action>,
    ) {
        let Some(attempt) = self.live.get(&id) else { return };
        let index = attempt.chunk;
        let Some(work) = self.chunks.get(index).map(|state| state.chunk.work) else { return };
        let Some((candidate, reason)) = candidate else {
            let at = now + again(fleet, attempt, left_us);
            return self.skip_hedge(fleet, id, HedgeSkipped::NoneSooner, Some(at), actions);
        };
        let finish_us = candidate.finish_us(work as f64);
        let in_time = now + micros(finish_us) < self.options.deadline;
        let sooner = finish_us < left_us || fleet.is_silent(attempt.endpoint, now);
        if !sooner || !in_time {
            let at = now + again(fleet, attempt, left_us.min(finish_us));
            return self.skip_hedge(fleet, id, HedgeSkipped::NoneSooner, Some(at), actions);
        }
        if !fleet.pay_hedge(work) {
            let at = now + again(fleet, attempt, finish_us);
            return self.skip_hedge(fleet, id, HedgeSkipped::Budget, Some(at), actions);
        }
        self.check(id, None);
        self.send(fleet, now, index, candidate, AttemptKind::Hedge, reason, actions);
    }

    fn skip_hedge(
        &mut self,
        fleet: &mut Fleet,
        id: AttemptId,
        reason: HedgeSkipped,
        check_at: Option<Time>,
        actions: &mut Vec<Action>,
    ) {
        let Some(attempt) = self.live.get_mut(&id) else { return };
        attempt.check_at = check_at;
        if attempt.skipped.replace(reason) != Some(reason) {
            fleet.count_withheld(reason);
            actions.push(Action::HedgeSkipped { attempt: id, reason });
        }
    }

    fn check(&mut self, id: AttemptId, at: Option<Time>) {
        if let Some(attempt) = self.live.get_mut(&id) {
            attempt.check_at = at;
        }
    }
}

/// Microseconds until a late attempt is answered, if it is waited for.
fn left_us(fleet: &Fleet, attempt: &AttemptState, now: Time) -> f64 {
    let elapsed = attempt.elapsed_us(now);
    let (expected, overdue) = (attempt.finish_us - elapsed, elapsed - attempt.finish_us);
    fleet.queue_wait_left_us(attempt.endpoint, attempt.sent, now).unwrap_or_else(|| expected.max(overdue))
}

/// How soon a late attempt is looked at again: when it should be answered, or its server is known not to run.
fn again(fleet: &Fleet, attempt: &AttemptState, us: f64) -> Duration {
    let (hedge, health) = (&fleet.config().hedge, &fleet.config().health);
    let wait = micros(us);
    let wait = if fleet.is_suspect(attempt.endpoint) { wait.min(health.silent_after) } else { wait };
    wait.max(hedge.floor)
}

fn micros(us: f64) -> Duration {
    Duration::try_from_secs_f64(us / 1e6).unwrap_or(Duration::MAX)
}
