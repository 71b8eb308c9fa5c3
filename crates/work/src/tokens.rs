//! How many tokens a text will have, before it is tokenized: `bytes · ratio`, and ready ids as they are.
//!
//! The ratio is tokens over bytes of what was tokenized, learned for each model, older texts counting less. Texts that
//! were cut say nothing of it.
//!
//! Invariant: the ratio stays within [`RATIO_RANGE`]; more text is never fewer tokens; a sequence has at least one token
//! and no more than the model reads.

/// Tokens of a byte of text before anything is known: English in a BERT vocabulary.
pub const TOKENS_PER_BYTE: f64 = 0.25;

/// Special tokens of a sequence: at most four in the pair templates of known encoders.
pub const SPECIAL_TOKENS: u64 = 3;

/// Windows of one text that a server makes at most.
pub const MAX_WINDOWS: u64 = 1_024;

/// Real text has no fewer and no more tokens a byte, whatever the vocabulary: less is one unknown word without end, more
/// is a normalizer that writes out single characters. Beyond it a ratio would admit anything, or nothing.
const RATIO_RANGE: (f64, f64) = (0.02, 1.5);

/// Bytes of text that what is believed at first counts for: one short request corrects it.
const PRIOR_BYTES: f64 = 2_048.0;

/// Bytes of text after which what was seen before counts for half: about two hundred documents of some pages, so that
/// a change of language is followed within a few requests and single texts do not move it.
const HALF_LIFE_BYTES: f64 = 1_000_000.0;

/// Most bytes that are learned from at once, an eighth of the weight of all: one odd job does not decide what everybody
/// else's texts are taken for.
const MAX_SAMPLE_BYTES: f64 = 200_000.0;

/// What is known of a text before it is tokenized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextSize {
    /// Bytes of text.
    pub bytes: u64,
    /// Ready token ids.
    pub ids: u64,
}

impl TextSize {
    /// Both texts together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), ids: self.ids.saturating_add(other.ids) }
    }
}

/// What a model makes of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceRule {
    /// Special tokens of a sequence.
    pub specials: u64,
    /// Tokens of the longest sequence, at least one.
    pub longest: u64,
}

/// The learned ratio of tokens to bytes of one model.
#[derive(Clone, Copy, Debug)]
pub struct TokenRatio {
    /// Bytes of text that count, at least [`PRIOR_BYTES`] by their weight when they came.
    bytes: f64,
    /// Their tokens.
    tokens: f64,
}

impl Default for TokenRatio {
    fn default() -> Self {
        Self::new(TOKENS_PER_BYTE)
    }
}

impl TokenRatio {
    /// A ratio of which only this is believed.
    #[must_use]
    pub fn new(tokens_per_byte: f64) -> Self {
        let (least, most) = RATIO_RANGE;
        Self { bytes: PRIOR_BYTES, tokens: PRIOR_BYTES * tokens_per_byte.clamp(least, most) }
    }

    /// Learns that `bytes` of text, none of it cut, had `tokens` tokens without specials.
    pub fn observe(&mut self, bytes: u64, tokens: u64) {
        if bytes == 0 {
            return;
        }
        let (least, most) = RATIO_RANGE;
        let ratio = (tokens as f64 / bytes as f64).clamp(least, most);
        let bytes = (bytes as f64).min(MAX_SAMPLE_BYTES);
        let keep = 0.5f64.powf(bytes / HALF_LIFE_BYTES);
        self.bytes = self.bytes * keep + bytes;
        self.tokens = self.tokens * keep + bytes * ratio;
    }

    /// Tokens of a text, without specials.
    #[must_use]
    pub fn tokens(&self, text: TextSize) -> u64 {
        // A cast saturates.
        ((text.bytes as f64 * self.tokens / self.bytes).ceil() as u64).saturating_add(text.ids)
    }

    /// Tokens of the sequence that a text becomes.
    #[must_use]
    pub fn sequence(&self, text: TextSize, rule: SequenceRule) -> u64 {
        self.tokens(text).saturating_add(rule.specials).clamp(1, rule.longest.max(1))
    }

    /// Tokens of all windows of a text, each of which has `beside` in it too and shares `stride` tokens with the one
    /// before.
    #[must_use]
    pub fn windows(&self, text: TextSize, beside: TextSize, stride: u64, rule: SequenceRule) -> u64 {
        let longest = rule.longest.max(1);
        let own = self.tokens(text);
        let beside = self.tokens(beside).saturating_add(rule.specials);
        let room = longest.saturating_sub(beside).max(1);
        let step = room.saturating_sub(stride).max(1);
        let later = own.saturating_sub(room).div_ceil(step).min(MAX_WINDOWS - 1);
        let each = beside.saturating_add(stride.min(room));
        let all = own.saturating_add(beside).saturating_add(later.saturating_mul(each));
        all.clamp(1, longest.saturating_mul(later + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: SequenceRule = SequenceRule { specials: SPECIAL_TOKENS, longest: 128 };

    fn text(bytes: u64) -> TextSize {
        TextSize { bytes, ids: 0 }
    }

    fn ids(ids: u64) -> TextSize {
        TextSize { bytes: 0, ids }
    }

    #[test]
    fn the_ratio_is_learned_and_the_model_bounds_it() {
        let mut ratio = TokenRatio::default();
        let long = SequenceRule { longest: u64::MAX, ..RULE };
        assert_eq!(ratio.sequence(text(400), long), 103);
        // Chinese: three bytes a character, a token each.
        (0..10).for_each(|_| ratio.observe(30_000, 10_000));
        assert!((995..=1_003).contains(&ratio.sequence(text(3_000), long)), "{ratio:?}");
        assert_eq!(ratio.sequence(TextSize { bytes: u64::MAX, ids: u64::MAX }, RULE), 128);
        assert_eq!(ratio.sequence(ids(20), RULE), 23);
    }

    #[test]
    fn windows_share_their_stride_and_each_has_the_query() {
        let ratio = TokenRatio::default();
        // 105 of a text fit beside 20 of the query and 3 specials.
        assert_eq!(ratio.windows(ids(105), ids(20), 25, RULE), 128);
        assert_eq!(ratio.windows(ids(106), ids(20), 25, RULE), 106 + 25 + 2 * 23);
        // 400 tokens in windows of 125 that share 25: the first and three more.
        assert_eq!(ratio.windows(text(1_600), text(0), 25, RULE), 400 + 3 * 25 + 4 * 3);
        let short = SequenceRule { longest: 64, ..RULE };
        assert_eq!(ratio.windows(ids(100), ids(20), 25, short), 100 + 4 * 25 + 5 * 23);
        assert_eq!(ratio.windows(text(u64::MAX), ids(u64::MAX), u64::MAX, RULE), MAX_WINDOWS * 128);
    }

    #[test]
    fn one_job_of_odd_texts_does_not_decide() {
        let mut ratio = TokenRatio::default();
        (0..100).for_each(|_| ratio.observe(100_000, 25_000));
        ratio.observe(64 << 20, 100 << 20);
        let after = ratio.tokens(text(1_000));
        assert!((250..450).contains(&after), "{after}");
    }

    proptest! {
        #[test]
        fn the_ratio_goes_to_what_is_seen(bytes in 1_000u64..100_000, share in 0.02f64..1.5, before in prop::collection::vec((any::<u64>(), any::<u64>()), 0..8)) {
            let mut ratio = TokenRatio::default();
            before.into_iter().for_each(|(bytes, tokens)| ratio.observe(bytes, tokens));
            let tokens = (bytes as f64 * share) as u64;
            (0..20_000_000 / bytes).for_each(|_| ratio.observe(bytes, tokens));
            let learned = ratio.tokens(text(1 << 20)) as f64 / f64::from(1 << 20);
            let seen = (tokens as f64 / bytes as f64).clamp(RATIO_RANGE.0, RATIO_RANGE.1);
            prop_assert!((learned - seen).abs() < 1e-4, "{} {}", learned, seen);
        }

        #[test]
        fn a_larger_text_is_never_fewer_tokens_and_the_model_bounds_them(
            seen in prop::collection::vec((any::<u64>(), any::<u64>()), 0..8),
            (a, b, ids, beside) in (any::<u64>(), any::<u64>(), 0u64..10_000, 0u64..2_000),
            stride in 0u64..1_000,
            longest in 1u64..10_000,
        ) {
            let mut ratio = TokenRatio::default();
            seen.into_iter().for_each(|(bytes, tokens)| ratio.observe(bytes, tokens));
            let rule = SequenceRule { longest, ..RULE };
            let size = |bytes| TextSize { bytes, ids };
            let (less, more) = (size(a.min(b)), size(a.max(b)));
            prop_assert!(ratio.sequence(less, rule) <= ratio.sequence(more, rule));
            prop_assert!((1..=longest).contains(&ratio.sequence(more, rule)));
            let windows = |size| ratio.windows(size, text(beside), stride, rule);
            prop_assert!(windows(less) <= windows(more));
            prop_assert!((1..=longest * MAX_WINDOWS).contains(&windows(more)));
            prop_assert!(windows(less) >= ratio.tokens(less).min(longest));
            let (low, high) = RATIO_RANGE;
            let learned = ratio.tokens(text(1 << 30)) as f64 / f64::from(1 << 30);
            prop_assert!((low - 1e-6..=high + 1e-6).contains(&learned), "{}", learned);
        }
    }
}
