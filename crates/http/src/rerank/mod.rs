//! Reranking in every dialect. They share the path and most fields; the body tells them apart: `texts` is TEI's, whose
//! answer is a list, `documents` that of Jina, vLLM and Cohere, whose answer is an object that serves all three.

pub(crate) mod answer;
pub(crate) mod body;
mod document;
mod limits;
mod work;

pub(crate) use self::{
    body::score_activation,
    document::Documents,
    work::{RerankWork, run as score_documents},
};
use bytes::Bytes;

use self::{
    answer::{listed, results},
    body::RerankBody,
};
use crate::{
    door::Door,
    failure::{FailureKind, Form, HttpFailure},
    models::Need,
    reply::JsonReply,
    request::{Caller, Incoming, parse},
};

/// What a route does where the body does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Documents come back with their scores.
    Jina,
    /// They do not, and failures are said as Cohere says them.
    CohereV2,
}

/// Scores documents against a query. `texts` is TEI's body, and its answer a list; `documents` is that of Jina, vLLM and
/// Cohere.
#[utoipa::path(post, path = "/rerank", tag = "Rerank", request_body = RerankBody, responses(
    (status = 200, description = "Best first: a list where `texts` were sent, an object where `documents` were.", body = crate::openapi::RerankAnswers),
    (status = "default", description = "The failure, in the form that goes with the body.", body = crate::openapi::AnyFailure),
))]
pub(crate) async fn rerank(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    answer(&door, &incoming.caller, incoming.body, Habit::Jina).await
}

/// The same with Cohere's habits: documents come back only where they are asked for, and failures are Cohere's.
#[utoipa::path(post, path = "/v2/rerank", tag = "Cohere", request_body = RerankBody, responses(
    (status = 200, description = "As of `/rerank`.", body = crate::openapi::RerankAnswers),
    (status = "default", description = "Cohere's failure; TEI's where `texts` were sent.", body = crate::openapi::CohereOrTeiFailure),
))]
pub(crate) async fn rerank_v2(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    answer(&door, &incoming.caller, incoming.body, Habit::CohereV2).await
}

/// A body that came by a path of TEI's.
pub(crate) async fn rerank_body(door: &Door, caller: &Caller, body: &[u8]) -> Result<JsonReply, HttpFailure> {
    answer(door, caller, Bytes::copy_from_slice(body), Habit::Jina).await
}

async fn answer(door: &Door, caller: &Caller, bytes: Bytes, habit: Habit) -> Result<JsonReply, HttpFailure> {
    let body: RerankBody = parse(&bytes)?;
    // The texts are read; the bytes need not wait for the answer.
    drop(bytes);
    match (body.texts.is_some(), body.documents.is_some()) {
        (true, false) => tei(door, caller, body).await.map_err(|failure| failure.in_form(Form::Tei)),
        (false, true) => {
            let model = door.model(caller, body.model.as_deref(), Need::RERANK).await?;
            let job = body.into_documents(door, caller, &model, habit).await?;
            results(work::run(door, caller, &model, job).await?, habit)
        }
        (both, _) => {
            let found = if both { "both are there" } else { "neither is there" };
            let message = format!("send `texts` (TEI) or `documents` (Jina, vLLM, Cohere); {found}");
            Err(HttpFailure::new(FailureKind::Ambiguous, message))
        }
    }
}

async fn tei(door: &Door, caller: &Caller, body: RerankBody) -> Result<JsonReply, HttpFailure> {
    let model = door.model(caller, body.model.as_deref(), Need::RERANK).await?;
    let job = body.into_tei(door, &model)?;
    listed(work::run(door, caller, &model, job).await?)
}
