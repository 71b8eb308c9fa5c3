//! What answers, failures and reports teach the fleet.
//!
//! The queue wait of a report includes this client's own work, which is known better here. So
//! other clients' work is `max(0, queue wait − own work at that time)`. Failures say nothing about speed and
//! never enter a cost or a latency: a server that fails fast must not look fast.

use std::time::Duration;

use sortie_work::{Lane, WorkCurve};

use super::{EndpointId, Fleet, ModelId, PickRequest, Resource};
use crate::{
    batch::BatchSample,
    cost::ServerCost,
    endpoint::LastReport,
    event::{AnswerReport, Failure, Pushback, Texts},
    report::{Limits, LoadReport},
    time::Time,
};

/// Tokens of the batch by which servers are compared.
const REFERENCE_TOKENS: f64 = 8_192.0;

/// Share of a new round trip in the running mean.
const ROUND_TRIP_GAIN: f64 = 0.1;

/// How long an attempt took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptTimes {
    /// From its sending.
    pub(crate) us: f64,
    /// What was predicted without the queue.
    pub(crate) predicted_us: f64,
    /// What was predicted with the queue.
    pub(crate) finish_us: f64,
}

impl Fleet {
    /// Records the limits of a server's requests, and the longest sequence that the model reads (0: unknown).
    pub fn set_limits(&mut self, endpoint: EndpointId, model: ModelId, limits: Limits, max_length: u64) {
        if let Some((_, served, state)) = self.served(endpoint, model) {
            served.limits = limits.or(served.limits);
            if max_length > 0 {
                state.sequences.longest = max_length;
            }
        }
    }

    /// Records what a sequence of a model counts as. Servers of one model say the same but for the kinds of their devices;
    /// the last word counts.
    pub fn set_curve(&mut self, model: ModelId, curve: WorkCurve) {
        if let Some(state) = self.models.get_mut(model.0 as usize) {
            state.curve = curve;
        }
    }

    /// Whether a server of a model is a gateway, which cuts jobs by itself.
    #[must_use]
    pub fn cuts_jobs(&self, model: ModelId) -> bool {
        let servers = self.members.iter().filter_map(|&id| self.endpoint(id)?.served(model));
        servers.into_iter().any(|served| served.limits.cuts_jobs)
    }

    /// Whether a server has ever reported its load for a model.
    #[must_use]
    pub fn has_report(&self, endpoint: EndpointId, model: ModelId) -> bool {
        self.endpoint(endpoint).and_then(|server| server.served(model)).is_some_and(|served| served.epoch.is_some())
    }

    /// A server reported its load, other than in an answer or to a probe that dispatch asked for.
    pub fn report(&mut self, endpoint: EndpointId, model: ModelId, report: LoadReport, now: Time) {
        let own_us = self.own_us(endpoint, now);
        let Some((config, served, state)) = self.served(endpoint, model) else { return };
        served.limits = report.limits.or(served.limits);
        let restarted = served.epoch.is_some_and(|epoch| epoch != report.epoch);
        if restarted {
            served.cost = ServerCost::default();
        }
        served.epoch = Some(report.epoch);
        let mut share = None;
        if state.resource == Resource::Device && report.cost.is_usable() {
            served.cost.record_reported_cost(config, &mut state.prior, report.cost, now);
            share = Some(state.prior.cost().batch_us(REFERENCE_TOKENS) / report.cost.batch_us(REFERENCE_TOKENS));
        }
        let rho = self.load.reported_utilization(
            report.served_tokens_per_second,
            report.most_tokens_per_second(),
            report.busy,
        );
        let queue_wait_us = report.queue_wait.as_secs_f64() * 1e6;
        let external_load_us = (queue_wait_us - own_us).max(0.0);
        self.load.record_external_load(external_load_us);
        let Some((health, server)) = self.server(endpoint) else { return };
        server.last_report =
            Some(LastReport { at: now, queue_wait_us, external_load_us, overdue: report.overdue, rho });
        server.known = true;
        server.busy_no_longer_than(if restarted { now } else { now + report.queue_wait });
        server.readiness.set_draining(report.draining);
        if let Some(share) = share {
            server.ejection.reported(health, share, now);
        }
        self.consider(endpoint, now);
    }

    /// A probe came back after `round_trip`.
    pub(crate) fn probed(
        &mut self,
        endpoint: EndpointId,
        model: ModelId,
        report: LoadReport,
        round_trip: Duration,
        now: Time,
    ) {
        let us = round_trip.as_secs_f64() * 1e6;
        let before = self.round_trip_us.unwrap_or(us);
        // What a stopped process answers when it goes on is no round trip.
        let us = us.min(before * self.config.cost.max_step.powi(2));
        self.round_trip_us = Some(before + ROUND_TRIP_GAIN * (us - before));
        self.report(endpoint, model, report, now);
        self.record_contact(endpoint, report.overdue, now);
    }

    /// An attempt was answered. Its tokens are no longer in flight.
    pub(crate) fn answered(
        &mut self,
        endpoint: EndpointId,
        model: ModelId,
        answer: &AnswerReport,
        times: AttemptTimes,
        now: Time,
    ) {
        self.record_texts(model, answer.texts);
        let mut ratio = None;
        for &batch in &answer.batches {
            ratio = self.record_batch(endpoint, model, batch, now).or(ratio);
        }
        // Without batches all there is is the whole latency against what was predicted of it.
        let ratio = ratio.unwrap_or(times.us / times.finish_us.max(1.0));
        if let Some(report) = answer.report {
            self.report(endpoint, model, report, now);
        }
        self.record_contact(endpoint, 0.0, now);
        if let Some((health, server)) = self.server(endpoint) {
            server.known = true;
            server.readiness.succeed();
            server.ejection.answered(health, ratio, now);
        }
        self.consider(endpoint, now);
        if let Some(state) = self.models.get_mut(model.0 as usize) {
            state.latencies.ended(&self.config.hedge, times.us / times.predicted_us.max(1.0), now);
        }
    }

    /// An attempt was given up or failed: it would have taken longer.
    pub(crate) fn left(&mut self, model: ModelId, times: AttemptTimes, now: Time) {
        if let Some(state) = self.models.get_mut(model.0 as usize) {
            state.latencies.left(&self.config.hedge, times.us / times.predicted_us.max(1.0), now);
        }
    }

    /// An attempt or a probe failed.
    pub(crate) fn failed(&mut self, endpoint: EndpointId, failure: Failure, now: Time) {
        let Some((health, server)) = self.server(endpoint) else { return };
        match failure {
            // Not ready, and no fault of what runs there.
            Failure::Transport => server.readiness.fail(health, now),
            Failure::Unavailable => {
                server.readiness.fail(health, now);
                server.ejection.failed(health, now);
            }
            Failure::Overloaded { pushback: Pushback::After(wait), queue: None } => {
                server.readiness.push_back(health, now, wait);
            }
            // It has no time for this chunk; for another lane, a shorter one or a later deadline it may.
            Failure::Overloaded { .. } => {}
            Failure::Internal => server.ejection.failed(health, now),
            // The server is well, and says so.
            Failure::Fatal => server.readiness.succeed(),
            Failure::Deadline => {}
        }
        if matches!(failure, Failure::Overloaded { .. } | Failure::Internal | Failure::Fatal) {
            self.record_contact(endpoint, 0.0, now);
        }
        self.consider(endpoint, now);
    }

    /// A server refused a chunk, with so much work ahead of it. The budget for retries shrinks by what an answer would
    /// have added: retries must not grow with refusals. (Bulk work neither earns nor loses.)
    pub(crate) fn refused(
        &mut self,
        endpoint: EndpointId,
        request: &PickRequest<'_>,
        queue: Option<Duration>,
        now: Time,
    ) {
        if request.queue_class.lane != Lane::Bulk {
            self.budget.refused(&self.config.budget, request.work);
        }
        let Some(queue) = queue else { return };
        // A batch that happens to run is no queue.
        if queue > self.service(endpoint, request, now) {
            self.load.saturated(&self.config.load);
        }
        if let Some((health, server)) = self.server(endpoint) {
            server.refused(request.queue_class, now + queue.min(health.max_not_ready), now);
        }
    }

    fn record_texts(&mut self, model: ModelId, texts: Texts) {
        if let Some(state) = self.models.get_mut(model.0 as usize) {
            let specials = texts.items.saturating_mul(state.sequences.specials);
            state.ratio.observe(texts.bytes, texts.tokens.saturating_sub(specials));
        }
    }

    /// Its time over what the fleet takes for such a batch.
    fn record_batch(&mut self, endpoint: EndpointId, model: ModelId, batch: BatchSample, now: Time) -> Option<f64> {
        let (config, served, state) = self.served(endpoint, model).filter(|_| batch.is_usable())?;
        served.cost.observe(config, &mut state.prior, batch, now);
        let fleet = state.prior.cost();
        let usual = fleet.batch_us(batch.work);
        self.load.record_batch(fleet.b_us * batch.work / usual);
        Some(batch.us / usual)
    }
}
