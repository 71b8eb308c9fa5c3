//! When a late attempt gets a second one.

use std::time::Duration;

use super::settings::lasting;

settings! {
    /// See [the module](self).
    HedgeConfig in "hedge" {
        /// Whether attempts are hedged at all.
        ENABLED enabled: bool = true, |_| true, "";

        /// Quantile of `latency ÷ predicted` past which an attempt is late. Never below 0.95 (a model of
        /// 0.90 with the same budget had five times the p99.9), and `1 − q ≤ 0.6 · budget`, so that the
        /// budget is there when it is needed.
        QUANTILE quantile: f64 = 0.97, |x| (0.95..1.0).contains(x), "must be from 0.95 to below 1";

        /// Attempts that must have ended before the quantile is believed.
        MIN_SAMPLES min_samples: u64 = 200, |_| true, "";

        /// What counts as late until then: so many times what was predicted.
        COLD_TRIGGER cold_trigger: f64 = 3.0, |x| x.is_finite() && *x >= 1.0, "must be at least 1";

        /// No attempt is late before this: timers and the network are no finer.
        FLOOR floor: Duration = Duration::from_millis(1), lasting, "must be above zero";

        /// Time after which what was seen counts for half.
        HALF_LIFE half_life: Duration = Duration::from_secs(10), lasting, "must be above zero";

        /// ρ above which a job that was sent whole is not hedged: its hedge would cost as much as the job,
        /// where there is no room for it.
        WHOLE_LOAD whole_load: f64 = 0.7, |x| (0.0..=1.0).contains(x), "must be from 0 to 1";

        /// Most hedges of one chunk: a second one for when the first meets a straggler too.
        MAX_HEDGES max_hedges: u32 = 2, |_| true, "";

        /// Servers that are asked again, at fire time, in fleets too large to be looked at whole.
        REPROBES reprobes: usize = 3, |x| *x > 0, "must be above zero";
    }
}
