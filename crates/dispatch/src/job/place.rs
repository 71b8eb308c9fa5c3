//! Probes before a job is cut, first attempts, and the sending of all.
//!
//! A job with a deferred plan asks its servers and is cut for those that answered, at the
//! latest after `min(probe_wait, 4 round trips)`, no less than the hedge floor. Late answers teach the fleet all the same.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Action, ChunkPhase, ChunkState, EndpointId, FailReason, Failure, Fleet, Job, LoadReport, ProbeId, ProbeRound, Time,
    state::AttemptState,
};
use crate::{
    action::{AttemptKind, PlaceReason, ProbePurpose, SendAttempt},
    fleet::PickRequest,
    ids::AttemptId,
    place::Candidate,
};

/// Round trips after which a probe is not waited for any longer.
const PROBE_WAIT_TRIPS: f64 = 4.0;

impl Job {
    /// Asks the servers of a deferred plan, or cuts it once they have answered.
    pub(super) fn ask_or_cut(&mut self, fleet: &mut Fleet, now: Time, actions: &mut Vec<Action>) {
        let Some(deferred) = &self.deferred else { return };
        match &self.round {
            None => {
                let (probes, work) = (deferred.probes.clone(), deferred.chunk_work);
                self.round = Some(ask(fleet, now, &probes, work, ProbePurpose::Place, actions));
            }
            Some(round) if round.is_over(now) => {
                let chunks = fleet.cut(deferred, &round.answered, self.model, now);
                self.deferred = None;
                self.take_chunks(chunks);
            }
            Some(_) => {}
        }
    }

    /// A probe was answered or has failed.
    pub(super) fn probe_over(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        probe: ProbeId,
        outcome: Result<LoadReport, Failure>,
    ) {
        let rounds = self.chunks.iter_mut().filter_map(|state| state.round.as_mut());
        let mut rounds = rounds.chain(self.round.as_mut());
        let Some(round) = rounds.find(|round| round.asked.contains_key(&probe)) else { return };
        let Some(endpoint) = round.asked.remove(&probe) else { return };
        match outcome {
            Ok(report) => {
                if !report.draining {
                    round.answered.push(endpoint);
                }
                fleet.probed(endpoint, self.model, report, now - round.began, now);
            }
            Err(failure) => fleet.failed(endpoint, failure, now),
        }
    }

    /// Sends what can be sent now, most work first. An error where a chunk that the job cannot do without has no
    /// server that could answer it in time: it is not sent, and neither are its siblings.
    pub(super) fn place(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        actions: &mut Vec<Action>,
    ) -> Result<(), (FailReason, Option<AttemptId>)> {
        for index in 0..self.chunks.len() {
            let waits =
                |state: &ChunkState| matches!(state.phase, ChunkPhase::Waiting { not_before } if not_before <= now);
            let Some(state) = self.chunks.get(index).filter(|state| waits(state)) else { continue };
            let cause = state.last_failure;
            if fleet.all_too_busy(&PickRequest::of(self.model, state.chunk.work, state.next, &self.options), now) {
                self.fail_chunk(index, FailReason::Overloaded, actions).map_err(|reason| (reason, cause))?;
                continue;
            }
            let Some((candidate, kind, reason)) = self.choose(fleet, now, index) else { continue };
            self.send(fleet, now, index, candidate, kind, reason, actions);
        }
        Ok(())
    }

    fn choose(&self, fleet: &mut Fleet, now: Time, index: usize) -> Option<(Candidate, AttemptKind, PlaceReason)> {
        let state = self.chunks.get(index)?;
        let siblings = self.servers();
        let (kind, work) = (state.next, state.chunk.work);
        let request = PickRequest {
            tried: &state.tried,
            siblings: &siblings,
            ..PickRequest::of(self.model, work, kind, &self.options)
        };
        let target = state.chunk.target.filter(|&id| kind == AttemptKind::First && fleet.is_open(id, &request, now));
        if let Some(candidate) = target.and_then(|id| fleet.candidate(id, self.model, now)) {
            let reason = if self.round.is_some() { PlaceReason::Probed } else { PlaceReason::Planned };
            return Some((candidate, kind, reason));
        }
        fleet.pick(&request, now).map(|(candidate, reason)| (candidate, kind, reason))
    }

    /// Servers that have attempts of this job.
    pub(super) fn servers(&self) -> Vec<EndpointId> {
        self.live.values().map(|attempt| attempt.endpoint).collect()
    }

    #[expect(clippy::too_many_arguments, reason = "an attempt is all of these")]
    pub(super) fn send(
        &mut self,
        fleet: &mut Fleet,
        now: Time,
        index: usize,
        candidate: Candidate,
        kind: AttemptKind,
        reason: PlaceReason,
        actions: &mut Vec<Action>,
    ) {
        let mut racing = self.live.values().filter(|attempt| attempt.chunk == index);
        let rescue = kind != AttemptKind::First && racing.all(|attempt| fleet.is_silent(attempt.endpoint, now));
        let Some(state) = self.chunks.get_mut(index) else { return };
        let (endpoint, tokens, work) = (candidate.endpoint, state.chunk.tokens, state.chunk.work);
        match kind {
            AttemptKind::First => {}
            AttemptKind::FreeRetry | AttemptKind::Retry => {
                self.coverage.retries += 1;
                self.coverage.extra_tokens += tokens;
                self.coverage.free_tokens += if kind == AttemptKind::FreeRetry { tokens } else { 0 };
            }
            AttemptKind::Hedge => {
                self.coverage.hedges += 1;
                self.coverage.extra_tokens += tokens;
                state.hedges += 1;
            }
        }
        fleet.count_send(kind, work);
        let attempt = AttemptId(self.coverage.attempts);
        self.coverage.attempts += 1;
        state.attempts += u32::from(kind != AttemptKind::Hedge);
        state.newest += 1;
        state.phase = ChunkPhase::Running;
        if !state.tried.contains(&endpoint) {
            state.tried.push(endpoint);
        }
        let send = SendAttempt {
            attempt,
            chunk: index,
            endpoint,
            number: state.newest,
            deadline: self.options.deadline,
            kind,
            rescue,
            reason,
        };
        let predicted_us = candidate.service_us(work as f64) + candidate.round_trip_us;
        let late_after = fleet.late_after(self.model, predicted_us);
        let attempt_state = AttemptState {
            chunk: index,
            endpoint,
            kind,
            sent: now,
            predicted_us,
            finish_us: candidate.backlog_us + predicted_us,
            check_at: Some(now + late_after),
            late: false,
            skipped: None,
            in_flight: fleet.begin(endpoint, self.model, work, now),
        };
        self.live.insert(attempt, attempt_state);
        actions.push(Action::Send(send));
    }
}

/// Sends probes to servers.
pub(super) fn ask(
    fleet: &mut Fleet,
    now: Time,
    servers: &[EndpointId],
    work: u64,
    purpose: ProbePurpose,
    actions: &mut Vec<Action>,
) -> ProbeRound {
    let mut asked = BTreeMap::new();
    for &endpoint in servers {
        let probe = fleet.next_probe();
        asked.insert(probe, endpoint);
        actions.push(Action::Probe { probe, endpoint, work, purpose });
    }
    let config = fleet.config();
    let trips = Duration::try_from_secs_f64(PROBE_WAIT_TRIPS * fleet.round_trip_us() / 1e6).unwrap_or_default();
    let wait = trips.max(config.hedge.floor).min(config.place.probe_wait);
    ProbeRound { asked, answered: Vec::new(), began: now, until: now + wait }
}
