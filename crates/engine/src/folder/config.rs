//! `config.json`: labels and the task of a model, and what its whole folder depends on.
//!
//! What only an encoder's arithmetic needs is read by its family, key by key. Absent numbers stay `None` here.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{keys::shown, read_json};
use crate::{
    error::LoadError,
    task::{Problem, Task},
};

/// Most labels a head may have: far above any known one, low enough to refuse nonsense.
const MAX_LABELS: usize = 1 << 20;

/// `config.json`, as far as it is used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Written")]
pub(crate) struct Config {
    pub(crate) model_type: String,
    pub(crate) architectures: Option<Vec<String>>,
    pub(crate) hidden_size: Option<usize>,
    pub(crate) vocab_size: Option<usize>,
    pub(crate) max_position_embeddings: Option<usize>,
    pub(crate) type_vocab_size: Option<usize>,
    pub(crate) pad_token_id: Option<i64>,
    pub(crate) problem_type: Option<String>,
    pub(crate) id2label: Option<BTreeMap<String, String>>,
    pub(crate) num_labels: Option<usize>,
    pub(crate) is_decoder: bool,
    /// `sentence_transformers.activation_fn`.
    pub(crate) own_activation: Option<String>,
    /// `sbert_ce_default_activation_function`.
    pub(crate) old_activation: Option<String>,
    /// Class of the tokenizer, where tokenizer_config.json names none.
    pub(crate) tokenizer_class: Option<String>,
    /// model2vec's, as they are written: whether vectors have length 1, and most tokens of a text.
    pub(crate) normalize: Option<Value>,
    pub(crate) max_length: Option<Value>,
    /// Keys that change numbers and are not served, with their values.
    pub(crate) unserved: Vec<(&'static str, String)>,
}

/// The file as it is written: any field may be null, and a family's own name may
/// stand beside the usual one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    hidden_size: Option<usize>,
    dim: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    pad_token_id: Option<i64>,
    problem_type: Option<String>,
    id2label: Option<BTreeMap<String, Value>>,
    num_labels: Option<usize>,
    is_decoder: Option<bool>,
    sentence_transformers: Option<CrossEncoderKeys>,
    sbert_ce_default_activation_function: Option<String>,
    tokenizer_class: Option<String>,
    normalize: Option<Value>,
    #[serde(deserialize_with = "even_null")]
    max_length: Option<Value>,
    add_cross_attention: Option<Value>,
    pruned_heads: Option<Value>,
    quantization_config: Option<Value>,
    compression_config: Option<Value>,
}

/// A value that says something else where it is null than where it is missing.
fn even_null<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

/// What CrossEncoder writes into a model's configuration.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CrossEncoderKeys {
    activation_fn: Option<String>,
}

impl From<Written> for Config {
    fn from(w: Written) -> Self {
        let unserved = [
            ("add_cross_attention", &w.add_cross_attention),
            ("pruned_heads", &w.pruned_heads),
            ("quantization_config", &w.quantization_config),
            ("compression_config", &w.compression_config),
        ];
        let empty = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        let unserved = unserved
            .into_iter()
            .filter_map(|(key, value)| value.as_ref().filter(|v| !empty(v)).map(|v| (key, shown(v))))
            .collect();
        // A label is text; exporters have been seen to write numbers.
        let label = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Config {
            model_type: w.model_type.unwrap_or_default(),
            architectures: w.architectures,
            hidden_size: w.hidden_size.or(w.dim),
            vocab_size: w.vocab_size,
            max_position_embeddings: w.max_position_embeddings,
            type_vocab_size: w.type_vocab_size,
            pad_token_id: w.pad_token_id,
            problem_type: w.problem_type,
            id2label: w.id2label.map(|m| m.into_iter().map(|(k, v)| (k, label(v))).collect()),
            num_labels: w.num_labels,
            is_decoder: w.is_decoder.unwrap_or(false),
            own_activation: w.sentence_transformers.and_then(|own| own.activation_fn),
            old_activation: w.sbert_ce_default_activation_function,
            tokenizer_class: w.tokenizer_class,
            normalize: w.normalize,
            max_length: w.max_length,
            unserved,
        }
    }
}

impl Config {
    /// Reads `folder/config.json`.
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        read_json(&folder.join("config.json"))
    }

    /// First of `architectures`, or "".
    pub(crate) fn architecture(&self) -> &str {
        self.architectures.as_ref().and_then(|a| a.first()).map_or("", String::as_str)
    }

    /// model2vec's rules: whether vectors have length 1, and most tokens of a text, `None` for any number.
    pub(crate) fn model2vec(&self, folder: &Path) -> Result<(bool, Option<usize>), LoadError> {
        /// Longest text by model2vec's rules where its folder does not say.
        const LONGEST: usize = 512;
        let bad = |key: &str, value: &Value, wanted: &str| {
            LoadError::invalid(&folder.join("config.json"), format!("{key} is {}, not {wanted}", shown(value)))
        };
        let normalize = match &self.normalize {
            None | Some(Value::Null) => false,
            Some(Value::Bool(normalize)) => *normalize,
            Some(other) => return Err(bad("normalize", other, "true or false")),
        };
        let longest = match &self.max_length {
            None => Some(LONGEST),
            Some(Value::Null) => None,
            Some(value) => match value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0) {
                Some(n) => Some(n),
                None => return Err(bad("max_length", value, "a number of tokens above 0, or null for no limit")),
            },
        };
        Ok((normalize, longest))
    }

    /// Labels in logit order: `id2label`, else `LABEL_0…` for `num_labels`, else two.
    pub(crate) fn labels(&self, folder: &Path) -> Result<Vec<String>, LoadError> {
        let path = folder.join("config.json");
        let Some(map) = &self.id2label else {
            // Two is what the format means when it says nothing.
            let n = self.num_labels.unwrap_or(2);
            if n == 0 || n > MAX_LABELS {
                return Err(LoadError::invalid(&path, format!("num_labels is {n}")));
            }
            return Ok((0..n).map(|i| format!("LABEL_{i}")).collect());
        };
        let mut labels = vec![None; map.len()];
        for (key, label) in map {
            let slot = key.parse::<usize>().ok().and_then(|i| labels.get_mut(i));
            match slot {
                Some(slot) => *slot = Some(label.clone()),
                None => {
                    return Err(LoadError::invalid(
                        &path,
                        format!("id2label has the key {key:?}, not one of 0 to {}", map.len() - 1),
                    ));
                }
            }
        }
        let labels: Option<Vec<_>> = labels.into_iter().collect();
        match labels {
            Some(l) if !l.is_empty() => Ok(l),
            _ => Err(LoadError::invalid(&path, "id2label is empty or names an id twice")),
        }
    }

    /// What the logits of a sequence classifier mean.
    pub(crate) fn problem(&self, folder: &Path) -> Result<Problem, LoadError> {
        match self.problem_type.as_deref() {
            None | Some("single_label_classification") => Ok(Problem::SingleLabel),
            Some("multi_label_classification") => Ok(Problem::MultiLabel),
            Some("regression") => Ok(Problem::Regression),
            Some(other) => Err(LoadError::unsupported(
                &folder.join("config.json"),
                format!(
                    "problem_type {other:?} is not served: single_label_classification, multi_label_classification and regression are"
                ),
            )),
        }
    }

    /// Refuses the first key that changes numbers and is not served.
    pub(crate) fn refuse_unserved(&self, folder: &Path) -> Result<(), LoadError> {
        match self.unserved.first() {
            Some((key, value)) => Err(LoadError::unsupported(
                &folder.join("config.json"),
                format!("{key} {value} is not served natively: it changes numbers"),
            )),
            None => Ok(()),
        }
    }

    /// The task its architecture says, `None` where the name says nothing known.
    pub(crate) fn task(&self, folder: &Path) -> Result<Option<Task>, LoadError> {
        let a = self.architecture();
        Ok(if a.ends_with("ForSequenceClassification") {
            Some(Task::SequenceClassification { labels: self.labels(folder)?, problem: self.problem(folder)? })
        } else if a.ends_with("ForTokenClassification") {
            Some(Task::TokenClassification { labels: self.labels(folder)? })
        } else if a.ends_with("ForMaskedLM") || a.ends_with("LMHead") {
            Some(Task::SparseEmbedding)
        } else if a.ends_with("Model") || a.eq_ignore_ascii_case(&self.model_type) && !a.is_empty() {
            Some(Task::Embedding)
        } else {
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn labels_come_in_id_order() {
        let c = config(
            r#"{"id2label": {"10":"k","2":"c","0":"a","1":"b","3":"d","4":"e","5":"f","6":"g","7":"h","8":"i","9":"j"}}"#,
        );
        assert_eq!(c.labels(Path::new("x")).unwrap().concat(), "abcdefghijk");
    }

    #[test]
    fn labels_with_a_gap_are_refused() {
        let c = config(r#"{"id2label": {"0":"a","2":"c"}}"#);
        assert!(c.labels(Path::new("x")).unwrap_err().to_string().contains("id2label"));
    }

    #[test]
    fn what_other_exporters_write_is_read() {
        let c = config(
            r#"{"hidden_size": 8, "dim": 9, "is_decoder": null, "model_type": null, "id2label": {"0": 1, "1": "b"}}"#,
        );
        assert_eq!((c.hidden_size, c.is_decoder, c.model_type.as_str()), (Some(8), false, ""));
        assert_eq!(c.labels(Path::new("x")).unwrap(), ["1", "b"]);
    }
}
