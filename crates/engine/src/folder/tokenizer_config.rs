//! How a tokenizer is told to read texts: `tokenizer_config.json`, beside `tokenizer.json` itself.

use std::path::Path;

use serde_json::Value;

use super::keys::{Keys, Notes};
use crate::error::LoadError;

/// Tokenizers write 10^30 where they mean "no limit"; anything above this is not meant.
const SANE_LENGTH: f64 = 1e6;

/// Tokenizer classes whose arguments replace what `tokenizer.json` says of BERT's normalizer.
const BERT_CLASSES: [&str; 8] = [
    "BertTokenizer",
    "BertTokenizerFast",
    "DistilBertTokenizer",
    "DistilBertTokenizerFast",
    "ElectraTokenizer",
    "ElectraTokenizerFast",
    "MPNetTokenizer",
    "MPNetTokenizerFast",
];

/// What a tokenizer is told beside its own file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TokenizerRules {
    /// Its own longest sequence.
    pub(crate) max_length: Option<usize>,
    /// Long texts lose their beginning.
    pub(crate) cut_left: bool,
    /// Whether `cut_left` was said at all.
    pub(crate) side_is_said: bool,
    /// Texts are lower-cased before all else (sentence-transformers' `do_lower_case`).
    pub(crate) lowercase: bool,
    /// What replaces BERT's normalizer's settings.
    pub(crate) bert: Option<BertRules>,
    /// Class of the tokenizer.
    pub(crate) class: Option<String>,
    /// Special tokens by name: `pad_token`, `mask_token`, `eos_token`, `unk_token`.
    pub(crate) pad_token: Option<String>,
    pub(crate) mask_token: Option<String>,
    pub(crate) eos_token: Option<String>,
}

/// Settings of BERT's normalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BertRules {
    pub(crate) lowercase: bool,
    pub(crate) strip_accents: Option<bool>,
    pub(crate) chinese_chars: bool,
}

impl TokenizerRules {
    /// Reads the file in `folder`; all defaults where there is none.
    pub(crate) fn read(folder: &Path, notes: &mut Notes) -> Result<Self, LoadError> {
        let Some(mut keys) = Keys::read(&folder.join("tokenizer_config.json"))? else { return Ok(Self::default()) };
        let class = keys.take::<String>("tokenizer_class")?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie in 1..10^6")]
        let length =
            keys.take::<f64>("model_max_length")?.filter(|n| (1.0..SANE_LENGTH).contains(n)).map(|n| n as usize);
        let side = keys.one_of("truncation_side", &["left", "right"])?;
        let (lower, accents, chinese) =
            (keys.take("do_lower_case")?, keys.take("strip_accents")?, keys.take("tokenize_chinese_chars")?);
        let bert = class.as_deref().is_some_and(|c| BERT_CLASSES.contains(&c)).then(|| BertRules {
            lowercase: lower.unwrap_or(true),
            strip_accents: accents,
            chinese_chars: chinese.unwrap_or(true),
        });
        if keys.take::<bool>("split_special_tokens")? == Some(true) {
            return Err(keys.refused(
                "split_special_tokens",
                &Value::Bool(true),
                "special tokens in a text are kept whole",
            ));
        }
        let mut token = |name: &str| Ok::<_, LoadError>(keys.take::<Value>(name)?.and_then(|v| token_text(&v)));
        let rules = Self {
            max_length: length,
            cut_left: side.as_deref() == Some("left"),
            side_is_said: side.is_some(),
            lowercase: false,
            bert,
            class,
            pad_token: token("pad_token")?,
            mask_token: token("mask_token")?,
            eos_token: token("eos_token")?,
        };
        keys.note_rest(notes);
        Ok(rules)
    }
}

/// A token is written as a string or as an object.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str)).map(str::to_owned)
}
