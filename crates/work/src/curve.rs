//! What a sequence counts as: attention over all pairs of tokens makes a token of a long text dearer than one of a short.

use std::ops::{AddAssign, SubAssign};

/// What a model makes of the length of a sequence: one of `n` tokens takes as much work as `n · (1 + n / doubling)` tokens
/// of sequences so short that attention over all pairs is nothing beside the rest.
///
/// *Doubling* is the length at which both take as long, so that a token of such a text is twice as dear. Layers that see a
/// window, and models without attention, do the same for each token, however long the text: they add nothing to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkCurve {
    doubling: u32,
}

impl WorkCurve {
    /// Every token is as dear as another.
    pub const STRAIGHT: Self = Self { doubling: 0 };

    /// The curve of a model whose tokens are twice as dear in a text of this length; 0: in no text.
    #[must_use]
    pub const fn new(doubling_length: u32) -> Self {
        Self { doubling: doubling_length }
    }

    /// The length at which a token is twice as dear, as it stands on the wire; 0: none.
    #[must_use]
    pub const fn doubling_length(self) -> u32 {
        self.doubling
    }

    /// Tokens of work that a sequence of so many tokens is, to the nearest; never fewer than it has.
    #[must_use]
    pub fn work(self, tokens: u64) -> u64 {
        if self.doubling == 0 {
            return tokens;
        }
        // In whole numbers, so that both ends of the wire say the same.
        let (tokens, doubling) = (u128::from(tokens), u128::from(self.doubling));
        let more = (tokens * tokens + doubling / 2) / doubling;
        u64::try_from(tokens.saturating_add(more)).unwrap_or(u64::MAX)
    }

    /// Tokens of the longest sequence that is no more work than this.
    #[must_use]
    pub fn longest(self, work: u64) -> u64 {
        if self.doubling == 0 {
            return work;
        }
        // The positive root of n²/d + n = w, which rounding may have put a little beside the whole number.
        let (half, all) = (f64::from(self.doubling) / 2.0, work as f64);
        let root = (half * half + f64::from(self.doubling) * all).sqrt() - half;
        let mut tokens = (root as u64).min(work);
        while tokens > 0 && self.work(tokens) > work {
            tokens -= 1;
        }
        while tokens < work && self.work(tokens + 1) <= work {
            tokens += 1;
        }
        tokens
    }

    /// Work of `tokens` in sequences of `longest` tokens and a rest: the windows of a text, as far as they are known before
    /// it is tokenized.
    #[must_use]
    pub fn windows(self, tokens: u64, longest: u64) -> u64 {
        let longest = longest.max(1);
        let full = (tokens / longest).saturating_mul(self.work(longest));
        full.saturating_add(self.work(tokens % longest))
    }

    /// A sequence and its work.
    #[must_use]
    pub fn of(self, tokens: u64) -> Amount {
        Amount { tokens, work: self.work(tokens) }
    }
}

/// Tokens, by which memory and limits go, and the work that they are, by which time goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Tokens as they are.
    pub tokens: u64,
    /// What they count as ([`WorkCurve`]).
    pub work: u64,
}

impl Amount {
    /// The lesser of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { tokens: self.tokens.min(other.tokens), work: self.work.min(other.work) }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), work: self.work.saturating_add(other.work) }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = self.and(other);
    }
}

impl SubAssign for Amount {
    /// Never below zero.
    fn sub_assign(&mut self, other: Self) {
        self.tokens = self.tokens.saturating_sub(other.tokens);
        self.work = self.work.saturating_sub(other.work);
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::and)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_twice_as_dear_at_the_doubling_length() {
        let curve = WorkCurve::new(4_096);
        assert_eq!([curve.work(0), curve.work(1), curve.work(64), curve.work(128)], [0, 1, 65, 132]);
        assert_eq!([curve.work(4_096), curve.work(8_192)], [8_192, 24_576]);
        assert_eq!(WorkCurve::STRAIGHT.work(8_192), 8_192);
        // Ten windows of 512 are far less than one text of as many tokens.
        assert_eq!((curve.windows(5_120, 512), curve.work(5_120)), (10 * 576, 11_520));
        assert_eq!(curve.windows(600, 512), 576 + curve.work(88));
    }

    #[test]
    fn amounts_add_up_and_never_fall_below_zero() {
        let mut all: Amount = [100, 200].map(|tokens| WorkCurve::new(100).of(tokens)).into_iter().sum();
        assert_eq!(all, Amount { tokens: 300, work: 800 });
        all -= Amount { tokens: 50, work: 900 };
        assert_eq!(all, Amount { tokens: 250, work: 0 });
    }

    proptest! {
        #[test]
        fn it_grows_faster_than_the_tokens(doubling in 0u32.., a in 0u64..1 << 32, b in 0u64..1 << 32) {
            let curve = WorkCurve::new(doubling);
            let (short, long) = (a.min(b), a.max(b));
            prop_assert!(curve.work(long) >= curve.work(short));
            prop_assert!(curve.work(a) >= a);
            // One text is never less work than its halves, up to rounding.
            prop_assert!(curve.work(a + b).saturating_add(2) >= curve.work(a).saturating_add(curve.work(b)));
            // The formula, to the nearest.
            if doubling > 0 && a < 1 << 20 {
                let exact = a as f64 * (1.0 + a as f64 / f64::from(doubling));
                prop_assert!((curve.work(a) as f64 - exact).abs() <= 0.5 + exact * 1e-12, "{exact}");
            }
        }

        #[test]
        fn the_longest_is_the_last_that_fits(doubling in 0u32.., work in 0u64..1 << 40) {
            let curve = WorkCurve::new(doubling);
            let tokens = curve.longest(work);
            prop_assert!(curve.work(tokens) <= work && curve.work(tokens + 1) > work, "{tokens}");
        }

        #[test]
        fn nothing_overflows(doubling in 0u32.., tokens in 0u64.., longest in 0u64..) {
            let curve = WorkCurve::new(doubling);
            prop_assert!(curve.work(tokens) >= tokens);
            prop_assert!(curve.windows(tokens, longest) >= tokens.min(longest));
            prop_assert!(curve.longest(tokens) <= tokens);
        }
    }
}
