//! When an attempt is late: the quantile of `x = latency ÷ predicted` over what ended
//! lately, where predicted is service and round trip, without the queue.
//!
//! Steps of the histogram are 2.5%. Attempts that were given up, because another was
//! first, say only that they would have taken longer: they count as at risk up to the
//! moment they left and not as ended (Kaplan & Meier 1958):
//!
//! `S(x) = Π over steps up to x of (1 − ended / at risk)`, and the trigger is the least
//! `x` with `S(x) ≤ 1 − q`.
//!
//! Counting them as ended would lower the quantile, leaving them out would too, and each
//! hedge would then beget more.
//!
//! Invariant: the quantile never falls when an attempt is added that lasted longer than
//! it, however that ended.

use crate::{config::HedgeConfig, time::Time};

/// Ratio of a step's bounds.
const STEP: f64 = 1.025;

/// Lower bound of the first step.
const LEAST: f64 = 0.02;

/// Steps: up to 0.02 · 1.025^500 = 4,600 times what was predicted.
const STEPS: usize = 500;

/// Samples after which the quantile is reckoned anew.
const REFRESH_SAMPLES: u32 = 32;

/// Attempts that ended, by how long they took against what was predicted.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    ended: Box<[f32]>,
    left: Box<[f32]>,
    weight: f64,
    faded: Time,
    fresh: u32,
    trigger: Option<f64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let none = || vec![0.0; STEPS].into_boxed_slice();
        Self { ended: none(), left: none(), weight: 0.0, faded: Time::default(), fresh: 0, trigger: None }
    }
}

fn step_of(x: f64) -> usize {
    // A float turned into an integer saturates, and NaN becomes 0.
    ((x / LEAST).ln() / STEP.ln()).floor().max(0.0) as usize
}

impl Latencies {
    /// An attempt was answered after `x` times what was predicted.
    pub(crate) fn ended(&mut self, config: &HedgeConfig, x: f64, now: Time) {
        if let Some(count) = self.ended.get_mut(step_of(x).min(STEPS - 1)) {
            *count += 1.0;
            self.weight += 1.0;
        }
        self.counted(config, now);
    }

    /// An attempt was given up, or failed, after `x` times what was predicted.
    pub(crate) fn left(&mut self, config: &HedgeConfig, x: f64, now: Time) {
        if let Some(count) = self.left.get_mut(step_of(x).min(STEPS - 1)) {
            *count += 1.0;
        }
        self.counted(config, now);
    }

    /// How many times what was predicted an attempt may last before it is late.
    pub(crate) fn trigger(&self, config: &HedgeConfig) -> f64 {
        self.trigger.unwrap_or(config.cold_trigger)
    }

    fn counted(&mut self, config: &HedgeConfig, now: Time) {
        self.fresh += 1;
        if self.fresh >= REFRESH_SAMPLES || self.trigger.is_none() {
            self.fresh = 0;
            self.fade(config, now);
            let enough = self.weight >= config.min_samples as f64;
            self.trigger = enough.then(|| self.quantile(config.quantile));
        }
    }

    /// Halves what was seen every half-life, but keeps so much that it still counts.
    fn fade(&mut self, config: &HedgeConfig, now: Time) {
        let lives = (now - self.faded).as_secs_f64() / config.half_life.as_secs_f64();
        let least = (config.min_samples as f64 / self.weight.max(1.0)).min(1.0);
        let keep = 0.5f64.powf(lives).max(least);
        self.faded = now;
        if keep < 1.0 {
            self.ended.iter_mut().chain(self.left.iter_mut()).for_each(|count| *count *= keep as f32);
            self.weight *= keep;
        }
    }

    fn quantile(&self, q: f64) -> f64 {
        let sum = |counts: &[f32]| counts.iter().map(|&count| f64::from(count)).sum::<f64>();
        let mut at_risk = sum(&self.ended) + sum(&self.left);
        let (mut alive, mut last) = (1.0, LEAST);
        for (place, (&ended, &left)) in (1..).zip(self.ended.iter().zip(&self.left)) {
            let (ended, left) = (f64::from(ended), f64::from(left));
            if ended > 0.0 && at_risk > 0.0 {
                alive *= 1.0 - ended / at_risk;
                last = LEAST * STEP.powi(place);
                if alive <= 1.0 - q {
                    break;
                }
            }
            at_risk -= ended + left;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_start(Duration::from_millis(ms))
    }

    fn thousand() -> Latencies {
        let mut seen = Latencies::default();
        for i in 1..=1_000 {
            seen.ended(&HedgeConfig::default(), f64::from(i) / 100.0, at(0));
        }
        seen
    }

    fn quantile(seen: &Latencies) -> f64 {
        seen.quantile(HedgeConfig::default().quantile)
    }

    #[test]
    fn the_quantile_is_that_of_what_was_seen() {
        let config = HedgeConfig::default();
        let mut seen = Latencies::default();
        assert_eq!(seen.trigger(&config), config.cold_trigger);
        for _ in 0..199 {
            seen.ended(&config, 1.0, at(0));
        }
        assert_eq!(seen.trigger(&config), config.cold_trigger);
        let found = quantile(&thousand());
        assert!((9.7..9.7 * STEP).contains(&found), "{found}");
    }

    /// tower's hedge forgets losers and its quantile sinks; an average that counts a loser given up
    /// after 2 ms as a latency of 2 ms makes its slow server look fast.
    #[test]
    fn a_cancelled_loser_never_lowers_the_quantile() {
        let config = HedgeConfig::default();
        let before = quantile(&thousand());
        // Copies that were given up soon, because the first attempt was answered after all.
        let mut seen = thousand();
        (0..100).for_each(|_| seen.left(&config, 0.05, at(0)));
        assert!((quantile(&seen) / before - 1.0).abs() < 1e-9);
        // Attempts that were given up late, because their hedge was first.
        let mut seen = thousand();
        (0..100).for_each(|_| seen.left(&config, 20.0, at(0)));
        assert!(quantile(&seen) >= before);
    }

    #[test]
    fn what_was_seen_fades_but_never_to_nothing() {
        let config = HedgeConfig::default();
        let mut seen = thousand();
        (0..40).for_each(|_| seen.ended(&config, 1.0, at(3_600_000)));
        assert!(seen.weight >= config.min_samples as f64, "{}", seen.weight);
        (0..2_000).for_each(|i| seen.ended(&config, 1.0, at(3_600_000 + 100 * i)));
        assert!(seen.trigger(&config) < 1.1, "{}", seen.trigger(&config));
    }

    proptest! {
        #[test]
        fn longer_attempts_never_lower_the_quantile(
            xs in prop::collection::vec((0.01..100.0f64, any::<bool>()), 1..200), more in 1.0..50.0f64, answered: bool,
        ) {
            let config = HedgeConfig::default();
            let mut seen = Latencies::default();
            for (x, answered) in xs {
                if answered { seen.ended(&config, x, at(0)) } else { seen.left(&config, x, at(0)) }
            }
            let before = quantile(&seen);
            let longer = before * STEP * more;
            if answered { seen.ended(&config, longer, at(0)) } else { seen.left(&config, longer, at(0)) }
            prop_assert!(quantile(&seen) >= before - 1e-12);
            prop_assert!(quantile(&seen).is_finite());
        }
    }
}
