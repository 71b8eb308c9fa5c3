//! The quantile and the budget of baselines that hedge: dispatch's rules and numbers in their simplest form.
//!
//! Invariants: the quantile is of latency over the expected time, in steps of 3%; the budget never goes below zero.

use std::time::Duration;

use sortie_dispatch::config::{BudgetConfig, HedgeConfig};

/// Width of a step: latencies within 3% are one.
const STEP: f64 = 1.03;

/// Steps: up to 1.03^400, beyond any latency.
const STEPS: usize = 400;

/// Attempts after which old ones count half: some ten seconds of a busy client.
const HALVE_AFTER: f64 = 20_000.0;

/// A histogram of latency over expected time.
#[derive(Debug)]
pub(super) struct LatencyHistogram {
    counts: Vec<f64>,
    total: f64,
    seen: u64,
}

impl LatencyHistogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0.0; STEPS], total: 0.0, seen: 0 }
    }

    /// An attempt took so long, or was given up then, where so much was expected.
    pub(super) fn record(&mut self, took: Duration, expected: Duration) {
        let ratio = took.as_secs_f64() / expected.as_secs_f64();
        let step = (ratio.max(1e-3).ln() / STEP.ln()).max(0.0) as usize;
        if let Some(count) = self.counts.get_mut(step.min(STEPS - 1)) {
            *count += 1.0;
            self.total += 1.0;
            self.seen += 1;
        }
        if self.total > HALVE_AFTER {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
            self.total /= 2.0;
        }
    }

    /// When an attempt is late of which so much is expected; never where nothing is known and nothing is guessed.
    pub(super) fn late_after(&self, expected: Duration, config: &HedgeConfig) -> Option<Duration> {
        let late = Duration::try_from_secs_f64(expected.as_secs_f64() * self.trigger(config));
        late.ok().map(|late| late.max(config.floor))
    }

    /// What counts as late: so many times what was expected.
    fn trigger(&self, config: &HedgeConfig) -> f64 {
        if self.seen < config.min_samples {
            return config.cold_trigger;
        }
        let mut left = self.total * (1.0 - config.quantile);
        for (step, count) in self.counts.iter().enumerate().rev() {
            left -= count;
            if left < 0.0 {
                return STEP.powi(step as i32 + 1);
            }
        }
        1.0
    }
}

/// Tokens that hedges may take.
#[derive(Debug)]
pub(super) struct HedgeBudget {
    tokens: f64,
    most: f64,
    share: f64,
}

impl HedgeBudget {
    /// Half of the burst is the hedges'.
    pub(super) fn new(config: &BudgetConfig) -> Self {
        let most = config.burst_jobs * config.median_job as f64 / 2.0;
        Self { tokens: most, most, share: config.hedge_share }
    }

    /// Tokens were sent for the first time.
    pub(super) fn deposit(&mut self, tokens: u64) {
        self.tokens = (self.tokens + self.share * tokens as f64).min(self.most);
    }

    /// Asks for the tokens of a hedge.
    pub(super) fn pay(&mut self, tokens: u64) -> bool {
        let enough = self.tokens >= tokens as f64;
        if enough {
            self.tokens -= tokens as f64;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trigger_is_the_quantile_within_a_step() {
        let config = HedgeConfig::default();
        let mut histogram = LatencyHistogram::new();
        assert!(histogram.trigger(&config) >= config.cold_trigger);
        let mut guess = config.clone();
        guess.cold_trigger = f64::INFINITY;
        assert_eq!(histogram.late_after(Duration::from_millis(1), &guess), None);
        for i in 0..100_000u32 {
            histogram.record(Duration::from_millis(100 + u64::from(i % 1_000)), Duration::from_millis(100));
        }
        let trigger = histogram.trigger(&config);
        assert!((10.6..11.2).contains(&trigger), "{trigger}");
    }

    #[test]
    fn a_budget_gives_what_was_put_in() {
        let mut budget = HedgeBudget::new(&BudgetConfig::default());
        let burst = 160_000;
        assert!(budget.pay(burst) && !budget.pay(1_000));
        budget.deposit(20_000);
        assert!(budget.pay(1_000) && !budget.pay(1_000));
    }
}
