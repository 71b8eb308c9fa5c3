//! How a tokenizer is told to read texts: `tokenizer_config.json`, beside `tokenizer.json` itself.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::{
    keys::{FileKeys, Notes},
    tokenizer_class::{BertSettings, TokenizerFamily, family_of, refuse_by_class},
};
use crate::error::LoadError;

/// Tokenizers write 10^30 where they mean "no limit"; anything above this is not meant.
const SANE_LENGTH: f64 = 1e6;

/// What tells a model the segment of each token, among `model_input_names`.
const SEGMENTS: &str = "token_type_ids";

/// Classes that do not tell it where that key is missing.
const ONE_SEGMENT: [&str; 9] = [
    "TokenizersBackend",
    "PreTrainedTokenizer",
    "DistilBertTokenizer",
    "MPNetTokenizer",
    "RobertaTokenizer",
    "XLMRobertaTokenizer",
    "CamembertTokenizer",
    "BartTokenizer",
    "AlbertTokenizer",
];

/// Named tokens, as the file spells them.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

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
    /// Whose class it is.
    pub(crate) family: TokenizerFamily,
    /// Class of the tokenizer, where the folder names it.
    pub(crate) class: Option<String>,
    /// Special tokens by name, as objects of an added token.
    pub(crate) named: BTreeMap<&'static str, Value>,
    /// Special tokens without a name.
    pub(crate) extra: Vec<Value>,
    /// `added_tokens_decoder`: added tokens by id.
    pub(crate) added: Option<BTreeMap<u32, Value>>,
    /// The model is not told which tokens are the second text's: all are in one segment.
    pub(crate) one_segment: bool,
}

/// What transformers knows of a folder before it picks a class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClassHints<'a> {
    /// `model_type` of the encoder.
    pub(crate) model_type: &'a str,
    /// `tokenizer_class` of its config.json.
    pub(crate) class: Option<&'a str>,
    /// The folder has nothing but an export: without a tokenizer_config.json it was not made for transformers.
    pub(crate) exported: bool,
}

impl TokenizerRules {
    /// Reads the file in `folder`.
    pub(crate) fn read(folder: &Path, hints: ClassHints<'_>, notes: &mut Notes) -> Result<Self, LoadError> {
        let path = folder.join("tokenizer_config.json");
        let Some(mut keys) = FileKeys::read(&path)? else {
            let mut rules = Self::default();
            if !hints.exported || hints.class.is_some() {
                rules.family = family_of(hints.class, hints.model_type, BertSettings::default(), None);
                rules.class = hints.class.map(str::to_owned);
                rules.read_map(folder)?;
            }
            return Ok(rules);
        };
        let class = keys.take::<String>("tokenizer_class")?.or_else(|| hints.class.map(str::to_owned));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie in 1..10^6")]
        let length = |n: f64| (1.0..SANE_LENGTH).contains(&n).then_some(n as usize);
        // The older name counts where the newer one is missing.
        let (length_now, length_once) = (keys.take::<f64>("model_max_length")?, keys.take::<f64>("max_len")?);
        let side = keys.one_of("truncation_side", &["left", "right"])?;
        let settings = BertSettings {
            lowercase: keys.take("do_lower_case")?,
            strip_accents: keys.take("strip_accents")?,
            chinese_chars: keys.take("tokenize_chinese_chars")?,
        };
        let add_prefix_space = keys.take::<bool>("add_prefix_space")?;
        let family = family_of(class.as_deref(), hints.model_type, settings, add_prefix_space);
        if keys.take::<bool>("split_special_tokens")? == Some(true) {
            return Err(keys.refused(
                "split_special_tokens",
                &Value::Bool(true),
                "special tokens in a text are kept whole",
            ));
        }
        refuse_by_class(&mut keys, class.as_deref(), settings)?;
        if family == TokenizerFamily::File {
            let given = [
                ("do_lower_case", settings.lowercase.map(Value::Bool)),
                ("strip_accents", settings.strip_accents.map(Value::Bool)),
                ("tokenize_chinese_chars", settings.chinese_chars.map(Value::Bool)),
                ("add_prefix_space", add_prefix_space.map(Value::Bool)),
            ];
            for (key, value) in given {
                if let Some(value) = value {
                    notes.add(&path, key, &value, "a tokenizer of this class is read from tokenizer.json as it is");
                }
            }
        }
        keys.ignore(
            &["add_bos_token", "add_eos_token"],
            "beside tokenizer.json transformers does not obey it: the file's post-processor counts",
            notes,
        );
        let inputs = keys.take::<Vec<String>>("model_input_names")?;
        let one_segment = match &inputs {
            Some(inputs) => !inputs.iter().any(|name| name == SEGMENTS),
            None => {
                class.as_deref().map(|c| c.strip_suffix("Fast").unwrap_or(c)).is_some_and(|c| ONE_SEGMENT.contains(&c))
            }
        };
        let mut rules = Self {
            max_length: length_now.or(length_once).and_then(length),
            cut_left: side.as_deref() == Some("left"),
            side_is_said: side.is_some(),
            lowercase: false,
            family,
            class,
            named: BTreeMap::new(),
            extra: Vec::new(),
            added: None,
            one_segment,
        };
        for name in NAMED {
            if let Some(token) = keys.take::<Value>(name)?.as_ref().and_then(added_token) {
                rules.named.insert(name, token);
            }
        }
        for name in ["extra_special_tokens", "additional_special_tokens"] {
            let tokens = match keys.take::<Value>(name)? {
                Some(Value::Array(tokens)) => tokens,
                Some(Value::Object(tokens)) => tokens.into_iter().map(|(_, token)| token).collect(),
                _ => Vec::new(),
            };
            if rules.extra.is_empty() {
                rules.extra = tokens.iter().filter_map(added_token).collect();
            }
        }
        if let Some(added) = keys.take::<BTreeMap<String, Value>>("added_tokens_decoder")? {
            let mut all = BTreeMap::new();
            for (id, token) in &added {
                let read = id.parse::<u32>().ok().zip(added_token(token));
                let (id, token) = read.ok_or_else(|| {
                    keys.refused(&format!("added_tokens_decoder.{id}"), token, "an id and its token are")
                })?;
                all.insert(id, token);
            }
            rules.added = Some(all);
        } else {
            rules.read_map(folder)?;
        }
        keys.note_rest(notes);
        Ok(rules)
    }

    /// Adds what `special_tokens_map.json` says, which transformers reads where there is no `added_tokens_decoder`.
    fn read_map(&mut self, folder: &Path) -> Result<(), LoadError> {
        let map = super::read_json_if_there::<serde_json::Map<String, Value>>(&folder.join("special_tokens_map.json"))?;
        for (name, token) in map.unwrap_or_default() {
            if let (Some(name), Some(token)) = (NAMED.into_iter().find(|n| *n == name), added_token(&token)) {
                self.named.insert(name, token);
            }
        }
        Ok(())
    }

    /// Text of a named special token.
    pub(crate) fn token(&self, name: &str) -> Option<&str> {
        self.named.get(name).and_then(content)
    }
}

/// Text of an added token.
pub(crate) fn content(token: &Value) -> Option<&str> {
    token.get("content").and_then(Value::as_str)
}

/// A token is written as a string or as an object; what it leaves out is as a special token has it.
fn added_token(value: &Value) -> Option<Value> {
    let text = value.as_str().or_else(|| content(value)).filter(|text| !text.is_empty())?;
    let flag = |key: &str, usual: bool| value.get(key).and_then(Value::as_bool).unwrap_or(usual);
    Some(json!({
        "content": text, "single_word": flag("single_word", false), "lstrip": flag("lstrip", false),
        "rstrip": flag("rstrip", false), "normalized": flag("normalized", false), "special": flag("special", true),
    }))
}
