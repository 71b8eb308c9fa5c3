//! Which end of a long text stays, against the crate's own cut; and special tokens that a text spells out.

use proptest::prelude::*;
use serde_json::json;
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

use super::load;
use crate::{EncodeOptions, Tokenizer, Truncation, TruncationSide};

/// The oracles' tokenizer, with a truncation in its file.
fn tokenizer(direction: &str) -> (Tokenizer, tokenizers::Tokenizer) {
    let path = super::oracles().join("tiny/bert-rerank/tokenizer.json");
    let mut file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["truncation"] = json!({"direction": direction, "max_length": 5, "strategy": "LongestFirst", "stride": 0});
    (load(&file, 64), tokenizers::Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap())
}

fn words(first: usize, n: usize) -> String {
    (0..n).map(|i| format!("w{}", first + i)).collect::<Vec<_>>().join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_end_of_a_text_stays_as_the_crate_has_it(a in 0usize..20, b in 0usize..20, limit in 6usize..40, pair: bool, both: bool) {
        let (ours, mut truth) = tokenizer("Left");
        let truncation = if both || !pair { Truncation::LongestFirst } else { Truncation::DocumentOnly };
        let strategy = if both || !pair { TruncationStrategy::LongestFirst } else { TruncationStrategy::OnlySecond };
        // A query that leaves no room is another test's.
        prop_assume!(both || !pair || a + 4 <= limit);
        truth.with_truncation(Some(TruncationParams { direction: TruncationDirection::Left, max_length: limit, strategy, stride: 0 })).unwrap();
        let (first, second) = (words(10, a), words(100, b));
        let options = EncodeOptions { truncation, max_length: Some(limit), ..EncodeOptions::default() };
        let (got, want) = if pair {
            (ours.encode_pair(&first, &second, &options).unwrap(), truth.encode((first.as_str(), second.as_str()), true).unwrap())
        } else {
            (ours.encode(&first, &options).unwrap(), truth.encode(first.as_str(), true).unwrap())
        };
        prop_assert_eq!(&got.ids[..], want.get_ids());
        prop_assert_eq!(got.truncated, a + if pair { b + 3 } else { 2 } > limit);
    }
}

/// Both texts are longer than half of an odd room: the token that is left over goes to the one that is longer as far as
/// the crate read it, which is from the end.
#[test]
fn the_odd_token_goes_where_the_crate_gives_it() {
    for (a, b) in [(15, 8), (8, 15), (7, 15), (15, 7), (9, 9)] {
        let (ours, mut truth) = tokenizer("Left");
        let strategy = TruncationStrategy::LongestFirst;
        truth
            .with_truncation(Some(TruncationParams {
                direction: TruncationDirection::Left,
                max_length: 8,
                strategy,
                stride: 0,
            }))
            .unwrap();
        let (first, second) = (words(10, a), words(100, b));
        let options =
            EncodeOptions { truncation: Truncation::LongestFirst, max_length: Some(8), ..EncodeOptions::default() };
        let want = truth.encode((first.as_str(), second.as_str()), true).unwrap();
        assert_eq!(ours.encode_pair(&first, &second, &options).unwrap().ids, want.get_ids(), "{a} {b}");
        assert_eq!(ours.detail(&first, Some(&second), &options, true).unwrap().sequence.ids, want.get_ids(), "{a} {b}");
    }
}

#[test]
fn a_caller_may_ask_for_the_other_side() {
    for (direction, own) in [("Left", TruncationSide::Left), ("Right", TruncationSide::Right)] {
        let (ours, _) = tokenizer(direction);
        assert_eq!(ours.truncation_side(), own);
        let of = |side| {
            let options = EncodeOptions { max_length: Some(5), side, ..EncodeOptions::default() };
            ours.encode("w20 w21 w22 w23 w24", &options).unwrap().ids
        };
        assert_eq!(of(Some(TruncationSide::Left)), [2, 22, 23, 24, 3]);
        assert_eq!(of(Some(TruncationSide::Right)), [2, 20, 21, 22, 3]);
        assert_eq!(of(None), of(Some(own)));
    }
}

#[test]
fn special_tokens_in_a_text_can_be_read_as_plain_text() {
    let ours = load(&super::bert(), 64);
    let of = |plain| {
        let options = EncodeOptions { plain, ..EncodeOptions::default() };
        ours.encode("x [SEP] y", &options).unwrap().ids
    };
    let special = of(false);
    assert_eq!((special.len(), special[2]), (5, 3));
    // The brackets are not in the vocabulary, and "sep" is spelled.
    let plain = of(true);
    assert_eq!(plain.len(), 2 + 1 + 5 + 1);
    assert_eq!((plain[1], plain[7]), (special[1], special[3]));
    assert!(plain[1..8].iter().all(|&id| id != 3), "{plain:?}");
}
