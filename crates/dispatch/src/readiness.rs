//! Whether a server is ready: after an attempt died in transport or was answered
//! "unavailable" it is passed over for a while, `not_ready · 2^n`, doubling with every
//! failure in a row, until an answer or a new connection; after a refusal that asked for
//! a pause, for as long as it asked; neither for longer than `max_not_ready`; while it
//! drains, for as long as it says so; while its driver has no connection to it, until
//! there is one.
//!
//! Passed over is not excluded: where no server is ready all are picked from.
//! A failure says nothing of speed and never enters a cost.

use std::time::Duration;

use crate::{backoff::Backoff, config::HealthConfig, time::Time};

/// One server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    failures: u32,
    not_before: Time,
    draining: bool,
    unconnected: bool,
}

impl Readiness {
    pub(crate) fn is_ready(&self, now: Time) -> bool {
        !self.draining && !self.unconnected && now >= self.not_before
    }

    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
    }

    /// A connection stands: there is nothing to wait for.
    pub(crate) fn connected(&mut self) {
        self.failures = 0;
        self.not_before = Time::default();
        self.unconnected = false;
    }

    /// Whether a connection stands, as far as the driver has said.
    pub(crate) fn is_connected(&self) -> bool {
        !self.unconnected
    }

    /// No connection stands: not ready until one does, however long that takes.
    pub(crate) fn disconnected(&mut self) {
        self.unconnected = true;
    }

    pub(crate) fn fail(&mut self, config: &HealthConfig, now: Time) {
        // Chunks that die together are one failure.
        if now < self.not_before {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let backoff = Backoff { base: config.not_ready, limit: config.max_not_ready };
        self.avoid(now + backoff.after(self.failures));
    }

    /// One refused request asked for `wait`. It speaks for all requests, but only for so long.
    pub(crate) fn push_back(&mut self, config: &HealthConfig, now: Time, wait: Duration) {
        self.avoid(now + wait.min(config.max_not_ready));
    }

    fn avoid(&mut self, until: Time) {
        self.not_before = self.not_before.max(until);
    }

    pub(crate) fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn failures_in_a_row_double_the_wait_and_success_ends_it() {
        let config = HealthConfig::default();
        let mut readiness = Readiness::default();
        readiness.fail(&config, at(0));
        assert!(!readiness.is_ready(at(99)) && readiness.is_ready(at(100)));
        // The same death, seen by another chunk.
        readiness.fail(&config, at(1));
        assert!(readiness.is_ready(at(100)));
        readiness.fail(&config, at(100));
        assert!(!readiness.is_ready(at(299)) && readiness.is_ready(at(300)));
        readiness.succeed();
        readiness.fail(&config, at(400));
        assert!(readiness.is_ready(at(500)));
        for second in 1..100 {
            readiness.fail(&config, at(second * 100_000));
        }
        assert!(readiness.is_ready(at(99 * 100_000 + 10_000)));
    }

    #[test]
    fn a_server_without_a_connection_is_not_ready_until_it_has_one() {
        let mut readiness = Readiness::default();
        readiness.disconnected();
        readiness.succeed();
        assert!(!readiness.is_ready(at(1_000_000_000)));
        readiness.connected();
        assert!(readiness.is_ready(at(0)));
    }

    #[test]
    fn a_draining_server_is_passed_over_until_it_says_otherwise() {
        let mut readiness = Readiness::default();
        readiness.set_draining(true);
        assert!(!readiness.is_ready(at(1_000_000)));
        readiness.set_draining(false);
        assert!(readiness.is_ready(at(0)));
    }
}
