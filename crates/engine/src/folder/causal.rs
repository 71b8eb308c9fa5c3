//! What makes a causal language model a cross-encoder: the tokens whose logits are its score, and the chat template that a
//! pair is put into.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use super::{keys::FileKeys, tokenizer_config::TokenizerRules};
use crate::error::LoadError;

/// What the module reads: what the Transformer gives.
const INPUT: &str = "causal_logits";

/// Files that a template stands in: by itself, or beside the tokenizer's other settings.
const TEMPLATE: &str = "chat_template.jinja";
const SETTINGS: &str = "tokenizer_config.json";

/// Largest template read; published ones have up to 20 kB.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// Of several templates the one that is taken.
const DEFAULT: &str = "default";

/// Special tokens that transformers gives to a template, by name.
const TOKENS: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Types of models whose content is plain text whatever their template looks like.
const FLAT_TYPES: [&str; 4] = ["apertus", "deepseek_v3", "gpt_oss", "seed_oss"];

/// What in a template tells sentence-transformers that it takes the content of a message as a list of parts.
const PARTS: [&str; 6] = ["content[0]", ".type", "'type'", "\"type\"", "item.type", "message.content["];

/// sentence-transformers' `LogitScore`: the logit of one token behind the last, or its distance to another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogitScore {
    /// The token that says yes.
    pub(crate) true_token: u32,
    /// The token that says no, whose logit is taken off.
    pub(crate) false_token: Option<u32>,
}

impl LogitScore {
    /// Reads the module in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join("config.json");
        let Some(mut keys) = FileKeys::read(&path)? else {
            return Err(LoadError::invalid(&path, "the module's configuration is missing"));
        };
        keys.one_of("module_input_name", &[INPUT])?;
        let score = Self { true_token: keys.need("true_token_id")?, false_token: keys.take("false_token_id")? };
        keys.none_left()?;
        Ok(score)
    }
}

/// A chat template, and what it is given besides the messages.
#[derive(Clone, Debug)]
pub(crate) struct ChatTemplate {
    /// The file it stands in.
    pub(crate) path: PathBuf,
    /// The template itself, in Jinja.
    pub(crate) source: String,
    /// The content of a message is a list of parts, one of them a text; else it is the text.
    pub(crate) structured: bool,
    /// What it may name besides `messages`.
    pub(crate) variables: BTreeMap<String, Value>,
}

/// A template in a list of several.
#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl ChatTemplate {
    /// Reads the template of the tokenizer in `home`: its own file first, as transformers does.
    pub(super) fn read(
        home: &Path,
        format: &str,
        model_type: &str,
        variables: BTreeMap<String, Value>,
        tokenizer: &TokenizerRules,
    ) -> Result<Self, LoadError> {
        let (own, settings) = (home.join(TEMPLATE), home.join(SETTINGS));
        let (path, source) = if own.is_file() {
            let source = fs::read_to_string(&own).map_err(LoadError::io(&own))?;
            (own, source)
        } else {
            let found = match FileKeys::read(&settings)? {
                Some(mut keys) => among(&keys.take::<Value>("chat_template")?.unwrap_or_default(), &settings)?,
                None => None,
            };
            let missing = || {
                let why = format!(
                    "a chat template is missing ({TEMPLATE}, or chat_template in {SETTINGS}): LogitScore needs one"
                );
                LoadError::unsupported(home, why)
            };
            (settings, found.ok_or_else(missing)?)
        };
        if source.len() > MAX_TEMPLATE_BYTES {
            let why = format!("a chat template of {} bytes; at most {MAX_TEMPLATE_BYTES} are read", source.len());
            return Err(LoadError::invalid(&path, why));
        }
        let structured = match format {
            "auto" => !FLAT_TYPES.contains(&model_type) && PARTS.iter().any(|part| source.contains(part)),
            format => format == "structured",
        };
        let tokens = TOKENS.iter().filter_map(|&name| Some((name.to_owned(), Value::from(tokenizer.token(name)?))));
        let mut all: BTreeMap<String, Value> = tokens.collect();
        all.extend(variables);
        Ok(Self { path, source, structured, variables: all })
    }
}

/// The template of a `chat_template` in the tokenizer's settings: one, or a list with names.
fn among(value: &Value, path: &Path) -> Result<Option<String>, LoadError> {
    match value {
        Value::Null => Ok(None),
        Value::String(source) => Ok(Some(source.clone())),
        several => {
            let named: Vec<Named> = serde_json::from_value(several.clone()).map_err(|e| {
                LoadError::invalid(
                    path,
                    format!("chat_template is neither a text nor a list of names and templates: {e}"),
                )
            })?;
            let names: Vec<&str> = named.iter().map(|n| n.name.as_str()).collect();
            let why = format!("chat_template has {}, and none is called {DEFAULT}", names.join(", "));
            let found = named.iter().find(|n| n.name == DEFAULT).map(|n| n.template.clone());
            found.map(Some).ok_or_else(|| LoadError::unsupported(path, why))
        }
    }
}
