//! What a model was made for, and how its states become one vector.

use serde::Deserialize;

/// What a model was made for, read from its files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// One logit per label for a text or a pair. One label makes a reranker.
    SequenceClassification {
        /// Labels in logit order.
        labels: Vec<String>,
        /// Labels do not exclude one another (`problem_type` multi-label): sigmoid, not softmax.
        multi_label: bool,
    },
    /// One logit per label for each token.
    TokenClassification {
        /// Labels in logit order.
        labels: Vec<String>,
    },
    /// One dense vector.
    Embedding,
    /// One weight per vocabulary entry (SPLADE: `ln(1 + max(0, logit))`, largest over the tokens).
    SparseEmbedding,
}

impl Task {
    /// Its labels; empty where it has none.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        match self {
            Task::SequenceClassification { labels, .. } | Task::TokenClassification { labels } => labels,
            Task::Embedding | Task::SparseEmbedding => &[],
        }
    }
}

/// How token states become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// State of the first token.
    Cls,
    /// Mean over all tokens, specials included. The habit where a folder says nothing.
    #[default]
    Mean,
    /// Largest value of each dimension.
    Max,
    /// State of the last token.
    Last,
}
