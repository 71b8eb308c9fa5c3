//! Offsets, words and specials of single tokens.

use proptest::prelude::*;

use super::*;

fn pieces<'t>(t: &Tokenizer, text: &'t str) -> Vec<&'t str> {
    let tokenized = t.detail(text, None, &EncodeOptions::default(), false).unwrap();
    tokenized.details.iter().map(|d| &text[d.start..d.end]).collect()
}

#[test]
fn offsets_are_bytes_of_the_original_text() {
    let t = load(&bert(), 64);
    // Accents are stripped and Chinese is split by the normalizer; offsets still point at what was written.
    assert_eq!(pieces(&t, "Über 漢字 the"), ["Ü", "b", "er", "漢", "字", "the"]);
    assert_eq!(pieces(&t, "a 🙂 b"), ["a", "🙂", "b"]);
    assert_eq!(pieces(&t, "e\u{301} x"), ["e", "x"]);
    // The file says to trim spaces off: nothing is left of one that is a token of its own.
    let t = load(&roberta(), 64);
    assert_eq!(pieces(&t, "the the für"), ["the", "the", "", "f", "ü", "r"]);
    // Byte-level tokens that are parts of a character cover all of it.
    assert_eq!(pieces(&t, "a漢"), ["a", "漢", "漢", "漢"]);
    assert_eq!(pieces(&t, "🙂"), ["🙂"; 4]);
    let t = load(&unigram(), 64);
    assert_eq!(pieces(&t, "the ü漢"), ["the", " ", "ü", "漢"]);
}

#[test]
fn specials_sides_and_words_are_told_apart() {
    let t = load(&bert(), 64);
    let found = t.detail("unable x", Some("the [SEP]"), &EncodeOptions::default(), true).unwrap();
    assert_eq!(found.sequence, t.encode_pair("unable x", "the [SEP]", &EncodeOptions::default()).unwrap());
    let row = |token: &str, start, end, special, second, continues| super::super::TokenDetail {
        token: token.to_owned(),
        start,
        end,
        special,
        second,
        continues,
    };
    let expected = [
        row("[CLS]", 0, 0, true, false, false),
        row("un", 0, 2, false, false, false),
        row("##able", 2, 6, false, false, true),
        row("x", 7, 8, false, false, false),
        row("[SEP]", 0, 0, true, false, false),
        row("the", 0, 3, false, true, false),
        row("[SEP]", 4, 9, false, true, false),
        row("[SEP]", 0, 0, true, false, false),
    ];
    assert_eq!(found.details, expected);
    let plain = t.detail("unable x", Some("the [SEP]"), &EncodeOptions::default(), false).unwrap();
    assert!(plain.details.iter().all(|d| !d.special));
    assert_eq!(plain.details.len(), 5);
    assert_eq!(plain.sequence.type_ids, [0, 0, 0, 1, 1]);
}

#[test]
fn texts_have_the_room_of_specials_left_out() {
    let t = load(&bert(), 4);
    let cut = t.detail("a b c d e", None, &EncodeOptions::default(), false).unwrap();
    assert_eq!((cut.details.len(), cut.sequence.truncated), (4, true));
    let with = t.detail("a b c d e", None, &EncodeOptions::default(), true).unwrap();
    assert_eq!((with.details.len(), with.details[2].start), (4, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn offsets_always_cut_the_text(a in any::<String>(), b in "\\PC{0,20}", specials: bool) {
        for (name, t, _) in KINDS.iter() {
            let found = t.detail(&a, Some(&b), &options(Truncation::LongestFirst, 40), specials).unwrap();
            prop_assert_eq!(found.details.len(), found.sequence.len());
            for d in &found.details {
                let text = if d.second { &b } else { &a };
                prop_assert!(text.get(d.start..d.end).is_some(), "{}: {:?} of {:?}", name, d, text);
                prop_assert!(!d.special || specials);
            }
        }
    }
}
