//! What is tried again, and when.

use std::time::Duration;

settings! {
    /// See [the module](self).
    RetryConfig in "retry" {
        /// Most attempts of one chunk, hedges not counted (gRFC A6).
        MAX_ATTEMPTS max_attempts: u32 = 5, |x| *x > 0, "must be above zero";

        /// First wait before a chunk goes to a server that already failed it; doubles each time, full jitter.
        BACKOFF backoff: Duration = Duration::from_millis(25), |_| true, "";

        /// Longest such wait.
        MAX_BACKOFF max_backoff: Duration = Duration::from_millis(250), |_| true, "";
    }
}
