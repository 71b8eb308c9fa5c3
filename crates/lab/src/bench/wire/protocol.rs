//! The protocols of others and ours, and which tasks each has.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What is spoken to the servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum BenchProtocol {
    /// sortie.v1 over gRPC: our servers and gateways, by the client library or by plain stubs
    #[default]
    #[value(name = "sortie.v1")]
    #[serde(rename = "sortie.v1")]
    Sortie,
    /// tei.v1 over gRPC: Text Embeddings Inference, and our gateway
    #[value(name = "tei.v1")]
    #[serde(rename = "tei.v1")]
    TeiGrpc,
    /// TEI's HTTP: /rerank with `texts`, /embed, /predict
    #[serde(rename = "tei")]
    Tei,
    /// OpenAI's /v1/embeddings
    #[value(name = "openai")]
    #[serde(rename = "openai")]
    OpenAi,
    /// Cohere's /v2/rerank
    #[serde(rename = "cohere")]
    Cohere,
    /// Jina's /v1/rerank
    #[serde(rename = "jina")]
    Jina,
    /// vLLM's and infinity's /rerank with `documents`
    #[serde(rename = "vllm")]
    Vllm,
    /// KServe's V2 inference over HTTP: Triton and its like
    #[value(name = "kserve")]
    #[serde(rename = "kserve")]
    KServe,
}

/// What a job asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchTask {
    /// A score of each document against the query
    #[default]
    Rerank,
    /// A vector of each document
    Embed,
    /// Label scores of each document
    Classify,
}

impl BenchProtocol {
    /// Its name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sortie => "sortie.v1",
            Self::TeiGrpc => "tei.v1",
            Self::Tei => "tei",
            Self::OpenAi => "openai",
            Self::Cohere => "cohere",
            Self::Jina => "jina",
            Self::Vllm => "vllm",
            Self::KServe => "kserve",
        }
    }

    /// Whether it has the task.
    #[must_use]
    pub const fn has(self, task: BenchTask) -> bool {
        match self {
            Self::Sortie | Self::TeiGrpc | Self::Tei => true,
            Self::OpenAi => matches!(task, BenchTask::Embed),
            Self::Cohere | Self::Jina | Self::Vllm => matches!(task, BenchTask::Rerank),
            Self::KServe => matches!(task, BenchTask::Rerank | BenchTask::Embed),
        }
    }

    /// Whether its rerank scores are a model's numbers as they are; else they are within 0 to 1, as a sigmoid makes them.
    #[must_use]
    pub const fn gives_logits(self) -> bool {
        matches!(self, Self::Sortie | Self::TeiGrpc | Self::Tei | Self::KServe)
    }
}

impl BenchTask {
    /// Its name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rerank => "rerank",
            Self::Embed => "embed",
            Self::Classify => "classify",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_flags_take_and_results_have() {
        for protocol in BenchProtocol::value_variants() {
            assert_eq!(protocol.to_possible_value().unwrap().get_name(), protocol.name());
            assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.name());
        }
        for task in BenchTask::value_variants() {
            assert_eq!(task.to_possible_value().unwrap().get_name(), task.name());
            assert_eq!(serde_json::to_value(task).unwrap(), task.name());
        }
    }

    #[test]
    fn ours_has_every_task_and_every_protocol_has_one() {
        assert!(BenchTask::value_variants().iter().all(|task| BenchProtocol::Sortie.has(*task)));
        for protocol in BenchProtocol::value_variants() {
            assert!(BenchTask::value_variants().iter().any(|task| protocol.has(*task)), "{protocol:?}");
        }
    }
}
