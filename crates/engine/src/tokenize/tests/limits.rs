//! Lengths: what is refused, what is cut, what is too long to look at whole.

use super::*;
use crate::error::InputError;

/// Fifty megabytes of words.
fn endless() -> String {
    "the unable string, of words; ".repeat((50 << 20) / 29)
}

#[test]
fn max_length_must_hold_the_specials_and_a_token() {
    let t = load(&bert(), 64);
    let bad = |asked, least| Err(InputError::BadMaxLength { asked, least, most: 64 });
    assert_eq!(t.encode("a b", &options(Truncation::DocumentOnly, 2)), bad(2, 3));
    assert_eq!(t.encode("a b", &options(Truncation::DocumentOnly, 65)), bad(65, 3));
    assert_eq!(t.encode("a b", &options(Truncation::DocumentOnly, 3)).unwrap().len(), 3);
    assert_eq!(t.encode_pair("a", "b", &options(Truncation::LongestFirst, 3)), bad(3, 4));
    assert_eq!(t.encode_pair("a", "b", &options(Truncation::LongestFirst, 4)).unwrap().len(), 4);
    assert_eq!(t.query("a", &options(Truncation::LongestFirst, 0)).unwrap_err(), bad(0, 4).unwrap_err());
    assert_eq!(t.from_ids(vec![1], vec![], &options(Truncation::Error, 0)), bad(0, 1));
    assert_eq!(t.detail("a", None, &options(Truncation::Error, 65), true).unwrap_err(), bad(65, 3).unwrap_err());
}

#[test]
fn a_query_is_never_cut() {
    let t = load(&bert(), 10);
    let o = EncodeOptions::default();
    // Six tokens and three specials leave room for one.
    let query = t.query("a b c d e f", &o).unwrap();
    assert_eq!(query.tokens(), 6);
    let pair = t.encode_with(&query, "x y z").unwrap();
    assert_eq!((pair.len(), pair.truncated), (10, true));
    assert!(!t.encode_with(&query, "x").unwrap().truncated);
    assert!(!t.encode_with(&query, "").unwrap().truncated);
    // Seven leave none: an empty text still fits as a pair of its own, but no job can be made of it.
    let full = InputError::QueryTooLong { tokens: 10, limit: 10 };
    assert_eq!(t.query("a b c d e f g", &o).unwrap_err(), full);
    assert_eq!(t.encode_pair("a b c d e f g", "", &o).unwrap().len(), 10);
    assert_eq!(t.encode_pair("a b c d e f g", "x", &o).unwrap_err(), full);
    let over = InputError::QueryTooLong { tokens: 11, limit: 10 };
    assert_eq!(t.query("a b c d e f g h", &o).unwrap_err(), over);
    assert_eq!(t.encode_pair("a b c d e f g h", "", &o).unwrap_err(), over);
    // Longest first takes any.
    assert!(t.query("a b c d e f g h", &options(Truncation::LongestFirst, 10)).is_ok());
}

#[test]
fn no_truncation_tells_the_length() {
    let t = load(&bert(), 10);
    let o = options(Truncation::Error, 10);
    let words = "a ".repeat(1000);
    assert_eq!(t.encode(&words, &o).unwrap_err(), InputError::TooLong { tokens: 1002, limit: 10 });
    assert_eq!(t.encode_pair("a", &words, &o).unwrap_err(), InputError::TooLong { tokens: 1004, limit: 10 });
    assert_eq!(t.detail(&words, None, &o, true).unwrap_err(), InputError::TooLong { tokens: 1002, limit: 10 });
    assert_eq!(t.encode("a b c d e f g h", &o).unwrap().len(), 10);
}

#[test]
fn ready_ids_are_checked_and_never_cut() {
    let t = load(&bert(), 8);
    let o = EncodeOptions::default();
    let ids = vec![2, 10, 3, 11, 3];
    let pair = t.from_ids(ids.clone(), vec![0, 0, 0, 1, 1], &o).unwrap();
    assert_eq!((pair.ids, pair.type_ids, pair.truncated), (ids.clone(), vec![0, 0, 0, 1, 1], false));
    assert!(t.from_ids(ids.clone(), vec![0; 5], &o).unwrap().type_ids.is_empty());
    assert_eq!(t.from_ids(ids.clone(), vec![0; 4], &o).unwrap_err().reason(), "BAD_TOKEN_IDS");
    assert_eq!(t.from_ids(ids.clone(), vec![0, 0, 0, 2, 0], &o).unwrap_err().reason(), "BAD_TOKEN_IDS");
    assert_eq!(
        t.clone().with_type_vocab(1).from_ids(ids, vec![0, 0, 0, 1, 1], &o).unwrap_err().reason(),
        "BAD_TOKEN_IDS"
    );
    assert_eq!(t.from_ids(vec![], vec![], &o).unwrap_err().reason(), "BAD_TOKEN_IDS");
    // Rows beyond the tokenizer's own entries are the model's to use.
    assert!(t.from_ids(vec![VOCAB as u32 - 1], vec![], &o).is_ok());
    let bad = InputError::BadId { id: VOCAB as u32, at: 1, vocab: VOCAB };
    assert_eq!(t.from_ids(vec![1, VOCAB as u32], vec![], &o).unwrap_err(), bad);
    assert_eq!(t.query_from_ids(&[1, VOCAB as u32], &o).unwrap_err(), bad);
    let query = t.query_from_ids(&[10], &o).unwrap();
    assert_eq!(t.ids_with(&query, &[1, u32::MAX]).unwrap_err().reason(), "BAD_TOKEN_ID");
    for rule in [Truncation::DocumentOnly, Truncation::LongestFirst, Truncation::Error] {
        let o = options(rule, 8);
        assert_eq!(t.from_ids(vec![5; 9], vec![], &o).unwrap_err(), InputError::TooLong { tokens: 9, limit: 8 });
    }
    let cut = t.ids_with(&query, &[12; 9]).unwrap();
    assert_eq!((cut.ids, cut.truncated), (vec![2, 10, 3, 12, 12, 12, 12, 3], true));
}

#[test]
fn odd_texts_are_texts() {
    for (name, t, _) in KINDS.iter() {
        for text in ["", " ", "\0", "\0\u{1}\u{7f}", "\u{301}", "\u{301}\u{301}a", "👩‍👩‍👧", "\u{10ffff}", "\u{feff}"]
        {
            let o = EncodeOptions::default();
            t.encode(text, &o).unwrap_or_else(|e| panic!("{name}: {text:?}: {e}"));
            t.encode_pair(text, text, &o).unwrap_or_else(|e| panic!("{name}: {text:?}: {e}"));
            t.detail(text, Some(text), &o, true).unwrap_or_else(|e| panic!("{name}: {text:?}: {e}"));
        }
    }
}

#[test]
fn a_word_the_vocabulary_lacks_is_that_items_error_where_there_is_no_unknown_token() {
    let mut file = bert();
    let vocab = file["model"]["vocab"].as_object_mut().unwrap();
    vocab.remove("[UNK]");
    file["added_tokens"].as_array_mut().unwrap().remove(1);
    let t = load(&file, 16);
    assert_eq!(t.encode("漢 ω", &EncodeOptions::default()).unwrap_err().reason(), "TOKENIZER_FAILED");
    assert_eq!(t.encode("漢 a", &EncodeOptions::default()).unwrap().len(), 4);
}

#[test]
fn an_endless_text_gives_the_same_tokens() {
    let text = endless();
    // Far more than is kept of it, but short enough for the reference.
    let start = &text[..text.floor_char_boundary(40_000)];
    for (name, t, reference) in KINDS.iter() {
        let truth = reference.encode(start, false).unwrap();
        let single = t.encode(&text, &EncodeOptions::default()).unwrap();
        let query = t.query("the query", &EncodeOptions::default()).unwrap();
        let pair = t.encode_with(&query, &text).unwrap();
        let both = t.encode_pair(&text, &text, &options(Truncation::LongestFirst, 512)).unwrap();
        let details = t.detail(&text, None, &EncodeOptions::default(), true).unwrap();
        let error = t.encode(&text, &options(Truncation::Error, 512)).unwrap_err();
        assert!(single.truncated && pair.truncated && both.truncated, "{name}");
        assert_eq!((single.len(), pair.len(), both.len()), (512, 512, 512), "{name}");
        assert_eq!(details.sequence, single, "{name}");
        assert_eq!(error.reason(), "TOO_LONG", "{name}");
        let room = 512 - t.specials(false);
        let at = single.ids.windows(8).position(|w| w == &truth.get_ids()[..8]).unwrap();
        assert_eq!(single.ids[at..at + room], truth.get_ids()[..room], "{name}");
    }
}

#[test]
fn a_long_text_without_spaces_gives_the_same_tokens() {
    let words =
        ["x".repeat(30_000), "漢字".repeat(20_000), "ab,".repeat(20_000), " ".repeat(60_000), "é".repeat(30_000)];
    for (name, t, reference) in KINDS.iter() {
        for word in &words {
            let text = format!("the {word} end {word}");
            let truth = reference.encode(text.as_str(), false).unwrap();
            let room = 512 - t.specials(false);
            let ours = t.detail(&text, None, &options(Truncation::DocumentOnly, 512), false).unwrap().sequence;
            let start: String = text.chars().take(8).collect();
            let n = truth.len().min(512);
            assert_eq!(ours.ids, truth.get_ids()[..n], "{name}: {start}");
            let sequence = t.encode(&text, &EncodeOptions::default()).unwrap();
            assert_eq!(sequence.truncated, truth.len() > room, "{name}: {start}");
        }
    }
}

#[test]
fn fifty_megabytes_without_a_space_are_truncated() {
    let word = "a".repeat(50 << 20);
    let spaces = " ".repeat(50 << 20);
    for (name, t, _) in KINDS.iter() {
        assert!(t.encode(&word, &EncodeOptions::default()).unwrap().truncated, "{name}");
        assert!(t.encode(&spaces, &EncodeOptions::default()).unwrap().truncated, "{name}");
    }
}
