//! When the reference does the work instead, and that it shows.

use super::*;
use crate::tokenize::{
    EncodeOptions, Truncation,
    tests::{bert, load, roberta},
};

fn why(file: &Value) -> String {
    match load(file, 64).path() {
        TokenizerPath::Reference { why } => why,
        path => panic!("{path:?}"),
    }
}

#[test]
fn files_that_the_test_does_not_cover_have_no_fast_path() {
    let mut file = bert();
    file["pre_tokenizer"] = json!({"type": "Whitespace"});
    assert!(why(&file).contains("Whitespace"));
    let mut file = bert();
    file["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": "(a+)+b"}, "content": "x"});
    assert!(why(&file).contains("(a+)+b"));
    for (setting, value) in [("fuse_unk", json!(true)), ("dropout", json!(0.5)), ("end_of_word_suffix", json!("</w>"))]
    {
        let mut file = roberta();
        file["model"][setting] = value;
        assert!(why(&file).contains(setting), "{setting}");
    }
}

#[test]
fn the_self_check_finds_another_reading_of_the_file() {
    let (reference, _) = both(&bytes_after(json!({"type": "NFC"})));
    let (_, other) = both(&bytes_after(json!({"type": "NFD"})));
    assert!(probe::agrees(&other, &reference).unwrap_err().contains("self-check"));
    let (reference, same) = both(&bytes_after(json!({"type": "NFC"})));
    assert_eq!(probe::agrees(&same, &reference), Ok(()));
}

#[test]
fn texts_are_counted_by_the_way_they_went() {
    let t = load(&bert(), 64);
    let o = EncodeOptions::default();
    // The check of the template at load counts too.
    let loaded = t.text_counts();
    let counts = || {
        let TextCounts { fast, reference, failed } = t.text_counts();
        (fast - loaded.fast, reference - loaded.reference, failed - loaded.failed)
    };
    t.encode("plain text", &o).unwrap();
    assert_eq!(counts(), (1, 0, 0));
    t.encode("new punctuation \u{2e43}", &o).unwrap();
    assert_eq!(counts(), (1, 1, 0));
    let query = t.query("q", &o).unwrap();
    t.encode_with(&query, "d").unwrap();
    assert_eq!(counts(), (3, 1, 0));
    // Where both texts of a pair may be cut, what the reference counts are whole words.
    let longest = EncodeOptions { truncation: Truncation::LongestFirst, ..o };
    t.encode_pair("short", &"long ".repeat(100), &longest).unwrap();
    assert_eq!(counts(), (4, 2, 0));
    // Offsets are the reference's alone.
    t.detail("text", None, &o, true).unwrap();
    assert_eq!(counts(), (4, 2, 0));
}
