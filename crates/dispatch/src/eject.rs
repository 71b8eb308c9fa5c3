//! Ejection: a server that fails, or is slow, for longer than a stall lasts is left out for a while.
//!
//! It is ejected after [`HealthConfig::consecutive_failures`] failures in a row; or when, for
//! [`HealthConfig::slow_for`], at least half of its last samples took [`HealthConfig::slow_ratio`] times
//! what the fleet takes for such a batch, or the cost that it reported makes batches run at less than
//! [`HealthConfig::slow_rate`] of the speed that the fleet's fitted cost predicts.
//!
//! ```text
//! In --failing or slow--> Out(until) --probe sent--> Asked --answer--> Trial --good--> In
//!                           ^                          |                  |
//!                           +---------- failed, twice as long ------------+
//! ```
//!
//! How many may be out at once is the fleet's to say. A lost connection is not counted here:
//! that makes a server not ready. Samples are ratios to the fleet: when all servers slow
//! down, none is slow.
//!
//! Invariant: a server is out for no longer than [`HealthConfig::max_ejection`] without
//! being asked again.

use crate::{backoff::Backoff, config::HealthConfig, ids::ProbeId, time::Time};

/// Where a server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EjectionState {
    /// In.
    #[default]
    In,
    /// Out until then.
    Out(Time),
    /// Asked whether it is well; asked again after that time.
    Asked(ProbeId, Time),
    /// Its probe was answered well; it gets one attempt at a time until one is answered.
    Trial,
}

/// Why a server is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EjectionCause {
    /// Failures in a row.
    Failing,
    /// Samples or its own reports say that it is slow.
    Slow,
}

/// One server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ejection {
    state: EjectionState,
    times: u32,
    failures: u32,
    samples: u32,
    /// One bit a sample, the latest lowest: was it slow?
    slow: u64,
    slow_since: Option<Time>,
    rate_slow_since: Option<Time>,
}

impl Ejection {
    pub(crate) fn state(&self) -> EjectionState {
        self.state
    }

    /// Whether it is out, asked or not.
    pub(crate) fn is_out(&self) -> bool {
        matches!(self.state, EjectionState::Out(_) | EjectionState::Asked(..))
    }

    /// When it is to be asked.
    pub(crate) fn wake(&self) -> Option<Time> {
        match self.state {
            EjectionState::Out(until) | EjectionState::Asked(_, until) => Some(until),
            EjectionState::In | EjectionState::Trial => None,
        }
    }

    /// It answered a chunk, in `ratio` times what the fleet takes.
    pub(crate) fn answered(&mut self, config: &HealthConfig, ratio: f64, now: Time) {
        self.failures = 0;
        let slow = ratio > config.slow_ratio;
        if self.state == EjectionState::Trial {
            if slow {
                self.eject(config, now);
            } else {
                *self = Self::default();
            }
            return;
        }
        let all = u64::MAX >> (64 - config.slow_samples.clamp(1, 64));
        self.slow = (self.slow << 1 | u64::from(slow)) & all;
        self.samples = (self.samples + 1).min(config.slow_samples);
        let enough = self.samples * 2 >= config.slow_samples;
        let mostly = enough && self.slow.count_ones() * 2 >= config.slow_samples;
        self.slow_since = mostly.then(|| self.slow_since.unwrap_or(now));
    }

    /// It reported a rate of `share` of the fleet's.
    pub(crate) fn reported(&mut self, config: &HealthConfig, share: f64, now: Time) {
        let slow = share < config.slow_rate;
        self.rate_slow_since = slow.then(|| self.rate_slow_since.unwrap_or(now));
    }

    /// It failed a chunk, other than by losing the connection.
    pub(crate) fn failed(&mut self, config: &HealthConfig, now: Time) {
        self.failures = self.failures.saturating_add(1);
        if self.state == EjectionState::Trial {
            self.eject(config, now);
        }
    }

    /// Why it should be out, if it should.
    pub(crate) fn due(&self, config: &HealthConfig, now: Time) -> Option<EjectionCause> {
        let lasting = |since: Option<Time>| since.is_some_and(|since| now - since >= config.slow_for);
        match self.state {
            EjectionState::In if self.failures >= config.consecutive_failures => Some(EjectionCause::Failing),
            EjectionState::In if lasting(self.slow_since) || lasting(self.rate_slow_since) => Some(EjectionCause::Slow),
            _ => None,
        }
    }

    /// It is out from now on, twice as long as the last time.
    pub(crate) fn eject(&mut self, config: &HealthConfig, now: Time) {
        let times = self.times.saturating_add(1);
        let wait = Backoff { base: config.ejection, limit: config.max_ejection }.after(times);
        *self = Self { state: EjectionState::Out(now + wait), times, ..Self::default() };
    }

    /// A probe is sent to see whether it is well.
    pub(crate) fn asked(&mut self, config: &HealthConfig, probe: ProbeId, now: Time) {
        self.state = EjectionState::Asked(probe, now + config.probe_timeout);
    }

    /// Its probe was answered: well or not.
    pub(crate) fn record_probe(&mut self, config: &HealthConfig, probe: ProbeId, well: bool, now: Time) {
        match self.state {
            EjectionState::Asked(asked, _) if asked == probe && well => self.state = EjectionState::Trial,
            EjectionState::Asked(asked, _) if asked == probe => self.eject(config, now),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn failures_in_a_row_eject_and_one_answer_forgives() {
        let config = HealthConfig::default();
        let mut server = Ejection::default();
        (0..4).for_each(|_| server.failed(&config, at(0)));
        assert_eq!(server.due(&config, at(0)), None);
        server.answered(&config, 1.0, at(0));
        (0..4).for_each(|_| server.failed(&config, at(0)));
        assert_eq!(server.due(&config, at(0)), None);
        server.failed(&config, at(0));
        assert_eq!(server.due(&config, at(0)), Some(EjectionCause::Failing));
    }

    #[test]
    fn a_slow_server_is_due_after_a_second_and_a_stalled_one_never() {
        let config = HealthConfig::default();
        let mut slow = Ejection::default();
        for ms in (0..900).step_by(50) {
            slow.answered(&config, 4.0, at(ms));
        }
        assert_eq!(slow.due(&config, at(900)), None);
        assert_eq!(slow.due(&config, at(1_500)), Some(EjectionCause::Slow));
        let mut stalled = Ejection::default();
        for ms in (0..3_000).step_by(50) {
            let ratio = if (1_000..1_150).contains(&ms) { 10.0 } else { 1.0 };
            stalled.answered(&config, ratio, at(ms));
            assert_eq!(stalled.due(&config, at(ms)), None);
        }
    }

    #[test]
    fn a_reported_rate_ejects_without_samples() {
        let config = HealthConfig::default();
        let mut server = Ejection::default();
        server.reported(&config, 0.2, at(0));
        assert_eq!(server.due(&config, at(999)), None);
        assert_eq!(server.due(&config, at(1_000)), Some(EjectionCause::Slow));
        server.reported(&config, 0.9, at(1_000));
        assert_eq!(server.due(&config, at(2_000)), None);
    }

    #[test]
    fn half_open_needs_a_good_word_and_a_good_answer() {
        let config = HealthConfig::default();
        let mut server = Ejection::default();
        server.eject(&config, at(0));
        assert_eq!(server.wake(), Some(at(1_000)));
        server.asked(&config, ProbeId(7), at(1_000));
        server.record_probe(&config, ProbeId(6), true, at(1_001));
        assert!(server.is_out(), "another probe's answer");
        server.record_probe(&config, ProbeId(7), true, at(1_001));
        assert_eq!(server.state(), EjectionState::Trial);
        server.failed(&config, at(1_010));
        assert_eq!(server.wake(), Some(at(3_010)), "twice as long");
        server.asked(&config, ProbeId(8), at(3_010));
        server.record_probe(&config, ProbeId(8), true, at(3_011));
        server.answered(&config, 1.0, at(3_020));
        assert_eq!(server.state(), EjectionState::In);
        assert_eq!(server.times, 0);
        for _ in 0..40 {
            server.eject(&config, at(0));
        }
        assert_eq!(server.wake(), Some(at(30_000)));
    }
}
