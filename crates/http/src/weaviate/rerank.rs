//! `POST /weaviate/rerank`: scores by place.

use serde::{Deserialize, Serialize};
use sortie_proto::v1::{TextOptions, Truncation};
use utoipa::ToSchema;

use crate::{
    door::Door,
    failure::HttpFailure,
    models::Need,
    reply::JsonReply,
    request::{Incoming, parse},
    rerank::{RerankWork, score_activation, score_documents},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = WeaviateRerankBody)]
pub(crate) struct ContainerRerankBody {
    model: Option<String>,
    query: String,
    documents: Vec<String>,
}

/// Scores in the order of the documents.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WeaviateScores)]
pub(crate) struct DocumentScores<'a> {
    query: &'a str,
    scores: Vec<DocumentScore<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WeaviateScore)]
struct DocumentScore<'a> {
    document: &'a str,
    score: f32,
}

/// Scores documents.
#[utoipa::path(post, operation_id = "weaviate_rerank", path = "/weaviate/rerank", tag = "Weaviate", request_body = ContainerRerankBody, responses(
    (status = 200, description = "A score a document, in the order sent.", body = DocumentScores<'_>),
    (status = "default", description = "The container's failure.", body = crate::openapi::WeaviateFailure),
))]
pub(crate) async fn rerank(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let ContainerRerankBody { model, query, documents } = parse(&incoming.body)?;
    if documents.is_empty() {
        return Err(HttpFailure::empty("documents"));
    }
    let caller = &incoming.caller;
    let model = door.model(caller, model.as_deref(), Need::RERANK).await?;
    let options = TextOptions { truncation: Truncation::DocumentOnly.into(), ..TextOptions::default() };
    let mut job = RerankWork::new("documents", query.clone(), documents, options, score_activation(&model, true));
    job.keep_texts = true;
    // The module joins by place: nothing may be left out.
    job.partial = false;
    let ranked = score_documents(&door, caller, &model, job).await?;
    let documents = ranked.texts.as_deref().unwrap_or_default();
    let pairs = documents.iter().zip(&ranked.scores);
    let scores = pairs.map(|(document, score)| DocumentScore { document, score: *score }).collect();
    JsonReply::json(&DocumentScores { query: &query, scores }, ranked.facts.clone())
}
