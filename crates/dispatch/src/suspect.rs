//! Suspicion: an attempt past its trigger makes its server suspect, whether or not the
//! attempt is hedged. A suspect gets no new chunks and no hedges until it says anything:
//! an answer to a chunk, or to the probe that is sent at that moment, whose report shows
//! no overdue batch.
//!
//! ```text
//! Trusted --late attempt--> Suspect(probe under way) --answer--> Trusted
//!                             |   ^
//!             overdue, failed |   | pause over
//!                             v   |
//!                           Suspect(pause)
//! ```
//!
//! Without it a process that stops for 150 ms collects chunks the whole time, for its last
//! report said that it was idle: 5 to 14 times the p99 in trials, with it 1.7 to 1.8.
//!
//! Invariant: a suspect always has a probe under way or a time to send one.

use crate::{config::HealthConfig, ids::ProbeId, time::Time};

/// Whether one server is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// It is.
    #[default]
    Trusted,
    /// It is suspect, and is to be asked at this time.
    Pause(Time),
    /// It is suspect and was asked; again after this time. Once the probe has been out for
    /// `health.silent_after` the server is silent.
    Asked(ProbeId, Time),
}

impl Suspicion {
    pub(crate) fn is_suspect(self) -> bool {
        self != Self::Trusted
    }

    /// When it is to be asked again.
    pub(crate) fn wake(self) -> Option<Time> {
        match self {
            Self::Trusted => None,
            Self::Pause(until) | Self::Asked(_, until) => Some(until),
        }
    }

    /// An attempt is late. Whether that is news.
    pub(crate) fn suspect(&mut self, now: Time) -> bool {
        let news = *self == Self::Trusted;
        if news {
            *self = Self::Pause(now);
        }
        news
    }

    /// A probe is sent.
    pub(crate) fn asked(&mut self, config: &HealthConfig, probe: ProbeId, now: Time) {
        *self = Self::Asked(probe, now + config.probe_timeout);
    }

    /// It said that its running batch is so old against its predicted time. Whether it was suspect
    /// and is no longer.
    pub(crate) fn answered(&mut self, config: &HealthConfig, overdue: f64, now: Time) -> bool {
        if overdue > config.overdue {
            self.failed(config, now);
            return false;
        }
        std::mem::take(self) != Self::Trusted
    }

    /// Its probe failed, and nothing came from it.
    pub(crate) fn failed(&mut self, config: &HealthConfig, now: Time) {
        if self.is_suspect() {
            *self = Self::Pause(now + config.probe_again);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn suspicion_lasts_until_an_answer_without_an_overdue_batch() {
        let config = HealthConfig::default();
        let at = |ms| Time::from_start(Duration::from_millis(ms));
        let mut suspicion = Suspicion::default();
        assert!(suspicion.suspect(at(10)));
        assert!(!suspicion.suspect(at(11)), "a second late attempt is no news");
        assert_eq!(suspicion.wake(), Some(at(10)));
        suspicion.asked(&config, ProbeId(1), at(10));
        assert_eq!(suspicion.wake(), Some(at(10) + config.probe_timeout));
        assert!(!suspicion.answered(&config, 3.0, at(20)));
        assert!(suspicion.is_suspect());
        assert_eq!(suspicion.wake(), Some(at(20) + config.probe_again));
        assert!(suspicion.answered(&config, 1.1, at(30)));
        assert!(!suspicion.is_suspect());
        assert!(!suspicion.answered(&config, 0.0, at(31)), "nothing to lift");
        suspicion.failed(&config, at(32));
        assert!(!suspicion.is_suspect());
    }
}
