//! Reranking in every dialect. They share the path and most fields; the body tells them apart: `texts` is TEI's, whose
//! answer is a list, `documents` that of Jina, vLLM and Cohere, whose answer is an object that serves all three.

mod answer;
mod body;
mod document;
mod limits;
mod work;

use self::{
    answer::{listed, results},
    body::RerankBody,
};
use crate::{
    door::Door,
    failure::{Failure, Form, Kind},
    models::Need,
    reply::Reply,
    request::{Caller, Incoming, parse},
};

/// What a route does where the body does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Documents come back with their scores.
    Jina,
    /// They do not, and failures are said as Cohere says them.
    CohereV2,
}

/// `POST /rerank`, `/v1/rerank`, `/v2/rerank`.
pub(crate) async fn rerank(door: Door, incoming: Incoming, habit: Habit) -> Result<Reply, Failure> {
    let body: RerankBody = parse(&incoming.body)?;
    drop(incoming.body);
    let caller = &incoming.caller;
    match (body.texts.is_some(), body.documents.is_some()) {
        (true, false) => tei(&door, caller, body).await.map_err(|failure| failure.in_form(Form::Tei)),
        (false, true) => {
            let model = door.model(caller, body.model.as_deref(), Need::RERANK).await?;
            let job = body.into_documents(&door, caller, &model, habit).await?;
            results(work::run(&door, caller, &model, job).await?, habit)
        }
        (both, _) => {
            let found = if both { "both are there" } else { "neither is there" };
            let message = format!("send `texts` (TEI) or `documents` (Jina, vLLM, Cohere); {found}");
            Err(Failure::new(Kind::Ambiguous, message))
        }
    }
}

async fn tei(door: &Door, caller: &Caller, body: RerankBody) -> Result<Reply, Failure> {
    let model = door.model(caller, body.model.as_deref(), Need::RERANK).await?;
    let job = body.into_tei(door, &model)?;
    listed(work::run(door, caller, &model, job).await?)
}
