//! What retries may add to the load: a bucket of tokens of text.
//!
//! Every dispatched token puts [`Config::retry_share`] of a token in; a retry
//! takes its chunk's tokens out or is not made. Retries thus add a bounded share of
//! work however much fails (gRFC A6 throttles for the same reason), counted in
//! work and not in calls.
//!
//! Invariant: the balance is from 0 to [`Config::retry_burst`]. Taking is one
//! checked subtraction: a balance that was tested and then lowered later would,
//! with several chunks late at once, pass zero and come round as without limit.

use crate::{config::Config, time::Time};

/// Parts of a token that the balance is counted in, so that small shares add up.
const PARTS: u64 = 1_000;

/// The bucket.
#[derive(Clone, Debug)]
pub(crate) struct RetryBudget {
    balance: u64,
    last_free: Option<Time>,
}

impl RetryBudget {
    /// A full bucket.
    pub(crate) fn new(config: &Config) -> Self {
        Self { balance: config.retry_burst.saturating_mul(PARTS), last_free: None }
    }

    /// Tokens that may be taken.
    pub(crate) fn balance(&self) -> u64 {
        self.balance / PARTS
    }

    /// So many tokens were dispatched for the first time.
    pub(crate) fn deposit(&mut self, config: &Config, tokens: u64) {
        let share = (config.retry_share * PARTS as f64) as u64;
        let added = self.balance.saturating_add(tokens.saturating_mul(share));
        self.balance = added.min(config.retry_burst.saturating_mul(PARTS));
    }

    /// Takes a retry's tokens. False, and nothing taken, where there are too few; but once every
    /// [`Config::retry_floor`] a retry goes through all the same.
    #[must_use]
    pub(crate) fn withdraw(&mut self, config: &Config, tokens: u64, now: Time) -> bool {
        if let Some(rest) = self.balance.checked_sub(tokens.saturating_mul(PARTS)) {
            self.balance = rest;
            return true;
        }
        let free = self.last_free.is_none_or(|last| now - last >= config.retry_floor);
        if free {
            self.last_free = Some(now);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_retry_a_second_when_there_is_nothing_left() {
        let config = Config { retry_burst: 0, ..Config::default() };
        let mut budget = RetryBudget::new(&config);
        let at = |ms| Time::from_start(Duration::from_millis(ms));
        assert!(budget.withdraw(&config, 500, at(0)));
        assert!(!budget.withdraw(&config, 500, at(0)));
        assert!(!budget.withdraw(&config, 500, at(999)));
        assert!(budget.withdraw(&config, 500, at(1_000)));
    }

    proptest! {
        /// A hundred chunks late at once must not make the bucket bottomless.
        #[test]
        fn what_is_taken_never_passes_what_was_put_in(
            steps in prop::collection::vec((any::<bool>(), 0u64..100_000), 1..200),
        ) {
            let config = Config::default();
            let mut budget = RetryBudget::new(&config);
            let now = Time::default();
            // The one that the floor lets through.
            let _ = budget.withdraw(&config, u64::MAX, now);
            let (mut taken, mut dispatched) = (0u64, 0u64);
            for (retry, tokens) in steps {
                if !retry {
                    budget.deposit(&config, tokens);
                    dispatched += tokens;
                } else if budget.withdraw(&config, tokens, now) {
                    taken += tokens;
                }
                prop_assert!(budget.balance() <= config.retry_burst);
                let allowed = config.retry_burst as f64 + config.retry_share * dispatched as f64;
                prop_assert!(taken as f64 <= allowed + 1e-6, "{taken} of {allowed}");
            }
        }
    }
}
