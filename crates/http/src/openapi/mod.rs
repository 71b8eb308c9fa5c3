//! The OpenAPI document. Bodies and answers are described by the types that are read and written; here are only the forms
//! that serde reads by hand, the failures, and what is said of headers and places.

mod failures;
mod forms;

pub(crate) use failures::{AnyFailure, CohereFailure, CohereOrTeiFailure, NestedFailure, TeiFailure, WeaviateFailure};
pub(crate) use forms::{
    AnyBody, DocumentList, FloatsOrBase64, Ids, OneOrMore, PredictInputs, Predictions, RerankAnswers, TaggedTexts,
    TextsOrIds, WeaviateVectors,
};
use utoipa::OpenApi;

use crate::{cohere, openai, rerank, tei, vllm, weaviate};

/// The OpenAPI 3.1 document of all routes, each at the path it is best known by. Paths are served with and without `/v1`
/// and with a slash behind them too.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = OpenApiDocument::openapi();
    // SageMaker's names of two routes, and the name that most tools try for the document.
    let twins = [
        ("/", "/invocations", "invocations"),
        ("/health", "/ping", "ping"),
        ("/api-doc/openapi.json", "/openapi.json", "document_too"),
    ];
    for (path, twin, name) in twins {
        let Some(mut item) = document.paths.paths.get(path).cloned() else { continue };
        if item.post.is_some() {
            item.get = None;
        }
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            operation.operation_id = Some(name.to_owned());
        }
        document.paths.paths.insert(twin.to_owned(), item);
    }
    document
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sortie over HTTP",
        description = "The dialects of TEI, OpenAI, Cohere, Jina, vLLM and Weaviate's containers. In every optional field null is \
                       absence, and fields that are not named are ignored. Each path is also served with `/v1` before it or \
                       without, and with a slash behind it."
    ),
    paths(
        rerank::rerank,
        rerank::rerank_v2,
        openai::embeddings::embeddings,
        openai::models::models,
        openai::models::model,
        cohere::embed::embed_v2,
        vllm::score::score,
        vllm::classify::classify,
        tei::embed::embed,
        tei::tokens::embed_all,
        tei::sparse::embed_sparse,
        tei::classify::predict,
        tei::tag::tag,
        tei::similarity::similarity,
        tei::tokenize::tokenize,
        tei::decode::decode,
        tei::info::info,
        tei::health::health,
        tei::health::root,
        tei::by_model::by_model,
        tei::by_model::vertex,
        weaviate::rerank::rerank,
        weaviate::vectors::vectors,
        weaviate::status::meta,
        weaviate::status::live,
        weaviate::status::ready,
        document,
    )
)]
struct OpenApiDocument;

/// This document.
#[utoipa::path(get, path = "/api-doc/openapi.json", tag = "Document", responses(
    (status = 200, description = "The OpenAPI document."),
))]
pub(crate) async fn document() -> axum::Json<utoipa::openapi::OpenApi> {
    axum::Json(openapi())
}
