//! Random text: ours equals `tokenizers`, whole and cut.

use proptest::prelude::*;
use tokenizers::{Encoding, TruncationDirection, TruncationParams, TruncationStrategy};

use super::*;
use crate::{TruncationSide, item::Sequence};

/// Words, scripts, marks, controls, emoji, specials spelled out, and anything at all.
fn text() -> impl Strategy<Value = String> {
    let chunk = prop_oneof![
        4 => "[a-z]{1,8}( [a-z]{1,6}){0,8}",
        1 => "[ \t\n.,'-]{1,4}",
        1 => Just("the ing unable Über naïve e\u{301} 漢字 カタカナ ".to_owned()),
        1 => Just("👩‍👩‍👧🙂\u{0}\u{7f}\u{200b}\u{fffd}".to_owned()),
        1 => Just("[SEP] <mask> </s>[CLS]".to_owned()),
        1 => "[a-z]{90,130}",
        1 => "\\PC{0,6}",
        1 => any::<String>(),
    ];
    prop::collection::vec(chunk, 0..8).prop_map(|chunks| chunks.concat())
}

fn equal(ours: &Sequence, truth: &Encoding, truncated: bool) -> Result<(), TestCaseError> {
    let type_ids: Vec<u32> = (0..ours.len()).map(|i| ours.type_id(i)).collect();
    prop_assert_eq!(&ours.ids, truth.get_ids());
    prop_assert_eq!(&type_ids, truth.get_type_ids());
    prop_assert_eq!(ours.truncated, truncated);
    Ok(())
}

fn cutting(
    reference: &tokenizers::Tokenizer,
    side: TruncationSide,
    strategy: TruncationStrategy,
    limit: usize,
) -> tokenizers::Tokenizer {
    let mut reference = reference.clone();
    let direction = match side {
        TruncationSide::Left => TruncationDirection::Left,
        TruncationSide::Right => TruncationDirection::Right,
    };
    let rule = TruncationParams { direction, max_length: limit, strategy, stride: 0 };
    reference.with_truncation(Some(rule)).unwrap();
    reference
}

#[test]
fn a_template_is_derived_wherever_it_fits() {
    for (name, file, fits) in kinds() {
        assert_eq!(load(&file, 512).template_is_derived(), fits, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whole_sequences_are_the_references(a in text(), b in text()) {
        for (name, ours, reference) in KINDS.iter() {
            let truth = reference.encode(a.as_str(), true).unwrap();
            // Longer ones are the next test's.
            if truth.len() < 512 {
                equal(&ours.encode(&a, &EncodeOptions::default()).unwrap(), &truth, false)?;
                prop_assert_eq!(&ours.detail(&a, None, &EncodeOptions::default(), true).unwrap().sequence.ids, truth.get_ids(), "{}", name);
            }
            let truth = reference.encode((a.as_str(), b.as_str()), true).unwrap();
            if truth.len() < 512 {
                let both = ours.encode_pair(&a, &b, &EncodeOptions::default()).unwrap();
                equal(&both, &truth, false)?;
                let query = ours.query(&a, &EncodeOptions::default()).unwrap();
                prop_assert_eq!(&ours.encode_with(&query, &b).unwrap(), &both, "{}", name);
                prop_assert_eq!(&ours.detail(&a, Some(&b), &EncodeOptions::default(), true).unwrap().sequence, &both, "{}", name);
            }
        }
    }

    #[test]
    fn cut_sequences_are_the_references(a in text(), b in text(), limit in 6usize..60, left: bool) {
        let side = if left { TruncationSide::Left } else { TruncationSide::Right };
        for (name, ours, reference) in KINDS.iter() {
            let longest = cutting(reference, side, TruncationStrategy::LongestFirst, limit);
            let by_length = EncodeOptions { side: Some(side), ..options(Truncation::LongestFirst, limit) };
            let whole = reference.encode(a.as_str(), true).unwrap().len();
            let truth = longest.encode(a.as_str(), true).unwrap();
            equal(&ours.encode(&a, &by_length).unwrap(), &truth, whole > limit)?;
            let whole = reference.encode((a.as_str(), b.as_str()), true).unwrap().len();
            let truth = longest.encode((a.as_str(), b.as_str()), true).unwrap();
            let both = ours.encode_pair(&a, &b, &by_length).unwrap();
            equal(&both, &truth, whole > limit)?;
            let query = ours.query(&a, &by_length).unwrap();
            prop_assert_eq!(&ours.encode_with(&query, &b).unwrap(), &both, "{}", name);
            prop_assert_eq!(&ours.detail(&a, Some(&b), &by_length, true).unwrap().sequence, &both, "{}", name);

            // The reference refuses where nothing of the second text would stay; ours where the first does not fit.
            let second = cutting(reference, side, TruncationStrategy::OnlySecond, limit);
            let by_document = EncodeOptions { side: Some(side), ..options(Truncation::DocumentOnly, limit) };
            let ours_cut = ours.encode_pair(&a, &b, &by_document);
            match second.encode((a.as_str(), b.as_str()), true) {
                Ok(truth) => equal(&ours_cut.unwrap(), &truth, whole > limit)?,
                Err(_) => prop_assert!(matches!(ours_cut, Err(crate::InputError::QueryTooLong { .. })), "{name}: {ours_cut:?}"),
            }
        }
    }

    #[test]
    fn ready_ids_join_as_their_texts_do(a in "[a-z]{1,5}( [a-z]{1,6}){0,5}", b in "[a-z]{1,5}( [a-z]{1,6}){0,30}", limit in 48usize..68) {
        for (name, ours, reference) in KINDS.iter() {
            let ids = |text: &str| reference.encode(text, false).unwrap().get_ids().to_vec();
            for rule in [Truncation::DocumentOnly, Truncation::LongestFirst] {
                let o = options(rule, limit);
                let query = ours.query_from_ids(&ids(&a), &o).unwrap();
                let mut joined = ours.ids_with(&query, &ids(&b)).unwrap();
                let text = ours.encode_pair(&a, &b, &o).unwrap();
                joined.truncated = text.truncated;
                prop_assert_eq!(&joined, &text, "{}", name);
                prop_assert_eq!(&ours.encode_with(&query, &b).unwrap(), &text, "{}", name);
            }
        }
    }
}
