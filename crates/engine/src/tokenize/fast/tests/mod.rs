//! The fast path against the reference: character by character, and on random
//! text of every kind.

mod corpus;
mod differential;
mod drift;
mod fallback;

use serde_json::{Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::*;

/// Both crates' readings of a file, the reference first.
fn both(file: &Value) -> (tokenizers::Tokenizer, Fast) {
    let reference = tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap();
    let fast = Fast::unchecked(file.clone(), 128).unwrap_or_else(|e| panic!("{e}: {file}"));
    (reference, fast)
}

/// A tokenizer whose ids are the bytes of the normalized text.
fn bytes_after(normalizer: Value) -> Value {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let vocab: serde_json::Map<_, _> = alphabet.iter().enumerate().map(|(i, c)| (c.to_string(), json!(i))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

/// A tokenizer that makes one id of each word that its pre-tokenizer cuts.
fn words_of(pre_tokenizer: Value) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
    })
}
