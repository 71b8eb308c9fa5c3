//! One server as the fleet knows it: per model its cost, limits, last report and
//! this client's work in flight; and whether it can be reached.
//!
//! Invariant: in-flight tokens are those of the [`Ticket`]s that live.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{cost::ServerCost, fleet::ModelId, reach::Reach, report::Limits, time::Time};

/// Tokens in flight on a server, until it is dropped.
#[derive(Debug)]
#[must_use = "tokens are in flight only while their ticket lives"]
pub(crate) struct Ticket {
    counter: Arc<AtomicU64>,
    tokens: u64,
}

impl Ticket {
    fn new(counter: Arc<AtomicU64>, tokens: u64) -> Self {
        counter.fetch_add(tokens, Ordering::Relaxed);
        Self { counter, tokens }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Takes what `new` put in, once.
        self.counter.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

/// A model as a server has it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) cost: ServerCost,
    pub(crate) limits: Limits,
    pub(crate) heard: Option<Heard>,
    in_flight: Arc<AtomicU64>,
}

impl Served {
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts tokens as in flight.
    pub(crate) fn begin(&self, tokens: u64) -> Ticket {
        Ticket::new(Arc::clone(&self.in_flight), tokens)
    }
}

/// A load report and when it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Time,
    pub(crate) epoch: u64,
    /// What it said of other clients' work, in microseconds.
    pub(crate) strangers_us: f64,
}

/// A server.
#[derive(Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) served: HashMap<ModelId, Served>,
    pub(crate) reach: Reach,
    /// Discovery no longer names it.
    pub(crate) removed: bool,
}

impl Endpoint {
    /// Other clients' work by the last report on any model, for the device is shared by them all:
    /// less what was done since, and believed less the older it is (`e^(−age / decay)`).
    pub(crate) fn strangers_us(&self, decay: Duration, now: Time) -> f64 {
        let heard = self.served.values().filter_map(|served| served.heard).max_by_key(|heard| heard.at);
        heard.map_or(0.0, |heard| {
            let age = (now - heard.at).as_secs_f64();
            let trust = (-age / decay.as_secs_f64()).exp();
            trust * (heard.strangers_us - age * 1e6).max(0.0)
        })
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.served.values().map(Served::in_flight).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_age_and_work_gets_done_meanwhile() {
        let at = |ms| Time::from_start(Duration::from_millis(ms));
        let mut fleet = crate::Fleet::new(crate::Config::default(), 1, 0);
        let model = fleet.model("m", crate::Work::Device);
        let mut endpoint = Endpoint::default();
        let heard = Heard { at: at(0), epoch: 1, strangers_us: 80_000.0 };
        endpoint.served.entry(model).or_default().heard = Some(heard);
        let strangers = |ms| endpoint.strangers_us(Duration::from_millis(100), at(ms));
        assert!((strangers(0) - 80_000.0).abs() < 1.0);
        assert!((strangers(50) - 30_000.0 * (-0.5f64).exp()).abs() < 1.0);
        assert!(strangers(81) <= 0.0);
    }

    #[test]
    fn a_ticket_gives_back_what_it_took() {
        let served = Served::default();
        let (first, second) = (served.begin(3), served.begin(u64::MAX - 5));
        drop(first);
        assert_eq!(served.in_flight(), u64::MAX - 5);
        drop(second);
        assert_eq!(served.in_flight(), 0);
    }
}
