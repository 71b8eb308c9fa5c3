//! Windows against a plain reading of the rule, and scores by hand.

use std::path::PathBuf;

use proptest::prelude::*;

use crate::{
    EncodeOptions, InputError, Passage, Tokenizer, TruncationSide, WindowPlan, WindowScore, mean_of_windows,
    tokenize::reading::StaticRules,
};

fn tokenizer(max_length: usize) -> Tokenizer {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny/bert-rerank");
    Tokenizer::load(&folder, max_length, 300).unwrap()
}

fn plan(stride: usize) -> WindowPlan {
    WindowPlan { stride, most_tokens: usize::MAX }
}

fn words(n: usize) -> String {
    (0..n).map(|i| format!("w{}", 10 + i % 200)).collect::<Vec<_>>().join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn windows_cover_the_document_and_share_the_stride(n in 0usize..120, query in 1usize..6, max in 16usize..40, stride in 0usize..6) {
        let tokenizer = tokenizer(max);
        let query = tokenizer.query(&words(query), &EncodeOptions::default()).unwrap();
        let document = words(n);
        let got = tokenizer.windows(&query, Passage::Text(&document), plan(stride)).unwrap();
        let room = max - 3 - query.tokens();
        let all: Vec<u32> = (0..n).map(|i| 10 + (i % 200) as u32).collect();
        prop_assert_eq!(&got, &tokenizer.windows(&query, Passage::Ids(&all), plan(stride)).unwrap());
        let mut at = 0;
        for (i, (sequence, &tokens)) in got.sequences.iter().zip(&got.tokens).enumerate() {
            prop_assert_eq!(sequence, &tokenizer.ids_with(&query, &all[at..at + tokens]).unwrap());
            prop_assert!(sequence.len() <= max && !sequence.truncated);
            let last = i + 1 == got.sequences.len();
            prop_assert_eq!(at + tokens == n, last, "the end is in the last window alone");
            prop_assert!(last || tokens == room);
            at += tokens - stride.min(tokens);
        }
        // A document that fits is the pair itself.
        if n <= room {
            prop_assert_eq!(&got.sequences[..], &[tokenizer.encode_with(&query, &document).unwrap()][..]);
        }
    }
}

#[test]
fn strides_and_documents_without_end_are_refused() {
    let tokenizer = tokenizer(16);
    let query = tokenizer.query("w20 w21 w22", &EncodeOptions::default()).unwrap();
    assert_eq!(
        tokenizer.windows(&query, Passage::Text("w5"), plan(10)),
        Err(InputError::BadStride { stride: 10, room: 10 })
    );
    let still = tokenizer.clone().with_static_rules(StaticRules { characters: None, unknown: None });
    let text = Passage::Text("w5 w6");
    let refused = still.windows_of("", text, plan(0), &EncodeOptions::default());
    assert!(matches!(refused, Err(InputError::NoWindows(_))), "{refused:?}");
    let endless = words(12_000);
    let error = tokenizer.windows(&query, Passage::Text(&endless), plan(0)).unwrap_err();
    assert!(matches!(error, InputError::TooManyWindows { windows: 1_200, .. }), "{error}");
    // 30 words in windows of 10, each beside six tokens.
    let few = WindowPlan { stride: 0, most_tokens: 47 };
    let error = tokenizer.windows(&query, Passage::Text(&words(30)), few).unwrap_err();
    assert_eq!(error, InputError::TooLongInWindows { windows: 3, tokens: 48, limit: 47 });
}

#[test]
fn a_prompt_stands_before_each_window_of_a_text_that_does_not_fit() {
    let tokenizer = tokenizer(16);
    let options = EncodeOptions::default();
    let fits = tokenizer.windows_of("w7 w8 ", Passage::Text(&words(5)), plan(2), &options).unwrap();
    assert_eq!(fits.sequences, [tokenizer.encode_after("w7 w8 ", &words(5), &options).unwrap()]);
    assert_eq!(fits.tokens, [5]);
    let cut = tokenizer.windows_of("w7 w8 ", Passage::Text(&words(30)), plan(2), &options).unwrap();
    assert_eq!(cut.tokens, [12, 12, 10]);
    for sequence in &cut.sequences {
        assert_eq!(sequence.ids[1..3], tokenizer.encode_ids(&[7, 8], &options).unwrap().ids[1..3]);
        assert_eq!(sequence.prompt_tokens, fits.sequences[0].prompt_tokens);
        assert!(sequence.len() <= 16 && !sequence.truncated);
    }
}

/// The library's own arithmetic (`Encoding::truncate`, left): stops go back from the end, a window's width at most.
#[test]
fn windows_of_texts_that_are_cut_at_their_beginning_are_laid_from_the_end() {
    let tokenizer = tokenizer(24);
    let options = EncodeOptions { side: Some(TruncationSide::Left), ..EncodeOptions::default() };
    let all: Vec<u32> = (10..30).collect();
    let query = tokenizer.query_from_ids(&[5, 6], &options).unwrap();
    let got = tokenizer.windows(&query, Passage::Ids(&all), plan(4)).unwrap();
    let parts: Vec<&[u32]> = got.sequences.iter().map(|s| &s.ids[4..s.len() - 1]).collect();
    assert_eq!(parts, [&all[1..20], &all[0..5]]);
    assert_eq!(got.tokens, [19, 5]);
}

#[test]
fn the_first_window_of_a_byte_level_tokenizer_begins_as_the_text_does() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny/roberta-base");
    let tokenizer = Tokenizer::load(&folder, 16, 1 << 20).unwrap();
    let options = EncodeOptions::default();
    for (prompt, text) in [("find: ", "hello there "), ("find:", "hello there "), ("w1 ", " x y ")] {
        let long = text.repeat(20);
        let whole = tokenizer.encode_after(prompt, &long, &options).unwrap();
        let windows = tokenizer.windows_of(prompt, Passage::Text(&long), plan(1), &options).unwrap();
        let first = &windows.sequences[0];
        assert_eq!(first.ids, whole.ids, "{prompt:?} {text:?}");
        assert_eq!(first.prompt_tokens, whole.prompt_tokens);
    }
}

#[test]
fn scores_and_vectors_of_windows_become_the_texts() {
    let tokens = [3, 1];
    assert_eq!(WindowScore::Max.of(&[1.0, 5.0], &tokens), Some(5.0));
    assert_eq!(WindowScore::First.of(&[1.0, 5.0], &tokens), Some(1.0));
    assert_eq!(WindowScore::Mean.of(&[1.0, 5.0], &tokens), Some(2.0));
    assert_eq!(WindowScore::Mean.of(&[1.0], &tokens), None);
    assert_eq!(mean_of_windows(&[&[1.0, 2.0], &[5.0, -2.0]], &tokens), Some(vec![2.0, 1.0]));
    assert_eq!(mean_of_windows(&[&[1.0, 2.0][..], &[5.0]], &tokens), None);
}
