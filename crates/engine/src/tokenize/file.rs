//! Reads `tokenizer.json`, or what stands for it, with what the rest of the folder changes in it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{class, piece::contained};
use crate::{
    error::{InputError, LoadError},
    folder::TokenizerRules,
};

/// File of a model folder that holds the tokenizer.
pub(super) const FILE: &str = "tokenizer.json";

/// Vocabularies of tokenizers without a tokenizer.json. The first is read where its class is BERT's, the others are refused
/// with the command that makes the file.
pub const VOCABULARIES: [&str; 8] = [
    WORD_LIST,
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "tokenizer.model",
    "vocab.json",
    "tekken.json",
];

/// One token a line.
const WORD_LIST: &str = "vocab.txt";

/// Tokens that were added to such a list.
const ADDED: &str = "added_tokens.json";

/// Largest file read. The largest vocabularies in use, 256 k entries with merges, take about 35 MB.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// What the rules change in the file: the steps of its class, its normalizer, and whether it adds special tokens.
fn ruled(bytes: Vec<u8>, rules: &TokenizerRules, special_tokens: bool) -> Result<Vec<u8>, String> {
    if special_tokens && *rules == (TokenizerRules { max_length: rules.max_length, ..TokenizerRules::default() }) {
        return Ok(bytes);
    }
    let mut file: Value = serde_json::from_slice(&bytes).map_err(|e| format!("not a tokenizer: {e}"))?;
    // Anything else is told by whoever reads it next.
    if !file["model"].is_object() {
        return Ok(bytes);
    }
    let before = without_vocabulary(&file);
    class::apply(&mut file, rules)?;
    if !special_tokens {
        file["post_processor"] = Value::Null;
    }
    if rules.lowercase && !lowers(&file["normalizer"]) {
        let before = json!({"type": "Lowercase"});
        let normalizers = match file["normalizer"].take() {
            Value::Null => vec![before],
            mut sequence if sequence["type"] == "Sequence" => {
                let mut all = vec![before];
                all.extend(sequence["normalizers"].as_array_mut().map(std::mem::take).unwrap_or_default());
                all
            }
            one => vec![before, one],
        };
        file["normalizer"] = json!({"type": "Sequence", "normalizers": normalizers});
    }
    if without_vocabulary(&file) == before { Ok(bytes) } else { serde_json::to_vec(&file).map_err(|e| e.to_string()) }
}

/// All of a file but its large parts, which no rule changes.
fn without_vocabulary(file: &Value) -> Value {
    let parts = |value: &Value, but: &[&str]| -> serde_json::Map<String, Value> {
        let all = value.as_object().into_iter().flatten();
        all.filter(|(key, _)| !but.contains(&key.as_str())).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let mut all = parts(file, &["model"]);
    all.insert("model".to_owned(), Value::Object(parts(&file["model"], &["vocab", "merges"])));
    Value::Object(all)
}

/// Whether a normalizer has a step that lower-cases, as the library looks for one.
fn lowers(normalizer: &Value) -> bool {
    let is = |part: &Value| part["type"] == "Lowercase";
    is(normalizer) || normalizer["normalizers"].as_array().is_some_and(|parts| parts.iter().any(is))
}

/// Reads and parses the file; its bytes are for the fast path to read too.
pub(super) fn read(
    path: &Path,
    rules: &TokenizerRules,
    special_tokens: bool,
) -> Result<(tokenizers::Tokenizer, Vec<u8>), LoadError> {
    let bytes = match other_file(path, rules)? {
        Some(made) => made,
        None => whole(path)?,
    };
    let bytes = ruled(bytes, rules, special_tokens).map_err(|e| LoadError::invalid(path, e))?;
    let tokenizer = contained(|| tokenizers::Tokenizer::from_bytes(&bytes)).map_err(|e| match e {
        InputError::Tokenizer(message) => LoadError::invalid(path, format!("not a tokenizer: {message}")),
        other => LoadError::invalid(path, other.to_string()),
    })?;
    Ok((tokenizer, bytes))
}

/// All bytes of a file of a sane size.
fn whole(path: &Path) -> Result<Vec<u8>, LoadError> {
    let size = fs::metadata(path).map_err(LoadError::io(path))?.len();
    if size > MAX_FILE_BYTES {
        return Err(LoadError::invalid(path, format!("{size} bytes; at most {MAX_FILE_BYTES} are read")));
    }
    fs::read(path).map_err(LoadError::io(path))
}

/// What stands for a `tokenizer.json` that is not there: one made of a `vocab.txt`; `None` where it is there, or nothing is.
fn other_file(path: &Path, rules: &TokenizerRules) -> Result<Option<Vec<u8>>, LoadError> {
    let folder = path.parent().unwrap_or(path);
    if path.exists() {
        return Ok(None);
    }
    let Some(name) = VOCABULARIES.into_iter().find(|name| folder.join(name).is_file()) else { return Ok(None) };
    let there = folder.join(name);
    let made = if name == WORD_LIST && !folder.join(ADDED).is_file() {
        let text = String::from_utf8(whole(&there)?)
            .map_err(|_| LoadError::invalid(&there, "a list of words in UTF-8 is wanted"))?;
        class::of_word_list(&text, rules)
    } else {
        None
    };
    match made {
        Some(file) => Ok(serde_json::to_vec(&file).ok()),
        None => {
            let at = folder.display();
            Err(LoadError::unsupported(
                &there,
                format!(
                    "the vocabulary is here without a {FILE}; make it once: python -c \"from transformers import AutoTokenizer; \
                     AutoTokenizer.from_pretrained('{at}').save_pretrained('{at}')\""
                ),
            ))
        }
    }
}
