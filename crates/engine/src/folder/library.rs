//! `config_sentence_transformers.json`: prompts, similarity, cuts, activation, and PyLate's settings.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::{
    keys::{FileKeys, Notes},
    transformer::Expansion,
};
use crate::{
    error::LoadError,
    post::{Activation, LateSimilarity},
};

/// Where a model's own activation of scores comes from, and which it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ScoreActivation {
    /// The activation; `None` where the folder names one that is not served.
    pub activation: Option<Activation>,
    /// File and key that say so, or the library's rule.
    pub source: String,
}

/// What the file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Library {
    /// `model_type`: SentenceTransformer, SparseEncoder, CrossEncoder, MultiVectorEncoder or ColBERT.
    pub(crate) model_type: Option<String>,
    pub(crate) prompts: Vec<(String, String)>,
    pub(crate) default_prompt: Option<String>,
    pub(crate) similarity: Option<String>,
    pub(crate) truncate_dim: Option<usize>,
    pub(crate) max_active_dims: Option<usize>,
    pub(crate) activation: Option<String>,
    pub(crate) pylate: Option<Pylate>,
}

/// What PyLate writes there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pylate {
    pub(crate) query_prefix: String,
    pub(crate) document_prefix: String,
    pub(crate) document_length: usize,
    pub(crate) query_length: usize,
    /// Whether queries are filled up; with it, whether the filler is attended to.
    pub(crate) expansion: Option<Expansion>,
    pub(crate) skiplist: Vec<String>,
}

/// Keys that PyLate alone writes.
const PYLATE_KEYS: [&str; 5] =
    ["query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens", "skiplist_words"];

/// ASCII punctuation: the skip list where a folder names none.
pub(super) fn punctuation() -> Vec<String> {
    (0u8..128).map(char::from).filter(char::is_ascii_punctuation).map(String::from).collect()
}

/// Lengths of PyLate's texts where a folder names none.
pub(super) const QUERY_LENGTH: usize = 32;
pub(super) const DOCUMENT_LENGTH: usize = 180;

impl Library {
    /// Reads the file in `folder`; all defaults where there is none.
    pub(crate) fn read(folder: &Path, notes: &mut Notes) -> Result<Self, LoadError> {
        let path = folder.join("config_sentence_transformers.json");
        let Some(mut keys) = FileKeys::read(&path)? else { return Ok(Self::default()) };
        let model_type = keys.one_of(
            "model_type",
            &["SentenceTransformer", "SparseEncoder", "CrossEncoder", "MultiVectorEncoder", "ColBERT"],
        )?;
        let prompts = keys.take::<BTreeMap<String, Option<String>>>("prompts")?.unwrap_or_default();
        let prompts: Vec<_> = prompts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect();
        let default_prompt = keys.take::<String>("default_prompt_name")?;
        if let Some(name) = &default_prompt
            && !prompts.iter().any(|(there, _)| there == name)
        {
            return Err(LoadError::invalid(
                &path,
                format!("default_prompt_name is {name:?}, which prompts does not have"),
            ));
        }
        let similarity = keys.one_of(
            "similarity_fn_name",
            &["cosine", "dot", "euclidean", "manhattan", "maxsim", "meanmaxsim", "MaxSim"],
        )?;
        // Its first versions did not say which class a folder is of.
        let marked = PYLATE_KEYS.into_iter().find(|key| keys.has(key));
        let pylate = match (model_type.as_deref(), marked) {
            (Some("ColBERT"), _) | (None, Some(_)) => Some(Pylate::take(&mut keys)?),
            (Some(other), Some(key)) => {
                let value = keys.take::<Value>(key)?.unwrap_or_default();
                let why = format!("PyLate's settings are in a folder of model_type ColBERT, this one says {other}");
                return Err(keys.refused(key, &value, &why));
            }
            (_, None) => None,
        };
        let library = Self {
            model_type,
            prompts,
            default_prompt,
            similarity,
            truncate_dim: keys.take("truncate_dim")?,
            max_active_dims: keys.take("max_active_dims")?,
            activation: keys.take("activation_fn")?,
            pylate,
        };
        keys.ignore(&["__version__"], "versions of the libraries that wrote the folder", notes);
        keys.ignore(&["keep_in_fp32_modules"], "numbers of modules are f32 here", notes);
        keys.note_rest(notes);
        Ok(library)
    }

    /// How token vectors are compared.
    pub(crate) fn late_similarity(&self) -> LateSimilarity {
        match self.similarity.as_deref() {
            Some("meanmaxsim") => LateSimilarity::MeanMaxSim,
            _ => LateSimilarity::MaxSim,
        }
    }
}

impl Default for Pylate {
    /// What PyLate takes where nothing is said.
    fn default() -> Self {
        Self {
            query_prefix: "[Q] ".to_owned(),
            document_prefix: "[D] ".to_owned(),
            document_length: DOCUMENT_LENGTH,
            query_length: QUERY_LENGTH,
            expansion: Some(Expansion { length: QUERY_LENGTH, fixed: true, attend: false, token: None }),
            skiplist: punctuation(),
        }
    }
}

impl Pylate {
    fn take(keys: &mut FileKeys) -> Result<Self, LoadError> {
        let query_length = keys.take("query_length")?.unwrap_or(QUERY_LENGTH);
        let attend = keys.take("attend_to_expansion_tokens")?.unwrap_or(false);
        let expands = keys.take("do_query_expansion")?.unwrap_or(true);
        let expansion = expands.then_some(Expansion { length: query_length, fixed: true, attend, token: None });
        let usual = Self::default();
        Ok(Self {
            query_prefix: keys.take("query_prefix")?.unwrap_or(usual.query_prefix),
            document_prefix: keys.take("document_prefix")?.unwrap_or(usual.document_prefix),
            document_length: keys.take("document_length")?.unwrap_or(usual.document_length),
            query_length,
            expansion,
            skiplist: keys.take("skiplist_words")?.unwrap_or(usual.skiplist),
        })
    }
}

/// An activation by torch's class path.
pub(super) fn activation(path: &str) -> Option<Activation> {
    match path.strip_prefix("torch.nn.")?.rsplit('.').next()? {
        "Sigmoid" => Some(Activation::Sigmoid),
        "Identity" => Some(Activation::Raw),
        // Over a row of labels, as torch takes the last dimension of a matrix where none is named.
        "Softmax" => Some(Activation::Softmax),
        _ => None,
    }
}

/// The model's own activation of `labels` scores: the first of the places that sentence-transformers looks in.
pub(super) fn score_activation(library: &Library, config: &super::config::Config, labels: usize) -> ScoreActivation {
    let places = [
        ("config_sentence_transformers.json, activation_fn", library.activation.as_deref()),
        ("config.json, sentence_transformers.activation_fn", config.own_activation.as_deref()),
        ("config.json, sbert_ce_default_activation_function", config.old_activation.as_deref()),
    ];
    for (source, path) in places {
        if let Some(path) = path {
            return ScoreActivation { activation: activation(path), source: format!("{source}: {path}") };
        }
    }
    let (activation, rule) = if labels == 1 {
        (Activation::Sigmoid, "sigmoid for one label")
    } else {
        (Activation::Raw, "none for several labels")
    };
    ScoreActivation { activation: Some(activation), source: format!("the library's rule: {rule}") }
}
