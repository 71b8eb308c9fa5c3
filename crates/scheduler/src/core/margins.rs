//! How much longer than predicted things take, as a high quantile of what was measured.
//!
//! A prediction that is right on average is too short half of the time. What is promised on it must be stretched by
//! the error that the predictions have had: `margin = quantile of actual / predicted`, followed by stochastic
//! approximation, `margin · e^(+STEP·QUANTILE)` for a prediction that was outlasted, `margin · e^(−STEP·(1−QUANTILE))`
//! for one that was kept. Short predictions are wrong by more than long ones, whose batches average out, so each power
//! of two of the predicted time has a margin of its own.
//!
//! A margin above the first one fades back to it once nothing of its length was measured for a while: it may be of a
//! stall that is over, and what it refuses can teach nothing.
//!
//! Invariant: a margin is between 1 and [`MOST`]; none stays high by what it refuses.

use std::time::Duration;

use super::units::{At, STALE};

/// Share of predictions that hold once they are stretched: one admitted request in a hundred may be late.
const QUANTILE: f64 = 0.99;

/// Step of the logarithm. A margin that is too small by a third is mended within six predictions that failed.
const STEP: f64 = 0.05;

/// Margin before anything was measured: batches scatter, and an answer must still be written.
const FIRST: f64 = 1.1;

/// Largest margin. Beyond a factor of two it is no longer noise, and the cost fit follows it.
const MOST: f64 = 2.0;

/// Time without a measurement after which a margin fades, and in which what it has above the first one then falls to a
/// third: that after which an idle device's cost is taken for old. Were it to fade between two measurements, it would
/// settle below its quantile.
const FADE: Duration = STALE;

/// Powers of two of microseconds: up to an hour.
const LENGTHS: usize = 32;

/// Margins by the length of what was predicted.
#[derive(Clone, Debug)]
pub(super) struct Margins([Margin; LENGTHS]);

#[derive(Clone, Copy, Debug)]
struct Margin {
    value: f64,
    /// When something of this length was last measured.
    at: At,
}

impl Margin {
    fn at(self, now: At) -> f64 {
        let faded = now.saturating_sub(self.at).saturating_sub(FADE).div_duration_f64(FADE);
        if self.value > FIRST { FIRST + (self.value - FIRST) * (-faded).exp() } else { self.value }
    }
}

impl Default for Margins {
    fn default() -> Self {
        Self([Margin { value: FIRST, at: At::ZERO }; LENGTHS])
    }
}

/// Index of the margin for a prediction of so many seconds.
fn length(seconds: f64) -> usize {
    ((seconds * 1e6).max(1.0).log2() as usize).min(LENGTHS - 1)
}

impl Margins {
    /// What a prediction of `seconds` is to be multiplied by before an estimate rests on it.
    pub(super) fn of(&self, seconds: f64, now: At) -> f64 {
        self.0.get(length(seconds)).map_or(FIRST, |margin| margin.at(now))
    }

    /// Something that was predicted to take `predicted` seconds took `actual`.
    pub(super) fn observe(&mut self, predicted: f64, actual: Duration, now: At) {
        let Some(margin) = self.0.get_mut(length(predicted)) else { return };
        let before = margin.at(now);
        let step = if actual.as_secs_f64() > predicted * before { QUANTILE } else { QUANTILE - 1.0 };
        *margin = Margin { value: (before * (STEP * step).exp()).clamp(1.0, MOST), at: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_goes_to_the_high_quantile_of_the_error() {
        let mut margins = Margins::default();
        // Errors spread evenly from 0.7 to 1.5: the quantile is 1.492.
        let mut dice = 9u64;
        for _ in 0..20_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let error = 0.7 + 0.8 * (dice >> 11) as f64 / (1u64 << 53) as f64;
            margins.observe(0.1, Duration::from_secs_f64(0.1 * error), At::ZERO);
        }
        let margin = margins.of(0.1, At::ZERO);
        assert!((1.40..1.60).contains(&margin), "{margin}");
        // Other lengths have their own.
        assert!((margins.of(1.0, At::ZERO) - FIRST).abs() < 1e-9);
    }

    /// A stall raised it, and nothing that it refuses can bring it down.
    #[test]
    fn a_margin_fades_while_nothing_is_measured() {
        let mut margins = Margins::default();
        (0..20).for_each(|_| margins.observe(0.6, Duration::MAX, At::ZERO));
        assert!(margins.of(0.6, At::ZERO) > 1.9);
        assert!(margins.of(0.6, At::from_secs(5)) > 1.9, "not between two measurements");
        assert!(margins.of(0.6, At::from_secs(10)) < 1.5);
        assert!(margins.of(0.6, At::from_secs(35)) < FIRST + 0.01);
    }

    #[test]
    fn a_margin_stays_in_its_range() {
        let mut margins = Margins::default();
        for _ in 0..1_000 {
            margins.observe(0.1, Duration::from_secs(60), At::ZERO);
        }
        assert!((margins.of(0.1, At::ZERO) - MOST).abs() < 1e-9);
        for _ in 0..10_000 {
            margins.observe(0.1, Duration::ZERO, At::ZERO);
        }
        assert!((margins.of(0.1, At::ZERO) - 1.0).abs() < 1e-9);
        margins.observe(f64::NAN, Duration::ZERO, At::ZERO);
        assert!(margins.of(f64::INFINITY, At::ZERO) >= 1.0);
    }
}
