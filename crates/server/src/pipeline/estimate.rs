//! How many tokens a request will have, before it is tokenized:
//! `Σ min(max_length, bytes × ratio + specials)`, exact for ids; of a text that is read in windows, the tokens of all
//! windows.
//!
//! Only admission uses the estimate; the true count takes its place once it is known.

use super::input::ParsedInput;
use crate::tokenizing::TokenRatio;

/// Special tokens of a sequence; templates add two to four.
const SPECIALS: f64 = 3.0;

/// Estimated tokens of all inputs, each of which has `shared` beside it.
pub(crate) fn tokens(
    inputs: &[ParsedInput],
    shared: Option<&ParsedInput>,
    ratio: &TokenRatio,
    max_length: usize,
) -> u64 {
    let ratio = ratio.get();
    let own = |input: &ParsedInput| {
        let (bytes, ids) = input.size();
        bytes as f64 * ratio + ids as f64
    };
    let beside = shared.map_or(0.0, own) + SPECIALS;
    let longest = |input: &ParsedInput| input.fit.max_length.unwrap_or(max_length).min(max_length) as f64;
    let sum: f64 = inputs
        .iter()
        .map(|input| match input.stride {
            None => (own(input) + beside).min(longest(input)),
            Some(stride) => in_windows(own(input), beside, longest(input), stride as f64),
        })
        .sum();
    sum.ceil() as u64
}

/// Tokens of all windows of a text of `own` tokens: each shares `stride` with the one before and has `beside` of its own.
fn in_windows(own: f64, beside: f64, longest: f64, stride: f64) -> f64 {
    let room = (longest - beside).max(1.0);
    let step = (room - stride).max(1.0);
    let windows = ((own - room) / step).ceil().max(0.0) + 1.0;
    own + (windows - 1.0) * stride.min(room) + windows * beside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_count_as_the_longest_sequence() {
        let text = |n: usize| ParsedInput::text("x".repeat(n));
        let all = [text(1_000_000), text(0), text(100)];
        assert_eq!(tokens(&all[1..2], Some(&text(40)), &TokenRatio::default(), 128), 10 + 3);
        assert_eq!(tokens(&all, None, &TokenRatio::default(), 128), 128 + 3 + 28);
        // 400 tokens in windows of 125 that share 25: the first and three more.
        let long = ParsedInput { stride: Some(25), ..text(1_600) };
        assert_eq!(tokens(&[long], None, &TokenRatio::default(), 128), 400 + 3 * 25 + 4 * 3);
    }
}
