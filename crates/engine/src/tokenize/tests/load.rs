//! Files that are missing, broken or do not suit their model.

use super::*;

/// The message of a failed load; it names the file.
fn refused(bytes: &[u8], max_length: usize, model_vocab: usize) -> String {
    let dir = folder_of(bytes);
    let message = Tokenizer::load(dir.path(), max_length, model_vocab).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json"), "{message}");
    message
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = Tokenizer::load(dir.path(), 64, 100).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json"), "{message}");
    // A folder of that name is no file.
    fs::create_dir(dir.path().join("tokenizer.json")).unwrap();
    assert!(Tokenizer::load(dir.path(), 64, 100).is_err());
}

#[test]
fn broken_files_are_refused() {
    let whole = bert().to_string();
    for cut in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        refused(&whole.as_bytes()[..cut], 64, VOCAB);
    }
    for bytes in [&b"null"[..], b"[]", b"{}", b"\"x\"", b"\xff\xfe", b"{\"version\": \"9\"}", b"\0\0\0\0"] {
        refused(bytes, 64, VOCAB);
    }
    refused("[".repeat(1 << 20).as_bytes(), 64, VOCAB);
}

#[test]
fn wrong_types_and_absurd_numbers_are_refused() {
    let changes: [(&str, serde_json::Value); 12] = [
        ("/model", json!(7)),
        ("/model", json!({"type": "Nothing", "vocab": {}})),
        ("/model/vocab", json!([])),
        ("/model/vocab/a", json!("a")),
        ("/model/vocab/a", json!(-1)),
        ("/model/vocab/a", json!(1e30)),
        ("/model/vocab/a", json!(4_000_000_000_u32)),
        ("/model/max_input_chars_per_word", json!(-5)),
        ("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
        ),
        ("/added_tokens", json!([{"id": 1}])),
        ("/padding/pad_id", json!(5000)),
    ];
    for (place, value) in changes {
        let mut file = bert();
        *file.pointer_mut(place).unwrap() = value.clone();
        let dir = folder(&file);
        let done = std::panic::catch_unwind(|| Tokenizer::load(dir.path(), 64, VOCAB).map(|_| ()));
        let message = done.expect("no panic").expect_err(&format!("{place} = {value}")).to_string();
        assert!(message.contains("tokenizer.json"), "{message}");
    }
}

#[test]
fn a_template_that_names_no_token_is_refused() {
    let single = json!([special_piece("[GONE]", 0), text_piece("A", 0)]);
    let pair = json!([special_piece("[GONE]", 0), text_piece("A", 0), text_piece("B", 0)]);
    refused(with_template(bert(), single, pair).to_string().as_bytes(), 64, VOCAB);
}

#[test]
fn ids_beyond_the_models_rows_are_refused() {
    let entries = bert()["model"]["vocab"].as_object().unwrap().len();
    let message = refused(bert().to_string().as_bytes(), 64, entries - 1);
    assert!(message.contains(&entries.to_string()) && message.contains(&(entries - 1).to_string()), "{message}");
    assert!(Tokenizer::load(folder(&bert()).path(), 64, entries).is_ok());
    assert!(Tokenizer::load(folder(&bert()).path(), 64, entries + 1).is_ok());
    // An added token takes the next id.
    let mut file = bert();
    file["added_tokens"].as_array_mut().unwrap().push(added(9, "[EXTRA]", false));
    let message = refused(file.to_string().as_bytes(), 64, entries);
    assert!(message.contains(&format!("ids up to {entries}")), "{message}");
    assert!(Tokenizer::load(folder(&file).path(), 64, entries + 1).is_ok());
    // So does a special token that only the post-processor knows.
    let mut file = bert();
    file["post_processor"]["sep"] = json!(["[SEP]", 1_000_000]);
    let message = refused(file.to_string().as_bytes(), 64, VOCAB);
    assert!(message.contains("1000000"), "{message}");
}

#[test]
fn a_length_that_holds_only_specials_is_refused() {
    let message = refused(bert().to_string().as_bytes(), 3, VOCAB);
    assert!(message.contains("3 special tokens"), "{message}");
    assert!(Tokenizer::load(folder(&bert()).path(), 4, VOCAB).is_ok());
}

#[test]
fn the_pad_id_is_the_files() {
    assert_eq!(load(&bert(), 64).pad_id(), Some(0));
    let mut file = bert();
    file["padding"]["pad_id"] = json!(77);
    assert_eq!(load(&file, 64).pad_id(), Some(77));
    file["padding"] = serde_json::Value::Null;
    assert_eq!(load(&file, 64).pad_id(), Some(0));
    assert_eq!(load(&roberta(), 64).pad_id(), Some(1));
    let vocab = file["model"]["vocab"].as_object_mut().unwrap();
    vocab.remove("[PAD]");
    file["added_tokens"].as_array_mut().unwrap().remove(0);
    assert_eq!(load(&file, 64).pad_id(), None);
}

#[test]
fn dropout_is_left_out() {
    let mut file = roberta();
    file["model"]["dropout"] = json!(0.9);
    let t = load(&file, 64);
    let plain = load(&roberta(), 64);
    let text = "the thing the thing the thing";
    for _ in 0..20 {
        assert_eq!(t.encode(text, &EncodeOptions::default()), plain.encode(text, &EncodeOptions::default()));
    }
}

#[test]
fn a_tokenizer_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + std::fmt::Debug>() {}
    shared::<Tokenizer>();
    shared::<super::super::Query>();
    let debug = format!("{:?}", load(&bert(), 64));
    assert!(debug.contains("max_length: 64") && debug.len() < 2000, "{debug}");
}
