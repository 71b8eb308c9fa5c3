//! Which servers are passed over: not ready, suspect, ejected, new.

use std::time::Duration;

use super::settings::{above_one, lasting, proper_share, share};

settings! {
    /// See [the module](self).
    HealthConfig in "health" {
        /// How long a server is passed over after it could not be reached; doubles with each time in a row.
        NOT_READY not_ready: Duration = Duration::from_millis(100), |_| true, "";

        /// Longest such time, and longest that one refusal keeps other work from a server, whatever it asks
        /// for.
        MAX_NOT_READY max_not_ready: Duration = Duration::from_secs(10), |_| true, "";

        /// Whether a late attempt makes its server suspect.
        SUSPICION suspicion: bool = true, |_| true, "";

        /// Share of the fleet above which suspicion is ignored: then it is the network, the load or this
        /// client that is slow, and nobody else is better.
        MAX_SUSPECTS max_suspects: f64 = 0.5, share, "must be from 0 to 1";

        /// Age of a running batch over its predicted time from which a server's report counts as that of
        /// a stuck device; noise and merged batches stay below.
        OVERDUE overdue: f64 = 1.5, above_one, "must be above 1";

        /// How long a probe of the fleet is waited for before another is sent. A stopped process answers
        /// the pending probe when it goes on, so this is only for lost ones.
        PROBE_TIMEOUT probe_timeout: Duration = Duration::from_millis(250), lasting, "must be above zero";

        /// A suspect whose probe has been out for so long does not run: what it has is lost for now, not
        /// merely late.
        SILENT_AFTER silent_after: Duration = Duration::from_millis(10), |_| true, "";

        /// Pause between probes of a suspect that answers, but with an overdue batch.
        PROBE_AGAIN probe_again: Duration = Duration::from_millis(10), lasting, "must be above zero";

        /// Whether failing and slow servers are ejected.
        EJECTION_ON ejecting: bool = true, |_| true, "";

        /// Failures in a row that eject a server (brpc and Finagle: 5). Lost connections do not count: those
        /// make it not ready.
        CONSECUTIVE_FAILURES consecutive_failures: u32 = 5, |x| *x > 0, "must be above zero";

        /// Samples whose slow half ejects a server.
        SLOW_SAMPLES slow_samples: u32 = 16, |x| (2..=64).contains(x), "must be from 2 to 64";

        /// What counts as slow: so many times what the fleet takes for the same batch.
        SLOW_RATIO slow_ratio: f64 = 2.5, above_one, "must be above 1";

        /// A server is slow, whatever was seen of it, while the cost that it reports makes a batch of 8,192 tokens run
        /// at less than this share of the speed that the fleet's fitted cost predicts.
        SLOW_RATE slow_rate: f64 = 0.25, proper_share, "must be above 0, at most 1";

        /// How long a server must have been slow: one stall is over sooner.
        SLOW_FOR slow_for: Duration = Duration::from_secs(1), |_| true, "";

        /// First ejection of a server; doubles each time in a row.
        EJECTION ejection: Duration = Duration::from_secs(1), lasting, "must be above zero";

        /// Longest ejection.
        MAX_EJECTION max_ejection: Duration = Duration::from_secs(30), |_| true, "";

        /// Most of the fleet that may be ejected at once, and never more than load allows:
        /// `1 − ρ/ρ*`. Of three servers and more one always may.
        MAX_EJECTED max_ejected: f64 = 0.2, share, "must be from 0 to 1";

        /// How long a server that joined a running fleet counts as if it had part of the fleet's usual
        /// backlog: clients that all see an idle newcomer would drown it.
        SLOW_START slow_start: Duration = Duration::from_secs(10), |_| true, "";
    }
}
