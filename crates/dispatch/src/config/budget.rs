//! What paid retries and hedges may add to the load, in tokens, from one bucket.

use std::time::Duration;

use super::settings::share;

settings! {
    /// See [the module](self).
    BudgetConfig in "budget" {
        /// Share of the answered tokens that hedges may add.
        HEDGE_SHARE hedge_share: f64 = 0.05, share, "must be from 0 to 1";

        /// Share of the answered tokens that retries may add on top of it; as much is lost for a refused one.
        RETRY_SHARE retry_share: f64 = 0.05, share, "must be from 0 to 1";

        /// Jobs of median size whose tokens can be saved up: what a stall of one server needs at once.
        /// Hedges may take no more than half of it.
        BURST_JOBS burst_jobs: f64 = 10.0, |x| x.is_finite() && *x >= 0.0, "must not be negative";

        /// Tokens of a median job until some were seen: 200 pairs of 160.
        MEDIAN_JOB median_job: u64 = 32_000, |_| true, "";

        /// However little there is in the budget, one retry is let through this often: a client with one
        /// small job a minute must be able to retry it.
        FLOOR floor: Duration = Duration::from_secs(1), |_| true, "";
    }
}
