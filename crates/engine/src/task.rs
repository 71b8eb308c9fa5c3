//! What a model was made for, and how its states become one vector.

use crate::post::Activation;

/// What a model was made for, read from its files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// One logit per label for a text or a pair. One label makes a reranker.
    SequenceClassification {
        /// Labels in logit order.
        labels: Vec<String>,
        /// What the logits mean.
        problem: Problem,
    },
    /// One logit per label for each token.
    TokenClassification {
        /// Labels in logit order.
        labels: Vec<String>,
    },
    /// One dense vector.
    Embedding,
    /// One weight per vocabulary entry (SPLADE and its like).
    SparseEmbedding,
    /// One vector per token, compared by the best match of each query token (ColBERT and its like).
    LateInteraction,
    /// One logit per stretch of words and label, or three per word and label; the labels come with each request.
    ZeroShotTagging {
        /// Words of a text that are read.
        most_words: usize,
        /// Words in the longest stretch; `None` where it may be as long as the text.
        width: Option<usize>,
    },
}

/// What the logits of a sequence classifier mean: `problem_type` of config.json.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// One label is right: softmax.
    #[default]
    SingleLabel,
    /// Labels do not exclude one another: sigmoid.
    MultiLabel,
    /// The numbers are the answer: no activation.
    Regression,
}

impl Problem {
    /// Its name in config.json.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Problem::SingleLabel => "single_label_classification",
            Problem::MultiLabel => "multi_label_classification",
            Problem::Regression => "regression",
        }
    }
}

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It asks.
    Query,
    /// It may be an answer.
    Document,
}

impl Role {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Query, Self::Document];

    /// Its name, as routes, prompts and tasks have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Query => "query",
            Role::Document => "document",
        }
    }
}

impl Task {
    /// What the contract says is done to a head's logits by Classify and `TagTokens` where nobody asks.
    #[must_use]
    pub fn default_activation(&self) -> Activation {
        match self {
            Task::SequenceClassification { labels, .. } if labels.len() == 1 => Activation::Raw,
            Task::SequenceClassification { problem: Problem::Regression, .. } => Activation::Raw,
            Task::SequenceClassification { problem: Problem::MultiLabel, .. } => Activation::Sigmoid,
            Task::SequenceClassification { .. } | Task::TokenClassification { .. } => Activation::Softmax,
            Task::ZeroShotTagging { .. } => Activation::Sigmoid,
            _ => Activation::Raw,
        }
    }

    /// Its labels; empty where it has none.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        match self {
            Task::SequenceClassification { labels, .. } | Task::TokenClassification { labels } => labels,
            Task::Embedding | Task::SparseEmbedding | Task::LateInteraction | Task::ZeroShotTagging { .. } => &[],
        }
    }
}

/// How token states become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
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
    /// Sum over the tokens divided by the root of their number.
    MeanSqrtLen,
    /// Mean with token `t` weighted by `t + 1`.
    WeightedMean,
}

impl Pooling {
    /// By the name that sentence-transformers has for it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "cls" => Pooling::Cls,
            "mean" => Pooling::Mean,
            "max" => Pooling::Max,
            "lasttoken" => Pooling::Last,
            "mean_sqrt_len_tokens" => Pooling::MeanSqrtLen,
            "weightedmean" => Pooling::WeightedMean,
            _ => return None,
        })
    }
}
