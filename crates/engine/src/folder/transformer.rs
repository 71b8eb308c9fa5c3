//! How sentence-transformers' Transformer module reads texts: `sentence_bert_config.json`, which has had other names.

use std::path::Path;

use serde_json::{Value, json};

use super::keys::{FileKeys, Notes};
use crate::error::LoadError;

/// Names of the file that says how a Transformer module reads texts, in the order sentence-transformers looks for them.
pub const FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// What a Transformer module is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TransformerRules {
    /// Longest sequence, in the place of the tokenizer's.
    pub(crate) max_length: Option<usize>,
    /// Texts are lower-cased before the tokenizer's own steps.
    pub(crate) lowercase: bool,
    /// `transformer_task`: which head the encoder has.
    pub(crate) task: Option<String>,
    /// Where long texts are cut, where it is said here.
    pub(crate) truncation_side: Option<String>,
    /// Longest query and longest document.
    pub(crate) query_length: Option<usize>,
    pub(crate) document_length: Option<usize>,
    /// How queries are filled up.
    pub(crate) expansion: Option<Expansion>,
}

/// How a query is filled up with tokens that ask but were not in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expansion {
    /// Tokens of a query, specials and filler together.
    pub(crate) length: usize,
    /// Every query has that length, longer ones are cut; else it is the least.
    pub(crate) fixed: bool,
    /// Whether other tokens see the filler.
    pub(crate) attend: bool,
    /// The filler; the mask token, else the end token, where `None`.
    pub(crate) token: Option<String>,
}

impl TransformerRules {
    /// Reads the file of the encoder in `folder`; all defaults where there is none.
    pub(crate) fn read(folder: &Path, notes: &mut Notes) -> Result<Self, LoadError> {
        let mut rules = Self::default();
        for name in FILES {
            let Some(mut keys) = FileKeys::read(&folder.join(name))? else { continue };
            rules.take(&mut keys, notes)?;
            keys.none_left()?;
            break;
        }
        Ok(rules)
    }

    fn take(&mut self, keys: &mut FileKeys, notes: &mut Notes) -> Result<(), LoadError> {
        self.max_length = keys.take("max_seq_length")?;
        if self.max_length == Some(0) {
            return Err(keys.refused("max_seq_length", &json!(0), "no sequence would fit"));
        }
        self.lowercase = keys.take("do_lower_case")?.unwrap_or(false);
        self.task = keys.one_of("transformer_task", &["feature-extraction", "sequence-classification", "fill-mask"])?;
        self.modality(keys)?;
        self.query_length = keys.take("query_length")?;
        self.document_length = keys.take("document_length")?;
        self.expansion = expansion(keys)?;
        let mut inner = keys.inner("processing_kwargs")?;
        for kind in ["common", "text"] {
            let mut inner = inner.inner(&format!("processing_kwargs.{kind}"))?;
            let at = |key: &str| format!("processing_kwargs.{kind}.{key}");
            if let Some(longest) = inner.take(&at("max_length"))? {
                // It stands in the place of a role's own length too.
                (self.max_length, self.query_length, self.document_length) = (Some(longest), None, None);
            }
            inner.only(&at("truncation"), &[json!(true), json!("longest_first")])?;
            inner.ignore(
                &[&at("padding"), &at("padding_side"), &at("return_tensors")],
                "nothing is padded here",
                notes,
            );
            inner.none_left()?;
        }
        inner.none_left()?;
        for name in ["tokenizer_args", "processor_kwargs"] {
            let mut inner = keys.inner(name)?;
            let at = |key: &str| format!("{name}.{key}");
            self.max_length = inner.take(&at("model_max_length"))?.or(self.max_length);
            self.truncation_side =
                inner.one_of(&at("truncation_side"), &["left", "right"])?.or(self.truncation_side.take());
            let harmless =
                [at("use_fast"), at("padding_side"), at("trust_remote_code"), at("clean_up_tokenization_spaces")];
            inner.ignore(&harmless.each_ref().map(String::as_str), "it changes no id", notes);
            inner.none_left()?;
        }
        for name in ["model_args", "model_kwargs"] {
            let mut inner = keys.inner(name)?;
            let harmless = [
                "torch_dtype",
                "dtype",
                "attn_implementation",
                "device_map",
                "low_cpu_mem_usage",
                "trust_remote_code",
                "add_pooling_layer",
                "use_safetensors",
            ];
            let harmless: Vec<String> = harmless.iter().map(|key| format!("{name}.{key}")).collect();
            inner.ignore(
                &harmless.iter().map(String::as_str).collect::<Vec<_>>(),
                "how a library loads, not what it computes",
                notes,
            );
            inner.none_left()?;
        }
        for name in ["config_args", "config_kwargs"] {
            let mut inner = keys.inner(name)?;
            let harmless = [format!("{name}.trust_remote_code"), format!("{name}.use_cache")];
            inner.ignore(&harmless.each_ref().map(String::as_str), "how a library loads, not what it computes", notes);
            inner.none_left()?;
        }
        keys.ignore(&["unpad_inputs", "backend", "cache_dir"], "how a library runs, not what it computes", notes);
        Ok(())
    }

    /// Which output of the encoder flows on: only the usual one of each head is served.
    fn modality(&self, keys: &mut FileKeys) -> Result<(), LoadError> {
        let output = keys.one_of("module_output_name", &["token_embeddings", "scores"])?;
        if output.as_deref() == Some("scores") && self.task.as_deref() != Some("sequence-classification") {
            return Err(keys.refused("module_output_name", &json!("scores"), "only with sequence-classification"));
        }
        let Some(config) = keys.take::<Value>("modality_config")? else { return Ok(()) };
        let usual = match self.task.as_deref() {
            Some("sequence-classification" | "fill-mask") => "logits",
            _ => "last_hidden_state",
        };
        let text = config.get("text");
        let method = text.and_then(|t| t.get("method")).and_then(Value::as_str);
        let output = text.and_then(|t| t.get("method_output_name")).and_then(Value::as_str);
        if method != Some("forward") || output != Some(usual) {
            let why = format!("only text by the method forward, with its {usual}, is");
            return Err(keys.refused("modality_config", &config, &why));
        }
        Ok(())
    }
}

/// `query_expansion`, which may be missing.
fn expansion(keys: &mut FileKeys) -> Result<Option<Expansion>, LoadError> {
    let mut inner = keys.inner("query_expansion")?;
    let at = |key: &str| format!("query_expansion.{key}");
    let strategy = inner.one_of(&at("strategy"), &["fixed", "min"])?;
    let (attend, token, length) = (inner.take(&at("attend"))?, inner.take(&at("token"))?, inner.take(&at("length"))?);
    inner.none_left()?;
    match (strategy, length) {
        (None, None) => Ok(None),
        (Some(strategy), Some(length)) if length > 0 => {
            Ok(Some(Expansion { length, fixed: strategy == "fixed", attend: attend.unwrap_or(false), token }))
        }
        (strategy, length) => {
            let value = json!({"strategy": strategy, "length": length});
            Err(keys.refused("query_expansion", &value, "it must have a strategy and a length above 0"))
        }
    }
}
