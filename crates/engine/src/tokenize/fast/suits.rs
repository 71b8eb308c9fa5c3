//! Which files the fast path is proven on: those made only of parts that the
//! differential test covers. Anything else is served by the reference.

use serde_json::Value;
use tokenizers::Tokenizer;

/// Patterns that a `Split` may have: those of Qwen 2 and of GPT-4 and Llama 3.
pub(super) const SPLITS: [&str; 2] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// Pattern that a `Replace` may have, beside plain strings: runs of spaces, as in files made from SentencePiece models.
pub(super) const REPLACE: &str = " {2,}";

/// Models, normalizers and pre-tokenizers that are covered whatever their settings.
const MODELS: [&str; 4] = ["WordPiece", "WordLevel", "Unigram", "BPE"];
const NORMALIZERS: [&str; 9] =
    ["BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Strip", "Lowercase", "Precompiled"];
const PRE_TOKENIZERS: [&str; 6] =
    ["BertPreTokenizer", "ByteLevel", "WhitespaceSplit", "Punctuation", "Digits", "Metaspace"];

/// Settings of a model that must be off, empty or absent.
const MODEL_SETTINGS: [&str; 6] =
    ["dropout", "byte_fallback", "ignore_merges", "fuse_unk", "end_of_word_suffix", "continuing_subword_prefix"];

/// Says which part of a file is not covered. `file` is its JSON, `tokenizer` what the reference made of it.
pub(super) fn suits(file: &Value, tokenizer: &Tokenizer) -> Result<(), String> {
    model(&file["model"])?;
    part("normalizers", &of(tokenizer.get_normalizer())?, normalizer)?;
    part("pretokenizers", &of(tokenizer.get_pre_tokenizer())?, pre_tokenizer)
}

/// A part as the reference spells it: with its type, whatever the file left out.
fn of(part: Option<&impl serde::Serialize>) -> Result<Value, String> {
    serde_json::to_value(part).map_err(|e| e.to_string())
}

fn model(model: &Value) -> Result<(), String> {
    let kind = named(model, &MODELS)?;
    for setting in MODEL_SETTINGS {
        // WordPiece always has a prefix for what goes on with a word.
        if kind == "WordPiece" && setting == "continuing_subword_prefix" {
            continue;
        }
        match &model[setting] {
            Value::Null | Value::Bool(false) => {}
            Value::String(text) if text.is_empty() => {}
            set => return Err(format!("a {kind} model with {setting} {set}")),
        }
    }
    Ok(())
}

/// Checks a part, or each of a sequence of them.
fn part(list: &str, part: &Value, check: fn(&Value) -> Result<(), String>) -> Result<(), String> {
    match part["type"].as_str() {
        None if part.is_null() => Ok(()),
        Some("Sequence") => match part[list].as_array() {
            Some(parts) => parts.iter().try_for_each(check),
            None => Err("a sequence without its parts".to_owned()),
        },
        _ => check(part),
    }
}

fn normalizer(part: &Value) -> Result<(), String> {
    if part["type"] == "Replace" {
        let pattern = &part["pattern"];
        let covered = pattern["String"].is_string() || pattern["Regex"] == REPLACE;
        return if covered { Ok(()) } else { Err(format!("a Replace of {pattern}")) };
    }
    named(part, &NORMALIZERS).map(|_| ())
}

fn pre_tokenizer(part: &Value) -> Result<(), String> {
    if part["type"] == "Split" {
        let pattern = &part["pattern"];
        let covered = pattern["Regex"].as_str().is_some_and(|p| SPLITS.contains(&p));
        return if covered { Ok(()) } else { Err(format!("a Split by {pattern}")) };
    }
    named(part, &PRE_TOKENIZERS).map(|_| ())
}

/// The part's type, if it is one of `known`.
fn named<'p>(part: &'p Value, known: &[&str]) -> Result<&'p str, String> {
    match part["type"].as_str() {
        Some(kind) if known.contains(&kind) => Ok(kind),
        Some(kind) => Err(format!("{kind}, which the differential test does not cover")),
        None => Err("a part without a type".to_owned()),
    }
}
