//! How sentence-transformers' Transformer module reads texts: `sentence_bert_config.json`, which has had other names.

use std::{collections::BTreeMap, path::Path};

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

/// `transformer_task` of a causal language model with its head, and the name of what that gives.
pub(super) const GENERATION: &str = "text-generation";
const CAUSAL_LOGITS: &str = "causal_logits";

/// What transformers' `apply_chat_template` takes that is no variable of the template.
const OTHER_ARGUMENTS: [&str; 8] = [
    "chat_template",
    "continue_final_message",
    "documents",
    "return_assistant_tokens_mask",
    "return_dict",
    "tokenize",
    "tokenizer_kwargs",
    "tools",
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
    /// How texts become messages of a chat, where they do: `flat`, `structured` or `auto`.
    pub(crate) message: Option<String>,
    /// What a chat template is given besides the messages.
    pub(crate) chat: BTreeMap<String, Value>,
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
        let tasks = ["feature-extraction", "sequence-classification", "fill-mask", GENERATION];
        self.task = keys.one_of("transformer_task", &tasks)?;
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
            inner.ignore(&[&at("logits_to_keep")], "the last token's logits are all that is read", notes);
            inner.none_left()?;
        }
        if inner.has("processing_kwargs.chat_template") {
            self.chat_template(inner.inner("processing_kwargs.chat_template")?, notes)?;
            inner.forget("processing_kwargs.chat_template");
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
    fn modality(&mut self, keys: &mut FileKeys) -> Result<(), LoadError> {
        let output = keys.one_of("module_output_name", &["token_embeddings", "scores", CAUSAL_LOGITS])?;
        for (name, task) in [("scores", "sequence-classification"), (CAUSAL_LOGITS, GENERATION)] {
            if output.as_deref() == Some(name) && self.task.as_deref() != Some(task) {
                return Err(keys.refused("module_output_name", &json!(name), &format!("only with {task}")));
            }
        }
        if let Some(output) = &output
            && self.task.as_deref() == Some(GENERATION)
            && output != CAUSAL_LOGITS
        {
            let why = format!("with {GENERATION} only {CAUSAL_LOGITS} is");
            return Err(keys.refused("module_output_name", &json!(output), &why));
        }
        let Some(config) = keys.take::<Value>("modality_config")? else { return Ok(()) };
        let usual = match self.task.as_deref() {
            Some("sequence-classification" | "fill-mask" | GENERATION) => "logits",
            _ => "last_hidden_state",
        };
        let is_usual = |entry: &Value| {
            let said = |key: &str| entry.get(key).and_then(Value::as_str);
            said("method") == Some("forward") && said("method_output_name") == Some(usual)
        };
        let message = config.get("message");
        if !config.get("text").is_some_and(is_usual) || !message.is_none_or(is_usual) {
            let why = format!("only text and message by the method forward, with its {usual}, are");
            return Err(keys.refused("modality_config", &config, &why));
        }
        let Some(message) = message else { return Ok(()) };
        if self.task.as_deref() != Some(GENERATION) {
            // The library puts every text through the chat template then.
            let why = format!("texts become messages of a chat only with {GENERATION}");
            return Err(keys.refused("modality_config.message", message, &why));
        }
        match message.get("format").map_or(Some("auto"), Value::as_str) {
            Some(format @ ("flat" | "structured" | "auto")) => self.message = Some(format.to_owned()),
            _ => return Err(keys.refused("modality_config.message", message, "format flat, structured and auto are")),
        }
        Ok(())
    }

    /// `processing_kwargs.chat_template`: how rendered texts are cut, and variables of the template.
    fn chat_template(&mut self, mut keys: FileKeys, notes: &mut Notes) -> Result<(), LoadError> {
        let at = |key: &str| format!("processing_kwargs.chat_template.{key}");
        if let Some(longest) = keys.take(&at("max_length"))? {
            self.max_length = Some(longest);
        }
        keys.only(&at("truncation"), &[json!(true), json!("longest_first")])?;
        if keys.take::<bool>(&at("restore_suffix"))? == Some(false) {
            return Err(keys.refused(
                &at("restore_suffix"),
                &json!(false),
                "what stands behind a document is never cut",
            ));
        }
        keys.ignore(&[&at("padding"), &at("return_tensors")], "nothing is padded here", notes);
        keys.ignore(&[&at("sanitize_control_tokens")], "a text never holds the template's special tokens", notes);
        for name in OTHER_ARGUMENTS {
            keys.only(&at(name), &[json!(false)])?;
        }
        let prefix = at("");
        self.chat = keys
            .rest()
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value)))
            .collect();
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
