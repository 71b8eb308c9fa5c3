//! The share of requests that failed of late.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Code;

/// What was counted loses half of its weight in so long: balancers look every second, and a burst of a moment is not yet a
/// sick server.
const HALF_LIFE: Duration = Duration::from_secs(3);

/// Counts that fade.
#[derive(Debug)]
pub(crate) struct FailureShare {
    counts: Mutex<FadingCounts>,
}

#[derive(Debug)]
struct FadingCounts {
    at: Instant,
    ok: f64,
    failed: f64,
}

impl Default for FailureShare {
    fn default() -> Self {
        Self { counts: Mutex::new(FadingCounts { at: Instant::now(), ok: 0.0, failed: 0.0 }) }
    }
}

impl FailureShare {
    /// A request ended so. What its caller did wrong or gave up says nothing of this process.
    pub(crate) fn ended(&self, code: Code, now: Instant) {
        let mut counts = self.counts.lock();
        counts.fade(now);
        match code {
            Code::Ok => counts.ok += 1.0,
            Code::Internal
            | Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::DataLoss => counts.failed += 1.0,
            _ => {}
        }
    }

    /// Failed requests over all that count; 0 before the first.
    pub(crate) fn share(&self, now: Instant) -> f64 {
        let mut counts = self.counts.lock();
        counts.fade(now);
        // One request that nobody remembers any more is no share.
        counts.failed / (counts.ok + counts.failed).max(1.0)
    }
}

impl FadingCounts {
    fn fade(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        let left = 0.5_f64.powf(passed.as_secs_f64() / HALF_LIFE.as_secs_f64());
        (self.ok, self.failed) = (self.ok * left, self.failed * left);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_count_and_are_forgotten() {
        let failures = FailureShare::default();
        let share = || failures.share(Instant::now());
        assert_eq!(share(), 0.0);
        for code in
            [Code::Ok, Code::ResourceExhausted, Code::InvalidArgument, Code::Cancelled, Code::Ok, Code::Internal]
        {
            failures.ended(code, Instant::now());
        }
        assert_eq!(share(), 0.5);
        tokio::time::advance(HALF_LIFE).await;
        failures.ended(Code::Ok, Instant::now());
        assert!((share() - 1.0 / 3.0).abs() < 1e-9);
        tokio::time::advance(100 * HALF_LIFE).await;
        assert!(share() < 1e-9);
    }
}
