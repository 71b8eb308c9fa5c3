//! What paid retries and hedges may add to the load: one bucket of tokens of work for both, of
//! which hedges may take half.
//!
//! Every token that is answered for the first time puts `hedge_share + retry_share` of a
//! token in, `hedge_share` of it for hedges too. A hedge or a paid retry takes its chunk's
//! tokens out or is not made. Both thus add a bounded share of work however much fails or
//! is late (gRFC A6 throttles for the same reason), counted in work and not in calls. The
//! bucket holds `burst_jobs` jobs of median size. A refused chunk takes out what its answer
//! would have put in: a fleet that refuses more than it answers is not retried, but for one
//! retry a [`BudgetConfig::floor`]. Free retries take nothing and are not bounded here.
//!
//! Invariants: a balance is from 0 to its capacity; over any time hedges take no more than
//! `burst / 2 + hedge_share · answered`, and both together no more than
//! `burst + (hedge_share + retry_share) · answered` and one retry a
//! [`BudgetConfig::floor`]. Taking is one checked subtraction: a balance that is tested
//! first and lowered later passes zero when several chunks are late at once, and comes
//! round as without limit.

use crate::{config::BudgetConfig, time::Time};

/// Parts of a token that balances are counted in, so that small shares add up.
const PARTS: u64 = 1_000;

/// Least step of the running median; larger while few jobs were seen.
const MEDIAN_STEP: f64 = 0.03;

/// The bucket that paid retries and hedges take their tokens from.
#[derive(Clone, Debug)]
pub(crate) struct RetryBudget {
    both: u64,
    hedges: u64,
    median_job: f64,
    jobs: u64,
    last_free: Option<Time>,
}

impl RetryBudget {
    /// A full bucket.
    pub(crate) fn new(config: &BudgetConfig) -> Self {
        let median_job = config.median_job.max(1) as f64;
        let mut budget = Self { both: 0, hedges: 0, median_job, jobs: 0, last_free: None };
        budget.both = budget.capacity(config);
        budget.hedges = budget.both / 2;
        budget
    }

    /// Tokens that retries may take.
    pub(crate) fn for_retries(&self) -> u64 {
        self.both / PARTS
    }

    /// Tokens that hedges may take.
    pub(crate) fn for_hedges(&self) -> u64 {
        self.hedges.min(self.both) / PARTS
    }

    fn capacity(&self, config: &BudgetConfig) -> u64 {
        (config.burst_jobs * self.median_job * PARTS as f64) as u64
    }

    /// A job of so many tokens starts: `median ← median · (1 ± step)`, towards it.
    pub(crate) fn job(&mut self, config: &BudgetConfig, tokens: u64) {
        self.jobs += 1;
        let step = 1.0 + MEDIAN_STEP.max(1.0 / self.jobs as f64);
        let target = tokens.max(1) as f64;
        self.median_job = if target > self.median_job {
            (self.median_job * step).min(target)
        } else {
            (self.median_job / step).max(target)
        };
        self.fill(config, 0, 0);
    }

    /// So many tokens were answered for the first time.
    pub(crate) fn answered(&mut self, config: &BudgetConfig, tokens: u64) {
        let share = |of: f64| tokens.saturating_mul((of * PARTS as f64) as u64);
        self.fill(config, share(config.hedge_share + config.retry_share), share(config.hedge_share));
    }

    /// So many tokens were refused.
    pub(crate) fn refused(&mut self, config: &BudgetConfig, tokens: u64) {
        let share = (config.hedge_share + config.retry_share) * PARTS as f64;
        self.both = self.both.saturating_sub(tokens.saturating_mul(share as u64));
    }

    fn fill(&mut self, config: &BudgetConfig, both: u64, hedges: u64) {
        let capacity = self.capacity(config);
        self.both = self.both.saturating_add(both).min(capacity);
        self.hedges = self.hedges.saturating_add(hedges).min(capacity / 2);
    }

    /// Takes a retry's tokens. False, and nothing taken, where there are too few; but once every
    /// [`BudgetConfig::floor`] a retry goes through all the same.
    #[must_use]
    pub(crate) fn retry(&mut self, config: &BudgetConfig, tokens: u64, now: Time) -> bool {
        if let Some(rest) = self.both.checked_sub(tokens.saturating_mul(PARTS)) {
            self.both = rest;
            return true;
        }
        let free = self.last_free.is_none_or(|last| now - last >= config.floor);
        if free {
            self.last_free = Some(now);
        }
        free
    }

    /// Takes a hedge's tokens; false, and nothing taken, where there are too few.
    #[must_use]
    pub(crate) fn hedge(&mut self, tokens: u64) -> bool {
        let parts = tokens.saturating_mul(PARTS);
        match (self.both.checked_sub(parts), self.hedges.checked_sub(parts)) {
            (Some(both), Some(hedges)) => {
                (self.both, self.hedges) = (both, hedges);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn empty() -> BudgetConfig {
        BudgetConfig { burst_jobs: 0.0, ..BudgetConfig::default() }
    }

    #[test]
    fn one_retry_a_second_when_there_is_nothing_left() {
        let config = empty();
        let mut budget = RetryBudget::new(&config);
        let at = |ms| Time::from_start(Duration::from_millis(ms));
        assert!(budget.retry(&config, 500, at(0)));
        assert!(!budget.retry(&config, 500, at(0)));
        assert!(!budget.retry(&config, 500, at(999)));
        assert!(budget.retry(&config, 500, at(1_000)));
        assert!(!budget.hedge(500));
    }

    #[test]
    fn hedges_leave_half_to_retries() {
        let config = BudgetConfig::default();
        let mut budget = RetryBudget::new(&config);
        let mut hedged = 0;
        while budget.hedge(1_000) {
            hedged += 1_000;
        }
        assert_eq!(hedged, 160_000);
        assert_eq!((budget.for_hedges(), budget.for_retries()), (0, 160_000));
    }

    #[test]
    fn the_burst_follows_the_median_job() {
        let config = BudgetConfig::default();
        let mut budget = RetryBudget::new(&config);
        for i in 0..400 {
            // One job in five is huge: the median does not care.
            budget.job(&config, if i % 5 == 0 { 1_000_000 } else { 1_600 });
        }
        let jobs = budget.for_retries() as f64 / 1_600.0;
        assert!((9.0..14.0).contains(&jobs), "{jobs}");
    }

    #[test]
    fn a_fleet_that_only_refuses_is_not_retried() {
        let config = BudgetConfig { floor: std::time::Duration::MAX, ..BudgetConfig::default() };
        let mut budget = RetryBudget::new(&config);
        let now = Time::default();
        // The one that the floor lets through.
        assert!(budget.retry(&config, u64::MAX, now));
        let mut retried = 0;
        for _ in 0..100 {
            budget.refused(&config, 32_000);
            retried += u32::from(budget.retry(&config, 32_000, now));
        }
        assert_eq!(retried, 9, "the burst, less what refusals took");
        (0..20).for_each(|_| budget.answered(&config, 32_000));
        assert!(budget.retry(&config, 32_000, now));
    }

    proptest! {
        /// A hundred chunks late at once must not make the bucket bottomless.
        #[test]
        fn what_is_taken_never_passes_what_was_put_in(
            steps in prop::collection::vec((0u8..3, 0u64..100_000), 1..300),
        ) {
            let config = BudgetConfig::default();
            let mut budget = RetryBudget::new(&config);
            let now = Time::default();
            // The one that the floor lets through.
            let _ = budget.retry(&config, u64::MAX, now);
            let (mut hedged, mut retried, mut dispatched) = (0u64, 0u64, 0u64);
            for (step, tokens) in steps {
                match step {
                    0 => {
                        budget.answered(&config, tokens);
                        dispatched += tokens;
                    }
                    1 if budget.retry(&config, tokens, now) => retried += tokens,
                    2 if budget.hedge(tokens) => hedged += tokens,
                    _ => {}
                }
                let (burst, dispatched) = (config.burst_jobs * config.median_job as f64, dispatched as f64);
                prop_assert!(hedged as f64 <= burst / 2.0 + config.hedge_share * dispatched + 1e-6);
                let both = config.hedge_share + config.retry_share;
                prop_assert!((hedged + retried) as f64 <= burst + both * dispatched + 1e-6);
            }
        }
    }
}
