//! How many tokens a request will have, and how much work they are, before it is tokenized: of each input what [`TokenRatio`] says, bounded by what
//! its model reads and by what the caller asked for.
//!
//! Only admission uses the estimate; the true count takes its place once it is known.

use sortie_engine::{MAX_WINDOWS, ModelInfo};
use sortie_work::{Amount, SPECIAL_TOKENS, SequenceRule, TextSize, TokenRatio, WorkCurve};

use super::input::ParsedInput;

// One limit of two crates that do not see each other.
const _: () = assert!(MAX_WINDOWS as u64 == sortie_work::MAX_WINDOWS);

/// How many times what was admitted the windows of a request may have in tokens. No language's texts have so much more
/// than another's; what has is made to break the estimate, and admission with it.
const WINDOWS_OVER_ESTIMATE: u64 = 4;

/// Estimates tokens by what is known of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenEstimate<'a> {
    pub(crate) ratio: TokenRatio,
    pub(crate) info: &'a ModelInfo,
}

impl TokenEstimate<'_> {
    /// Tokens and work of all inputs, each of which has `shared` beside it.
    pub(crate) fn amount(self, inputs: &[ParsedInput], shared: Option<&ParsedInput>) -> Amount {
        let beside = shared.map_or(TextSize::default(), ParsedInput::size);
        inputs.iter().map(|input| self.one(input, beside)).sum()
    }

    fn one(self, input: &ParsedInput, beside: TextSize) -> Amount {
        let curve = WorkCurve::new(self.info.doubling_length);
        let specials = SPECIAL_TOKENS.max(self.info.chat_tokens as u64);
        let rule = SequenceRule { specials, longest: self.longest(input) };
        match input.stride {
            None => curve.of(self.ratio.sequence(input.size().and(beside), rule)),
            Some(stride) => {
                let beside = beside.and(input.prompt_size());
                let tokens = self.ratio.windows(input.own_size(), beside, stride as u64, rule);
                Amount { tokens, work: curve.windows(tokens, rule.longest) }
            }
        }
    }

    /// Longest sequence of an input: the model's, that of its role, or what the caller asked for.
    fn longest(self, input: &ParsedInput) -> u64 {
        let of_role = input.fit.role.and_then(|role| self.info.role_lengths[role as usize]);
        let own = of_role.map_or(self.info.max_length, |n| n.min(self.info.max_length));
        input.fit.max_length.map_or(own, |n| n.min(own)) as u64
    }
}

/// Most tokens of all windows of a request of so many inputs that was admitted for `admitted` tokens.
pub(crate) fn window_limit(admitted: u64, inputs: usize, max_length: usize) -> usize {
    // A short text may have its whole length where nothing was expected of it.
    let slack = inputs.saturating_mul(2 * max_length);
    usize::try_from(admitted.saturating_mul(WINDOWS_OVER_ESTIMATE)).unwrap_or(usize::MAX).saturating_add(slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(max_length: usize) -> ModelInfo {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny/bert-rerank");
        let model = sortie_engine::Model::open(&folder, &sortie_engine::LoadOptions::default()).unwrap();
        ModelInfo { max_length, ..model.info().clone() }
    }

    #[test]
    fn long_texts_count_as_the_longest_sequence() {
        let text = |n: usize| ParsedInput::text("x".repeat(n));
        let all = [text(1_000_000), text(0), text(100)];
        let (ratio, info) = (TokenRatio::default(), info(128));
        let estimate = TokenEstimate { ratio, info: &info };
        assert_eq!(estimate.amount(&all[1..2], Some(&text(40))).tokens, 10 + 3);
        assert_eq!(estimate.amount(&all, None).tokens, 128 + 3 + 28);
    }

    #[test]
    fn windows_count_with_what_stands_in_each() {
        let text = |n: usize| ParsedInput { stride: Some(25), ..ParsedInput::text("x".repeat(n)) };
        let (ratio, mut info) = (TokenRatio::default(), info(128));
        let estimate = TokenEstimate { ratio, info: &info };
        // 400 tokens in windows of 125 that share 25: the first and three more.
        assert_eq!(estimate.amount(&[text(1_600)], None).tokens, 400 + 3 * 25 + 4 * 3);
        // A chat template of 60 tokens stands around each pair.
        let chat = ModelInfo { chat_tokens: 60, ..info.clone() };
        let estimate_of_chat = TokenEstimate { ratio, info: &chat };
        assert_eq!(estimate_of_chat.amount(&[ParsedInput::text("y".repeat(80))], None).tokens, 20 + 60);
        // A prompt of 20 tokens stands in each.
        let prompt = super::super::validate::PromptText { text: "y".repeat(80), asked: true };
        let prompted = ParsedInput { prompt: Some(std::sync::Arc::new(prompt)), ..text(1_600) };
        assert_eq!(estimate.amount(&[prompted], None).tokens, 400 + 4 * 25 + 5 * 23);
        // A text beyond all windows is refused by itself, and counts as the most there may be.
        assert_eq!(estimate.amount(&[text(100_000_000)], None).tokens, (MAX_WINDOWS * 128) as u64);
        assert_eq!(window_limit(400, 2, 128), 4 * 400 + 2 * 2 * 128);
        assert_eq!(window_limit(u64::MAX, usize::MAX, 128), usize::MAX);
        info.role_lengths = [None, Some(53)];
        let role = sortie_engine::EncodeOptions { role: Some(sortie_engine::Role::Document), ..text(0).fit };
        let document = ParsedInput { fit: role, ..text(400) };
        let estimate = TokenEstimate { ratio, info: &info };
        assert_eq!(estimate.amount(&[document], None).tokens, 100 + 2 * 25 + 3 * 3);
    }
}
