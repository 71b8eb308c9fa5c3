//! How many tokens a text will have: `specials + bytes · ratio`, no more than the
//! model reads.
//!
//! The ratio is tokens over bytes of what was answered, kept per model, with
//! older answers counting less. Texts that were cut say nothing of it.

use crate::config::DispatchConfig;

/// Bytes of text that what was believed at first counts for.
const PRIOR_BYTES: f64 = 2_048.0;

/// Bytes of text after which an answer counts for half.
const HALF_LIFE_BYTES: f64 = 1_000_000.0;

/// Windows of one text that servers make at most.
const MOST_WINDOWS: u64 = 1_024;

/// A text that is read in windows where it is longer than the model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowedText {
    /// Bytes of text.
    pub bytes: u64,
    /// Ready ids.
    pub ids: u64,
    /// Tokens that neighbouring windows share.
    pub stride: u64,
    /// Longest window in tokens that the caller wants.
    pub most: u64,
}

/// The learned ratio of one model.
#[derive(Clone, Debug)]
pub(crate) struct TokenRatio {
    bytes: f64,
    tokens: f64,
    specials: u64,
    max_length: u64,
}

impl TokenRatio {
    pub(crate) fn new(config: &DispatchConfig) -> Self {
        Self {
            bytes: PRIOR_BYTES,
            tokens: PRIOR_BYTES * config.cost.tokens_per_byte,
            specials: config.cost.special_tokens,
            max_length: u64::MAX,
        }
    }

    /// A server says how much of a sequence the model reads; 0 says nothing.
    pub(crate) fn set_max_length(&mut self, tokens: u64) {
        if tokens > 0 {
            self.max_length = tokens;
        }
    }

    /// Tokens of a sequence made of `bytes` of text and of `ids` ready ones; at least one.
    pub(crate) fn estimate(&self, bytes: u64, ids: u64) -> u64 {
        let text = (bytes as f64 * self.tokens / self.bytes).ceil() as u64;
        text.saturating_add(ids).saturating_add(self.specials).clamp(1, self.max_length)
    }

    /// Tokens of all windows of a text, each of which holds a query of `bytes` of text and `ids` ready ones too.
    pub(crate) fn estimate_windows(&self, text: WindowedText, bytes: u64, ids: u64) -> u64 {
        let tokens =
            |bytes: u64, ids: u64| ((bytes as f64 * self.tokens / self.bytes).ceil() as u64).saturating_add(ids);
        let own = tokens(text.bytes, text.ids);
        let beside = tokens(bytes, ids).saturating_add(self.specials);
        let room = self.max_length.min(text.most).saturating_sub(beside).max(1);
        let step = room.saturating_sub(text.stride).max(1);
        let more = own.saturating_sub(room).div_ceil(step).min(MOST_WINDOWS);
        let each = beside.saturating_add(text.stride.min(room));
        own.saturating_add(beside).saturating_add(more.saturating_mul(each)).max(1)
    }

    /// `items` sequences of `bytes` text in all, none of them cut, had `tokens` tokens.
    pub(crate) fn observe(&mut self, bytes: u64, tokens: u64, items: u64) {
        if bytes == 0 {
            return;
        }
        let keep = 0.5f64.powf(bytes as f64 / HALF_LIFE_BYTES);
        let text = tokens.saturating_sub(items.saturating_mul(self.specials));
        self.bytes = self.bytes * keep + bytes as f64;
        // Never so little that a text would weigh nothing.
        self.tokens = (self.tokens * keep + text as f64).max(self.bytes * 1e-3);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ratio_is_learned_and_the_model_bounds_it() {
        let mut ratio = TokenRatio::new(&DispatchConfig::default());
        assert_eq!(ratio.estimate(400, 0), 103);
        // Chinese: three bytes a character, a token each.
        ratio.observe(300_000, 100_000 + 300, 100);
        assert_eq!(ratio.estimate(3_000, 0).div_ceil(10), 101);
        ratio.set_max_length(512);
        assert_eq!(ratio.estimate(u64::MAX, u64::MAX), 512);
        assert_eq!(ratio.estimate(0, 20), 23);
    }

    #[test]
    fn windows_share_their_stride_and_each_has_the_query() {
        let mut ratio = TokenRatio::new(&DispatchConfig::default());
        let text = |ids| WindowedText { bytes: 0, ids, stride: 25, most: 128 };
        // 105 of a text fit beside 20 of the query and 3 specials.
        assert_eq!(ratio.estimate_windows(text(105), 0, 20), 128);
        assert_eq!(ratio.estimate_windows(text(106), 0, 20), 106 + 25 + 2 * 23);
        ratio.set_max_length(64);
        assert_eq!(ratio.estimate_windows(text(100), 0, 20), 100 + 4 * 25 + 5 * 23);
        assert!(ratio.estimate_windows(text(u64::MAX), u64::MAX, u64::MAX) >= 1);
    }

    proptest! {
        #[test]
        fn more_text_is_never_fewer_tokens(seen in prop::collection::vec((0u64..1 << 40, any::<u64>(), 0u64..1000), 0..8), a: u32, b: u32) {
            let mut ratio = TokenRatio::new(&DispatchConfig::default());
            for (bytes, tokens, items) in seen {
                ratio.observe(bytes, tokens, items);
            }
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(ratio.estimate(less.into(), 0) <= ratio.estimate(more.into(), 0));
            prop_assert!(ratio.estimate(less.into(), 0) >= 1);
        }
    }
}
