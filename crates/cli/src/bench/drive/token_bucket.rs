//! A token bucket for hand-written hedging: a share of the tokens sent first.

use parking_lot::Mutex;

/// Share of first attempts' tokens that hedges may add.
pub(super) const SHARE: f64 = 0.05;

/// Most that may be saved up, in jobs of the size last sent.
const BURST_JOBS: f64 = 10.0;

/// The bucket.
#[derive(Debug, Default)]
pub(super) struct TokenBucket(Mutex<f64>);

impl TokenBucket {
    /// A job of `tokens` tokens was sent.
    pub(super) fn earn(&self, tokens: u64) {
        let mut saved = self.0.lock();
        *saved = (*saved + tokens as f64 * SHARE).min(tokens as f64 * BURST_JOBS);
    }

    /// Takes `tokens`, if there are so many.
    pub(super) fn take(&self, tokens: u64) -> bool {
        let mut saved = self.0.lock();
        let enough = *saved >= tokens as f64;
        if enough {
            *saved -= tokens as f64;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_its_share_is_spent() {
        let budget = TokenBucket::default();
        let mut spent = 0;
        for _ in 0..1_000 {
            budget.earn(100);
            spent += if budget.take(16) { 16 } else { 0 };
        }
        assert!((4_900..=5_000).contains(&spent), "{spent}");
    }
}
