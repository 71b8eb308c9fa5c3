//! One server as the fleet knows it: per model its cost, limits and this client's work
//! in flight; its last report; and whether it may be picked.
//!
//! Invariant: in-flight tokens and attempts are those of the [`InFlightGuard`]s that live.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use sortie_work::Lane;

use crate::{
    cost::ServerCost,
    eject::{Ejection, EjectionState},
    ids::ModelId,
    readiness::Readiness,
    report::Limits,
    suspect::Suspicion,
    time::Time,
};

/// Work of one model in flight on one server.
#[derive(Debug, Default)]
struct InFlightCounter {
    tokens: AtomicU64,
    attempts: AtomicU32,
}

/// An attempt's tokens in flight, until it is dropped, however the attempt ended.
#[derive(Debug)]
#[must_use = "tokens are in flight only while their guard lives"]
pub(crate) struct InFlightGuard {
    counter: Arc<InFlightCounter>,
    tokens: u64,
}

impl InFlightGuard {
    fn new(counter: Arc<InFlightCounter>, tokens: u64) -> Self {
        counter.tokens.fetch_add(tokens, Ordering::Relaxed);
        counter.attempts.fetch_add(1, Ordering::Relaxed);
        Self { counter, tokens }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        // Takes what `new` put in, once.
        self.counter.tokens.fetch_sub(self.tokens, Ordering::Relaxed);
        self.counter.attempts.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A model as a server has it.
#[derive(Debug, Default)]
pub(crate) struct EndpointModel {
    pub(crate) cost: ServerCost,
    pub(crate) limits: Limits,
    pub(crate) epoch: Option<u64>,
    in_flight: Arc<InFlightCounter>,
}

impl EndpointModel {
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.tokens.load(Ordering::Relaxed)
    }

    /// Counts an attempt as in flight.
    pub(crate) fn begin(&self, tokens: u64) -> InFlightGuard {
        InFlightGuard::new(Arc::clone(&self.in_flight), tokens)
    }
}

/// The lane and tenant that a server queues work by: it may refuse work of one such class and have time for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueClass {
    pub(crate) lane: Lane,
    pub(crate) tenant: u64,
}

/// The last load report of a server and when it came. The models of a server share its device, so a report about any
/// of them describes the whole server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastReport {
    pub(crate) at: Time,
    /// All work on the server, in microseconds.
    pub(crate) queue_wait_us: f64,
    /// Other clients' work on the server, in microseconds.
    pub(crate) external_load_us: f64,
    /// Age of the batch that ran over its predicted time.
    pub(crate) overdue: f64,
    /// Utilization ρ as the server reports it.
    pub(crate) rho: f64,
}

/// A server.
#[derive(Debug, Default)]
pub(crate) struct Endpoint {
    /// Few: a list is the fastest map.
    served: Vec<(ModelId, EndpointModel)>,
    pub(crate) last_report: Option<LastReport>,
    pub(crate) readiness: Readiness,
    pub(crate) suspicion: Suspicion,
    pub(crate) ejection: Ejection,
    /// Until when it has work ahead of each class, by its own last refusals.
    busy_until: Vec<(QueueClass, Time)>,
    /// When it joined a fleet that was already at work.
    pub(crate) joined: Option<Time>,
    /// Whether it ever answered anything.
    pub(crate) known: bool,
    /// When this client last sent it an attempt.
    pub(crate) last_used: Option<Time>,
}

impl Endpoint {
    /// One that joined a fleet at work, or one of those that it began with.
    pub(crate) fn new(joined: Option<Time>) -> Self {
        Self { joined, ..Self::default() }
    }

    pub(crate) fn served(&self, model: ModelId) -> Option<&EndpointModel> {
        self.served.iter().find(|(id, _)| *id == model).map(|(_, served)| served)
    }

    pub(crate) fn served_mut(&mut self, model: ModelId) -> &mut EndpointModel {
        let place = self.served.iter().position(|(id, _)| *id == model).unwrap_or_else(|| {
            self.served.push((model, EndpointModel::default()));
            self.served.len() - 1
        });
        &mut self.served[place].1
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = (ModelId, &EndpointModel)> {
        self.served.iter().map(|(id, served)| (*id, served))
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.served.iter().map(|(_, served)| served.in_flight()).sum()
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.served.iter().map(|(_, served)| served.in_flight.attempts.load(Ordering::Relaxed)).sum()
    }

    /// It has said that all its work will be done by then, or runs anew: whatever it said before, it has no more.
    pub(crate) fn busy_no_longer_than(&mut self, until: Time) {
        self.busy_until.iter_mut().for_each(|(_, busy)| *busy = (*busy).min(until));
    }

    /// It refused a chunk of `queue_class`, for which it would not have started before `until`.
    pub(crate) fn refused(&mut self, queue_class: QueueClass, until: Time, now: Time) {
        self.busy_until.retain(|(other, until)| *other != queue_class && *until > now);
        self.busy_until.push((queue_class, until));
    }

    /// The earliest that it could start a chunk of `queue_class`, if it has refused one and said so.
    pub(crate) fn busy_until(&self, queue_class: QueueClass) -> Option<Time> {
        self.busy_until.iter().find(|(other, _)| *other == queue_class).map(|(_, until)| *until)
    }

    /// Other clients' work: what the last report said, less what was done since, believed less the
    /// older it is (`e^(−age / decay)`); for the rest what servers usually say. No report
    /// does not mean idle.
    pub(crate) fn external_load_us(&self, decay: Duration, usual_us: f64, now: Time) -> f64 {
        let Some(last_report) = self.last_report else { return usual_us };
        let age = (now - last_report.at).as_secs_f64();
        let trust = (-age / decay.as_secs_f64()).exp();
        trust * (last_report.external_load_us - age * 1e6).max(0.0) + (1.0 - trust) * usual_us
    }

    /// Microseconds of work that it still has by a report of after `since`, if it gave one and is not
    /// stuck.
    pub(crate) fn queue_wait_left_us(&self, since: Time, overdue: f64, now: Time) -> Option<f64> {
        let last_report =
            self.last_report.filter(|last_report| last_report.at > since && last_report.overdue <= overdue)?;
        let left = last_report.queue_wait_us - (now - last_report.at).as_secs_f64() * 1e6;
        (left > 0.0).then_some(left)
    }

    /// Whether it has as many attempts as it may: few while nothing is known of it, one on trial.
    pub(crate) fn is_full(&self, unknown: u32) -> bool {
        match self.ejection.state() {
            EjectionState::Trial => self.attempts() >= 1,
            _ if !self.known => self.attempts() >= unknown,
            _ => false,
        }
    }

    /// Part of a slow start that is left, from 1 to 0.
    pub(crate) fn newness(&self, slow_start: Duration, now: Time) -> f64 {
        let Some(joined) = self.joined else { return 0.0 };
        let share = (now - joined).as_secs_f64() / slow_start.as_secs_f64().max(1e-9);
        (1.0 - share).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_age_and_work_gets_done_meanwhile() {
        let at = |ms| Time::from_start(Duration::from_millis(ms));
        let last_report =
            LastReport { at: at(0), queue_wait_us: 80_000.0, external_load_us: 80_000.0, overdue: 0.0, rho: 0.0 };
        let endpoint = Endpoint { last_report: Some(last_report), ..Endpoint::default() };
        let external = |ms, usual| endpoint.external_load_us(Duration::from_millis(100), usual, at(ms));
        assert!((external(0, 5.0) - 80_000.0).abs() < 1.0);
        assert!((external(50, 0.0) - 30_000.0 * (-0.5f64).exp()).abs() < 1.0);
        assert!(external(81, 0.0) <= 0.0);
        assert!((external(5_000, 700.0) - 700.0).abs() < 1.0);
        assert!((Endpoint::default().external_load_us(Duration::from_millis(100), 700.0, at(0)) - 700.0).abs() < 1e-9);
    }

    #[test]
    fn a_guard_gives_back_what_it_took() {
        let served = EndpointModel::default();
        let (first, second) = (served.begin(3), served.begin(u64::MAX - 5));
        drop(first);
        assert_eq!(served.in_flight(), u64::MAX - 5);
        drop(second);
        assert_eq!(served.in_flight(), 0);
    }

    #[test]
    fn a_newcomer_is_new_for_a_while() {
        let at = |s| Time::from_start(Duration::from_secs(s));
        let endpoint = Endpoint { joined: Some(at(10)), ..Endpoint::default() };
        let newness = |s| endpoint.newness(Duration::from_secs(10), at(s));
        assert!((newness(10) - 1.0).abs() < 1e-9 && (newness(15) - 0.5).abs() < 1e-9 && newness(20) <= 0.0);
        assert!(Endpoint::default().newness(Duration::from_secs(10), at(0)) <= 0.0);
    }
}
