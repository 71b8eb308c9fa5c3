//! Values that a reader could take for something else: each with where it comes from.

use serde::Serialize;

use crate::{
    open::{Opened, STATIC_LONGEST},
    options::LoadOptions,
    post::Activation,
    task::{Problem, Task},
};

/// What is done to scores where a request names no activation.
#[derive(Clone, Debug, Serialize)]
pub struct DefaultActivation {
    /// The RPC whose default it is.
    pub rpc: &'static str,
    /// What is done.
    pub activation: Activation,
    /// Why.
    pub why: &'static str,
}

/// How vectors are meant to be compared.
#[derive(Clone, Debug, Serialize)]
pub struct SimilarityInspection {
    /// The library's name of it.
    pub name: String,
    /// Who says so, and what is computed here where that is something else.
    pub source: &'static str,
}

/// The default activations of the RPCs that give scores of a head.
pub(super) fn activations(task: &Task, rpcs: &[&'static str]) -> Vec<DefaultActivation> {
    let why = match task {
        Task::SequenceClassification { problem: Problem::Regression, .. } => "problem_type is regression",
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => "one label",
        Task::SequenceClassification { problem: Problem::MultiLabel, .. } => {
            "problem_type is multi_label_classification"
        }
        Task::SequenceClassification { .. } => "several labels of which one is right",
        Task::TokenClassification { .. } => "labels of a token",
        Task::ZeroShotTagging { .. } => "labels that do not exclude one another",
        _ => return Vec::new(),
    };
    let of = |rpc: &'static str| match (rpc, task.labels().len()) {
        ("Rerank", 2..) => DefaultActivation { rpc, activation: Activation::Raw, why: "the difference of two logits" },
        ("Rerank", _) => DefaultActivation { rpc, activation: Activation::Raw, why },
        _ => DefaultActivation { rpc, activation: task.default_activation(), why },
    };
    rpcs.iter().copied().filter(|rpc| ["Rerank", "Classify", "TagTokens"].contains(rpc)).map(of).collect()
}

/// The similarity of a model's vectors; `None` where it makes none.
pub(super) fn similarity(opened: &Opened) -> Option<SimilarityInspection> {
    let named = opened.folder.similarity.as_deref();
    let (name, source) = match (&opened.task, named) {
        (Task::Embedding, Some("cosine")) => ("cosine", "named by the folder"),
        (Task::Embedding, Some(name)) => (name, "named by the folder; Similarity and Rerank give cosine"),
        (Task::Embedding, None) => ("cosine", "the library's default"),
        (Task::SparseEmbedding, Some(name)) => (name, "named by the folder; nothing here compares sparse vectors"),
        (Task::SparseEmbedding, None) => ("dot", "the library's default; nothing here compares sparse vectors"),
        (Task::LateInteraction, named) => {
            let name = opened.folder.late.as_ref().map(|late| late.similarity).unwrap_or_default().name();
            let is_named = named.is_some_and(|named| named.eq_ignore_ascii_case(name));
            (name, if is_named { "named by the folder" } else { "the library's default" })
        }
        _ => return None,
    };
    Some(SimilarityInspection { name: name.to_owned(), source })
}

/// The longest sequence, `None` for no limit but the server's own; and what says so.
pub(super) fn longest(opened: &Opened, options: &LoadOptions) -> (Option<usize>, String) {
    let longest = opened.max_length;
    let folder = &opened.folder;
    let source = if options.max_length == Some(longest) {
        "asked for"
    } else if let Some(late) = &folder.late {
        if late.lengths.contains(&None) && folder.max_length == Some(longest) {
            folder.length_source
        } else {
            "the longest of its roles' lengths"
        }
    } else if folder.max_length == Some(longest) {
        folder.length_source
    } else if opened.routes.encoder().is_some() {
        "positions of the model"
    } else if longest == STATIC_LONGEST {
        return (None, format!("the server's cap is {STATIC_LONGEST}"));
    } else if folder.model2vec {
        "max_length of config.json, or model2vec's own"
    } else {
        "tokenizer.json"
    };
    (Some(longest), source.to_owned())
}
