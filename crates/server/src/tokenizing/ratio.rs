//! Tokens a byte of text makes, learned per model as an exponential mean over requests.

use std::sync::atomic::{AtomicU64, Ordering};

/// Tokens a byte before anything was seen: English text has four to five bytes a token.
const FIRST_RATIO: f64 = 0.25;

/// A vocabulary cannot do better or worse than this on real text.
const RATIO_RANGE: (f64, f64) = (0.02, 1.5);

/// Weight of one request in the mean: about twenty requests to adapt.
const WEIGHT: f64 = 0.05;

/// Learned tokens a byte.
#[derive(Debug)]
pub(crate) struct TokenRatio(AtomicU64);

impl Default for TokenRatio {
    fn default() -> Self {
        Self(AtomicU64::new(FIRST_RATIO.to_bits()))
    }
}

impl TokenRatio {
    /// Tokens a byte.
    pub(crate) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// Learns from `tokens` that came of `bytes` of uncut text. A lost race loses one sample.
    pub(crate) fn observe(&self, bytes: usize, tokens: usize) {
        if bytes == 0 {
            return;
        }
        let seen = (tokens as f64 / bytes as f64).clamp(RATIO_RANGE.0, RATIO_RANGE.1);
        let new = self.get() + WEIGHT * (seen - self.get());
        self.0.store(new.to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_goes_to_what_is_seen_and_stays_in_range() {
        let ratio = TokenRatio::default();
        for _ in 0..200 {
            ratio.observe(100, 50);
        }
        assert!((ratio.get() - 0.5).abs() < 0.01);
        for _ in 0..500 {
            ratio.observe(1, 1000);
        }
        assert!(ratio.get() <= RATIO_RANGE.1);
        ratio.observe(0, 7);
        assert!(ratio.get().is_finite());
    }
}
