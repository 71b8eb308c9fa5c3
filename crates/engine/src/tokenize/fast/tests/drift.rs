//! Every character there is, through every covered part that looks at its
//! properties: outside the table the two crates agree.

use std::collections::BTreeSet;

use super::*;
use crate::tokenize::fast::drift::{DRIFTED, drifts};

/// Parts that look at properties of characters.
fn parts() -> Vec<(tokenizers::Tokenizer, Fast)> {
    let bert = |clean: bool, strip: Value, lower: bool| json!({"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": true, "strip_accents": strip, "lowercase": lower});
    let kind = |kind: &str| json!({"type": kind});
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let normalizers = [
        bert(true, Value::Null, true),
        bert(true, json!(true), false),
        kind("NFC"),
        kind("NFD"),
        kind("NFKC"),
        kind("NFKD"),
        kind("Lowercase"),
        json!({"type": "Sequence", "normalizers": [kind("NFKD"), kind("StripAccents")]}),
        json!({"type": "Strip", "strip_left": true, "strip_right": true}),
    ];
    let pre_tokenizers = [
        kind("BertPreTokenizer"),
        kind("WhitespaceSplit"),
        json!({"type": "Punctuation", "behavior": "Isolated"}),
        json!({"type": "Digits", "individual_digits": true}),
        split(suits::SPLITS[0]),
        split(suits::SPLITS[1]),
    ];
    let normalizers = normalizers.into_iter().map(bytes_after);
    normalizers.chain(pre_tokenizers.into_iter().map(words_of)).map(|file| both(&file)).collect()
}

/// A character among those that show its properties: alone, within words, beside digits and punctuation, and beside
/// marks, which it changes places with by its class.
fn shown(c: char) -> String {
    format!("{c} a{c} {c}a a{c}a 1{c} {c}1 .{c} {c}. \u{301}{c} {c}\u{323} {c}\u{301} a{c}{c}")
}

fn differ(reference: &tokenizers::Tokenizer, fast: &Fast, text: &str) -> bool {
    let truth = reference.encode_fast(text, false).map(|e| e.get_ids().to_vec());
    match (fast.raw(text), truth) {
        (Ok(ids), Ok(truth)) => ids != truth,
        (ids, truth) => ids.is_ok() != truth.is_ok(),
    }
}

/// Characters outside the table on which a part differs, of the blocks that `wanted` picks.
fn found(wanted: impl Fn(usize) -> bool) -> BTreeSet<char> {
    let all: Vec<char> = ('\0'..=char::MAX).filter(|&c| !drifts(c)).collect();
    let mut found = BTreeSet::new();
    for (reference, fast) in parts() {
        for (_, block) in all.chunks(BLOCK).enumerate().filter(|(n, _)| wanted(*n)) {
            let text: Vec<String> = block.iter().map(|&c| shown(c)).collect();
            if differ(&reference, &fast, &text.join(" ")) {
                found.extend(block.iter().copied().filter(|&c| differ(&reference, &fast, &shown(c))));
            }
        }
    }
    found
}

/// Characters compared at once.
const BLOCK: usize = 16;

#[test]
fn characters_outside_the_table_are_the_same_to_both() {
    // One block in 97, and all of those below U+0800.
    let found = found(|block| block % 97 == 0 || block < 0x800 / BLOCK);
    assert!(found.is_empty(), "not in the table: {found:?}");
}

/// Every character there is: minutes. Prints what the table lacks.
#[test]
#[ignore = "takes minutes"]
fn every_character_outside_the_table_is_the_same_to_both() {
    let found = found(|_| true);
    assert!(found.is_empty(), "{} characters are not in the table: {:X?}", found.len(), ranges(&found));
}

#[test]
fn the_table_holds_only_what_differs() {
    let parts = parts();
    let shows = |c: char| parts.iter().any(|(reference, fast)| differ(reference, fast, &shown(c)));
    // The first of a range differs itself or makes up one that does: of Unicode 16's vowel signs only whole ones show.
    let idle: Vec<String> = DRIFTED
        .iter()
        .filter(|&&(first, last)| !(first..=last).filter_map(char::from_u32).any(shows))
        .map(|(first, last)| format!("{first:X}–{last:X}"))
        .collect();
    assert!(idle.len() <= MADE_UP, "{} ranges that show nothing: {idle:?}", idle.len());
}

/// Ranges of characters that show nothing themselves but make up others that do.
const MADE_UP: usize = 16;

#[test]
fn the_table_is_in_order() {
    assert!(DRIFTED.windows(2).all(|w| w[0].0 <= w[0].1 && w[0].1 + 1 < w[1].0));
    for c in ['\u{61d}', '\u{2e43}', '\u{33479}', '\u{1abf}', '\u{1add}'] {
        assert!(drifts(c) && !settled(&format!("a {c}")), "{c:?}");
    }
    assert!(settled("naïve 漢字 한국어 العربية 🙂👩‍👩‍👧 e\u{301}"));
}

/// Runs of neighbours.
fn ranges(all: &BTreeSet<char>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for c in all.iter().map(|&c| c as u32) {
        match ranges.last_mut() {
            Some(last) if last.1 + 1 == c => last.1 = c,
            _ => ranges.push((c, c)),
        }
    }
    ranges
}
