//! Into how many chunks a job is cut.

use std::time::Duration;

use super::settings::{lasting, proper_share};

settings! {
    /// See [the module](self).
    PlanConfig in "plan" {
        /// Round trip assumed of a server until one is measured: same data centre, with gRPC's own work at
        /// both ends.
        ROUND_TRIP round_trip: Duration = Duration::from_micros(500), |_| true, "";

        /// Standard deviation of service times over their mean; the last of k chunks is late by about
        /// `noise · √(2 ln k)`.
        SERVICE_NOISE service_noise: f64 = 0.08, |x| (0.0..1.0).contains(x), "must be from 0 to below 1";

        /// Share by which cutting a job must shorten its predicted time: below it the extra work and the
        /// extra ways to be late are not worth it.
        MIN_GAIN min_gain: f64 = 0.10, |x| (0.0..1.0).contains(x), "must be from 0 to below 1";

        /// Most chunks that are cut for speed alone.
        MAX_CHUNKS max_chunks: usize = 64, |x| *x > 0, "must be above zero";

        /// Batches that must have been seen before a job is cut into more than two, where no server says
        /// what its batches cost: a and b of fewer are a guess.
        TRUSTED_SAMPLES trusted_samples: u64 = 30, |_| true, "";

        /// Fleets up to this size keep half of their servers out of a job at loads from [`super::load::CALM`]
        /// up: there a job on every server waits for the fullest one.
        SMALL_FLEET small_fleet: usize = 4, |_| true, "";

        /// ρ from which chunks must more and more carry their own overhead at the load there is: at the target
        /// `c ≥ (a/b) · ρ / (ρ* − ρ)`. Below it servers merge what waits, and overhead is shared.
        BUSY busy: f64 = 0.8, proper_share, "must be above 0, at most 1";

        /// Whether servers merge waiting chunks into one batch. Where they do not, chunks carry their own
        /// overhead at every load.
        SERVERS_MERGE servers_merge: bool = true, |_| true, "";

        /// Most that the least chunk of a model may grow or shrink in [`STEP_TIME`]: all clients see the
        /// same load, and must not all change their ways at once.
        MAX_STEP max_step: f64 = 1.25, |x| x.is_finite() && *x > 1.0, "must be above 1";

        /// See [`MAX_STEP`].
        STEP_TIME step_time: Duration = Duration::from_millis(100), lasting, "must be above zero";

        /// Share of a server's message limit that a request or its answer is planned to fill; the rest is
        /// for options, framing and estimates that fall short.
        MESSAGE_SHARE message_share: f64 = 0.8, proper_share, "must be above 0, at most 1";

        /// Share of a server's queue that one chunk may fill: estimates may be off by two, and a chunk that
        /// can never be admitted is refused for ever.
        QUEUE_SHARE queue_share: f64 = 0.5, proper_share, "must be above 0, at most 1";
    }
}
