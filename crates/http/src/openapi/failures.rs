//! The bodies of failures.
#![expect(dead_code, reason = "described here, and never made")]

use serde::Serialize;
use utoipa::ToSchema;

/// TEI's failure.
#[derive(Serialize, ToSchema)]
pub(crate) struct TeiFailure {
    error: String,
    /// `Unhealthy`, `Backend`, `Overloaded`, `Validation`, `Tokenizer` or `Empty`.
    error_type: String,
}

/// OpenAI's failure, with the fields beside it that readers of vLLM, Jina and TEI look for.
#[derive(Serialize, ToSchema)]
pub(crate) struct NestedFailure {
    error: OpenAiFailure,
    message: String,
    #[serde(rename = "type")]
    kind: String,
    code: u16,
    detail: String,
}

/// What is wrong.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenAiFailure {
    message: String,
    #[serde(rename = "type")]
    kind: String,
    /// The field at fault.
    param: Option<String>,
    code: Option<String>,
}

/// Cohere's failure.
#[derive(Serialize, ToSchema)]
pub(crate) struct CohereFailure {
    message: String,
}

/// The failure of Weaviate's containers.
#[derive(Serialize, ToSchema)]
pub(crate) struct WeaviateFailure {
    error: String,
}

/// A failure in TEI's form or in OpenAI's.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum AnyFailure {
    Tei(TeiFailure),
    Nested(NestedFailure),
}

/// A failure in Cohere's form or in TEI's.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum CohereOrTeiFailure {
    Cohere(CohereFailure),
    Tei(TeiFailure),
}
