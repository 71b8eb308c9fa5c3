//! Exponential backoff: waits that double with every failure in a row, up to a limit. Jitter keeps clients that failed
//! together from coming again together.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// Doublings after which a wait has long reached any limit.
const MAX_DOUBLINGS: u32 = 16;

/// Waits between `base` and `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub base: Duration,
    /// The longest wait.
    pub limit: Duration,
}

impl Backoff {
    /// The wait after `failures` in a row: `base · 2^(failures − 1)`, at most `limit`.
    #[must_use]
    pub fn after(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        self.base.saturating_mul(1 << doublings).min(self.limit)
    }

    /// A random wait up to that one (full jitter).
    pub fn full_jitter<R: Rng>(self, failures: u32, rng: &mut R) -> Duration {
        self.after(failures).mul_f64(rng.random_range(0.0..=1.0))
    }

    /// A random wait between half of that one and all of it (equal jitter).
    pub fn equal_jitter<R: Rng>(self, failures: u32, rng: &mut R) -> Duration {
        self.after(failures).mul_f64(rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn waits_double_and_stay_within_bounds() {
        let backoff = Backoff { base: Duration::from_millis(100), limit: Duration::from_secs(2) };
        let ms = |failures| backoff.after(failures).as_millis();
        assert_eq!([0, 1, 2, 3, 5, 6, 1_000, u32::MAX].map(ms), [100, 100, 200, 400, 1_600, 2_000, 2_000, 2_000]);
        let mut rng = StdRng::seed_from_u64(1);
        for failures in [1, 3, u32::MAX] {
            let most = backoff.after(failures);
            for _ in 0..50 {
                assert!(backoff.full_jitter(failures, &mut rng) <= most);
                let equal = backoff.equal_jitter(failures, &mut rng);
                assert!(equal <= most && equal >= most / 2, "{failures} {equal:?}");
            }
        }
    }
}
