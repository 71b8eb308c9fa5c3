//! What a batch costs, learnt as batches run: `T = a + b * tokens`, and the knee.
//!
//! Exponentially weighted least squares over (tokens, seconds). With weights
//! `w`, means `x̄`, `ȳ`: `b = cov / var`, `a = ȳ − b·x̄`. Guards: while the sizes
//! seen vary too little to tell `a` from `b`, `a` stays what it was and `b`
//! carries the rest; neither is ever negative. One batch that took longer than
//! [`OUTLIER`] times what was predicted counts as that much only, so a stall does not
//! become a belief; [`CHANGE_AFTER`] in a row, slow or fast, are a change: what was
//! seen before then hardly counts. Of the first [`OUTLIER_AFTER`] the slow ones may be a cold
//! start: one much faster than predicted takes their place at once. So does the first batch after a rest.
//!
//! A device that was slow, and gets no work because of that, would count as slow for ever. So
//! [`CostFit::best_recent_ratio`] is the ratio of the best cost seen recently to the current estimate, for batches of
//! the last one's size (the fit says little about sizes that were not seen). While the device is idle, load
//! reports fade to that lower cost.
//!
//! The knee is read off the rates that batches of each power of two reached
//! ([`Rates`]), and from `a` and `b` where small ones were not seen.
//!
//! Invariant: `a ≥ 0`, `b > 0`, both finite.

use std::time::Duration;

use sortie_work::Cost;

use super::rates::{KNEE_SHARE, Rates};

/// Fixed cost of a batch before any was measured; a launch and its copies.
pub const DEFAULT_BATCH_COST: Duration = Duration::from_millis(1);

/// Cost of a token before any was measured: a small model on a few cores. Too
/// dear is corrected by the first batch; too cheap would let a cold queue overfill.
pub const DEFAULT_TOKEN_COST: Duration = Duration::from_micros(10);

/// Batch size past which throughput is taken as flat before it was measured.
pub const DEFAULT_KNEE_TOKENS: u32 = 2_048;

/// Weight that a batch keeps after each later one: half in about 34 batches,
/// long enough to see sizes vary, short enough to follow a device that slows.
const KEEP: f64 = 0.98;

/// Sizes must spread by this share of their mean before `a` and `b` are told apart.
const MIN_SPREAD: f64 = 0.1;

/// Batches before an outlier is recognised as one.
const OUTLIER_AFTER: u32 = 8;

/// Batches before the cost counts as measured: the very first may hold what a runtime does once, and
/// a short one of them says next to nothing of a token. Warming up runs as many of each size.
const MEASURED_AFTER: u32 = 3;

/// Most that one batch may count, as a multiple of its prediction.
const OUTLIER: f64 = 1.5;

/// And beside that multiple: waking a thread late is no outlier of a tiny batch.
const OUTLIER_SECONDS: f64 = 100e-6;

/// Outliers in a row, all slow or all fast, that are taken for a change of the device.
const CHANGE_AFTER: i32 = 4;

/// What was seen before a change counts this share from then on.
const FORGET: f64 = 0.01;

/// The usual cost is no less than this share of the present one: eight times slower than usual is as good as stopped.
const LEAST_RATIO: f64 = 0.125;

/// Least cost of a token: a rate of 10⁹ tokens a second is beyond any device.
const MIN_TOKEN_SECONDS: f64 = 1e-9;

/// The cost before any batch.
const UNMEASURED: Cost =
    Cost { a_us: DEFAULT_BATCH_COST.as_micros() as f64, b_us: DEFAULT_TOKEN_COST.as_micros() as f64 };

/// Learns a [`Cost`] from batches.
#[derive(Clone, Debug)]
pub(crate) struct CostFit {
    cost: Cost,
    rates: Rates,
    seen: u32,
    /// Outliers in a row: slow ones count up, fast ones down.
    streak: i32,
    /// Tokens of the last batch.
    last: f64,
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Default for CostFit {
    fn default() -> Self {
        let (weight, x, y, xx, xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        Self { cost: UNMEASURED, rates: Rates::default(), seen: 0, streak: 0, last: 0.0, weight, x, y, xx, xy }
    }
}

impl CostFit {
    /// What is believed now.
    pub(crate) fn cost(&self) -> Cost {
        self.cost
    }

    /// What is believed, once [`MEASURED_AFTER`] batches were seen.
    pub(crate) fn measured(&self) -> Option<Cost> {
        (self.seen >= MEASURED_AFTER).then_some(self.cost)
    }

    /// Tokens past which a larger batch is hardly faster per token.
    pub(crate) fn knee(&self, budget: usize) -> u32 {
        let limit = u32::try_from(budget).unwrap_or(u32::MAX).max(1);
        if self.seen == 0 {
            return DEFAULT_KNEE_TOKENS.min(limit);
        }
        self.rates.knee(self.fitted_knee()).clamp(1.0, f64::from(limit)) as u32
    }

    /// Least tokens that are worth a batch where another device is to have the rest. The knee that was seen is a size that
    /// ran, up to twice what it could be: two halves of a batch would often stay one for it.
    pub(crate) fn least_batch(&self, budget: usize) -> u32 {
        let knee = self.knee(budget);
        if self.seen == 0 { knee } else { (self.fitted_knee().max(1.0) as u32).min(knee) }
    }

    fn fitted_knee(&self) -> f64 {
        self.cost.break_even_tokens() * KNEE_SHARE / (1.0 - KNEE_SHARE)
    }

    /// The cost it has been known to do with, as a share of the present one: 1 at most.
    pub(crate) fn best_recent_ratio(&self) -> f64 {
        self.rates.best_recent_ratio(self.last).clamp(LEAST_RATIO, 1.0)
    }

    /// Takes one batch in. `rested`: none ran for long before it.
    pub(crate) fn observe(&mut self, tokens: u64, took: Duration, rested: bool) {
        let x = tokens.max(1) as f64;
        let seconds = took.as_secs_f64();
        if rested {
            self.recover(tokens, seconds);
        }
        let (y, changed) = self.clip_outlier(tokens, seconds);
        self.seen = self.seen.saturating_add(1);
        self.rates.observe(x, y);
        let keep = if changed { FORGET } else { KEEP };
        self.weight = self.weight * keep + 1.0;
        self.x = self.x * keep + x;
        self.y = self.y * keep + y;
        self.xx = self.xx * keep + x * x;
        self.xy = self.xy * keep + x * y;
        self.solve();
        self.last = x;
    }

    /// The first batch after a rest: a device that is faster by more than batches scatter is believed at once, as far
    /// as it has been known to go. The level of all that was seen changes, a against b does not.
    fn recover(&mut self, tokens: u64, seconds: f64) {
        let predicted = self.cost.batch_seconds(tokens);
        if seconds >= predicted / OUTLIER - OUTLIER_SECONDS {
            return;
        }
        let share = (seconds / predicted).max(self.best_recent_ratio());
        self.cost = self.cost.times(share);
        self.y *= share;
        self.xy *= share;
        self.rates.times(share);
        self.streak = 0;
    }

    /// Seconds that a batch counts as, and whether the past hardly counts beside it.
    fn clip_outlier(&mut self, tokens: u64, seconds: f64) -> (f64, bool) {
        let predicted = self.cost.batch_seconds(tokens);
        let most = predicted * OUTLIER + OUTLIER_SECONDS;
        let least = predicted / OUTLIER - OUTLIER_SECONDS;
        if self.seen < OUTLIER_AFTER {
            return (seconds, seconds < least);
        }
        self.streak = if seconds > most {
            self.streak.max(0).saturating_add(1)
        } else if seconds < least {
            self.streak.min(0).saturating_sub(1)
        } else {
            0
        };
        let held = if self.streak < CHANGE_AFTER { seconds.min(most) } else { seconds };
        (held, self.streak.abs() == CHANGE_AFTER)
    }

    fn solve(&mut self) {
        let (x, y) = (self.x / self.weight, self.y / self.weight);
        let spread = self.xx / self.weight - x * x;
        let (mut a, mut b) = if spread > (MIN_SPREAD * x).powi(2) {
            let b = (self.xy / self.weight - x * y) / spread;
            (y - b * x, b)
        } else {
            let a = (self.cost.a_us / 1e6).min(y / 2.0);
            (a, (y - a) / x)
        };
        if a < 0.0 {
            (a, b) = (0.0, y / x);
        }
        if b < MIN_TOKEN_SECONDS {
            b = MIN_TOKEN_SECONDS;
            a = (y - b * x).max(0.0);
        }
        if a.is_finite() && b.is_finite() {
            self.cost = Cost { a_us: a * 1e6, b_us: b * 1e6 };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn took(a: f64, b: f64, tokens: u64) -> Duration {
        Duration::from_secs_f64(a + b * tokens as f64)
    }

    #[test]
    fn the_fit_finds_a_straight_line() {
        let mut fit = CostFit::default();
        for i in 0..64u64 {
            let tokens = 100 + (i * 7919) % 8000;
            fit.observe(tokens, took(0.003, 5e-6, tokens), false);
        }
        let cost = fit.cost();
        assert!((cost.a_us - 3_000.0).abs() < 100.0, "{cost:?}");
        assert!((cost.b_us - 5.0).abs() < 0.1, "{cost:?}");
        let knee = fit.knee(16_384);
        assert!((1_200..4_096).contains(&knee), "{knee}");
        assert!(cost.rate(16_384) > 150_000.0);
    }

    #[test]
    fn one_size_only_still_predicts_that_size() {
        let mut fit = CostFit::default();
        for _ in 0..20 {
            fit.observe(1_000, Duration::from_millis(7), false);
        }
        let cost = fit.cost();
        assert!((cost.batch_seconds(1_000) - 0.007).abs() < 1e-6, "{cost:?}");
        assert!(cost.a_us <= 3_500.0);
    }

    #[test]
    fn one_stall_is_held_to_its_bound() {
        let mut fit = CostFit::default();
        for i in 0..100u64 {
            let tokens = 500 + (i % 10) * 500;
            fit.observe(tokens, took(0.001, 1e-6, tokens), false);
        }
        let before = fit.cost().batch_seconds(4_000);
        fit.observe(4_000, Duration::from_secs(60), false);
        let after = fit.cost().batch_seconds(4_000);
        assert!(after < before * 1.03, "{before} -> {after}");
    }

    #[test]
    fn a_lasting_change_is_followed_at_once() {
        for factor in [4.0, 0.25] {
            let mut fit = CostFit::default();
            let run = |fit: &mut CostFit, n: u64, factor: f64| {
                for i in 0..n {
                    let tokens = 500 + (i % 10) * 500;
                    fit.observe(tokens, took(0.001, 1e-6, tokens).mul_f64(factor), false);
                }
            };
            run(&mut fit, 100, 1.0);
            run(&mut fit, 12, factor);
            let ratio = fit.cost().batch_seconds(4_000) / (0.005 * factor);
            assert!((0.8..1.25).contains(&ratio), "{factor}: {ratio}");
        }
    }

    #[test]
    fn a_cold_start_is_forgotten_with_the_first_warm_batch() {
        let mut fit = CostFit::default();
        fit.observe(7, Duration::from_secs(2), false);
        assert_eq!(fit.measured(), None);
        for _ in 0..2 {
            fit.observe(7, took(0.004, 1e-5, 7), false);
        }
        let cost = fit.measured().unwrap();
        assert!(cost.batch_seconds(7) < 0.008, "{cost:?}");
    }

    #[test]
    fn the_knee_is_where_throughput_flattens_not_where_a_line_would_say() {
        // Flat up to 2,048 tokens, as on a device that is not filled before.
        let mut fit = CostFit::default();
        for i in 0..200u64 {
            let tokens = 128 << (i % 8);
            fit.observe(tokens, Duration::from_micros(100 + tokens.max(2_048)), false);
        }
        let knee = fit.knee(16_384);
        assert!((1_800..=4_096).contains(&knee), "{knee}");
        assert_eq!(fit.knee(1_000), 1_000);
    }

    #[test]
    fn before_any_batch_the_defaults_stand() {
        let fit = CostFit::default();
        assert_eq!(fit.measured(), None);
        assert_eq!(fit.knee(16_384), DEFAULT_KNEE_TOKENS);
        assert_eq!(fit.knee(100), 100);
    }

    /// Of small batches the fit knows next to nothing of what a token costs.
    #[test]
    fn noise_of_small_batches_is_no_memory_of_better_days() {
        let mut fit = CostFit::default();
        let mut noise = (0..).map(|i: u64| {
            let bits = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            0.8 + 0.4 * bits as f64 / (1u64 << 24) as f64
        });
        for tokens in [128, 256, 512, 1_024].into_iter().cycle().take(12) {
            fit.observe(tokens, took(0.002, 1e-5, tokens), false);
        }
        for i in 0..5_000u64 {
            let tokens = 8 + i * 7 % 33;
            let slow = noise.next().unwrap();
            fit.observe(tokens, took(0.002, 1e-5, tokens).mul_f64(slow), i % 50 == 0);
            assert!(fit.best_recent_ratio() > 0.7, "{} after {i}", fit.best_recent_ratio());
            let level = fit.cost().batch_seconds(24) / 0.00224;
            assert!((0.7..1.3).contains(&level), "{level} after {i}");
        }
    }

    #[test]
    fn a_device_that_is_well_again_is_believed_after_a_rest() {
        let mut fit = CostFit::default();
        let mut run = |slow: f64, rested: bool, times: usize| {
            for tokens in [500, 1_000, 2_000, 4_000].into_iter().cycle().take(times) {
                fit.observe(tokens, took(0.001, 1e-6, tokens).mul_f64(slow), rested);
            }
            (fit.cost().batch_seconds(2_000) / 0.003, fit.best_recent_ratio())
        };
        let (cost, best_recent_ratio) = run(1.0, false, 160);
        assert!((0.99..1.01).contains(&cost) && best_recent_ratio > 0.99, "{cost} {best_recent_ratio}");
        let (cost, best_recent_ratio) = run(4.0, false, 160);
        assert!((3.6..4.1).contains(&cost) && (0.24..0.3).contains(&best_recent_ratio), "{cost} {best_recent_ratio}");
        // Still slow after a rest: nothing new.
        assert!(run(4.0, true, 1).0 > 3.6);
        let (cost, best_recent_ratio) = run(1.0, true, 1);
        assert!((0.9..1.2).contains(&cost) && best_recent_ratio > 0.85, "{cost} {best_recent_ratio}");
        // Slower for good: the past is forgotten.
        let (cost, best_recent_ratio) = run(4.0, false, 8_000);
        assert!((3.9..4.1).contains(&cost) && best_recent_ratio > 0.9, "{cost} {best_recent_ratio}");
    }

    proptest! {
        #[test]
        fn never_negative_never_endless(seen in prop::collection::vec((0u64..100_000, 0u64..10_000_000_000), 1..60)) {
            let mut fit = CostFit::default();
            for (tokens, nanos) in seen {
                fit.observe(tokens, Duration::from_nanos(nanos), false);
                let cost = fit.cost();
                prop_assert!(cost.is_usable());
                prop_assert!(cost.rate(1_000) > 0.0 && cost.rate(1_000).is_finite());
                prop_assert!((1..=1_000).contains(&fit.knee(1_000)));
                prop_assert!(cost.queue_seconds(2_500, 1_000) >= cost.batch_seconds(2_500));
            }
        }
    }
}
