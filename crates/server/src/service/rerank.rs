//! Rerank: a cross-encoder reads the query with each document; an embedding
//! model compares their vectors, and the answer says so.
//!
//! The query is tokenized (or embedded) once a request. It is never cut silently.

use std::sync::Arc;

use sortie_engine::{Activation, Output, Task, Want, activate};
use sortie_proto::{
    ranking::best,
    v1::{self, input::Kind},
};

use super::{
    convert::{activation, never_cut, parse_inputs},
    similarity::cosines,
    work::run_admitted,
};
use crate::{
    context::RequestContext,
    errors::ServeError,
    models::{Registry, Served},
    pipeline::{
        InferenceRequest, InputKind, ParsedInput, TextRules, admit, check_list, item_info, make_query, text_rules,
    },
};

/// Scores documents against a query.
pub(super) async fn rerank(
    registry: &Registry,
    context: &RequestContext,
    request: v1::RerankRequest,
) -> Result<v1::RerankResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served);
    let cosine = match &served.info().task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => false,
        Task::Embedding => true,
        _ => return Err(served.wrong_task("Rerank")),
    };
    let query = request.query.unwrap_or_default();
    check_query(&query, served)?;
    check_list("documents", &request.documents, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    if rules.prompt.as_ref().is_some_and(|p| p.asked) && matches!(query.kind, Some(Kind::Tokens(_))) {
        return Err(ServeError::bad_field("query", "a prompt goes before a text, not before ids"));
    }
    let activation = activation(request.activation, Activation::Raw)?;
    let documents = request.documents;
    let (scores, scoring, items, chunk) = if cosine {
        if activation != Activation::Raw {
            return Err(ServeError::bad_field("activation", "cosines of an embedding model take none"));
        }
        let (scores, items, chunk) = by_cosine(served, context, query, documents, &rules).await?;
        (scores, v1::Scoring::Cosine, items, chunk)
    } else {
        if activation == Activation::Softmax {
            return Err(ServeError::bad_field("activation", "softmax over the one label of a reranker is always 1"));
        }
        let (scores, items, chunk) = by_pairs(served, context, query, documents, &rules, activation).await?;
        (scores, v1::Scoring::CrossEncoder, items, chunk)
    };
    let order = best(&scores, request.top_n as usize);
    Ok(v1::RerankResponse { scores, order, scoring: scoring.into(), items: Some(items), chunk: Some(chunk) })
}

type Scored = (Vec<f32>, v1::ItemInfo, v1::ChunkInfo);

async fn by_pairs(
    served: &Arc<Served>,
    context: &RequestContext,
    query: v1::Input,
    documents: Vec<v1::Input>,
    rules: &TextRules,
    activation: Activation,
) -> Result<Scored, ServeError> {
    let inputs: Vec<_> =
        documents.into_iter().map(|input| ParsedInput { input, prompt: None, fit: rules.fit }).collect();
    let query = ParsedInput { input: query, prompt: rules.prompt.clone(), fit: rules.fit };
    // Before anything is tokenized: what is refused shall cost nothing.
    let admission = admit(served, context, &inputs, Some(&query))?;
    let query = make_query(served, context, query).await?;
    let work = InferenceRequest { inputs, input_kind: InputKind::Documents(query), want: Want::Logits };
    let (items, chunk) = run_admitted(served, context, admission, work).await?;
    let mut scores: Vec<f32> = items
        .iter()
        .map(|item| match item.as_ref().map(|i| &i.output) {
            Ok(Output::Logits(logits)) => logits.first().copied().unwrap_or(f32::NAN),
            _ => f32::NAN,
        })
        .collect();
    activate(&mut scores, 1, activation);
    Ok((scores, item_info(&items), chunk))
}

async fn by_cosine(
    served: &Arc<Served>,
    context: &RequestContext,
    query: v1::Input,
    documents: Vec<v1::Input>,
    rules: &TextRules,
) -> Result<Scored, ServeError> {
    // The prompt asked for is the query's; documents get what the folder gives every text.
    let for_documents = TextRules { prompt: rules.default_prompt.clone(), ..rules.clone() };
    let query = ParsedInput { input: query, prompt: rules.prompt.clone(), fit: never_cut(rules.fit) };
    cosines(served, context, "query", query, parse_inputs(documents, &for_documents), false).await
}

fn check_query(query: &v1::Input, served: &Served) -> Result<(), ServeError> {
    let limit = served.limits.max_text_bytes;
    match &query.kind {
        None => Err(ServeError::EmptyQuery),
        Some(Kind::Text(text)) if text.is_empty() => Err(ServeError::EmptyQuery),
        Some(Kind::Text(text)) if text.len() as u64 > limit => {
            Err(ServeError::bad_field("query", format!("the text has {} bytes; max_text_bytes is {limit}", text.len())))
        }
        Some(Kind::Text(_)) => Ok(()),
        Some(Kind::Tokens(tokens)) if tokens.ids.is_empty() => Err(ServeError::EmptyQuery),
        Some(Kind::Tokens(tokens)) if !tokens.type_ids.is_empty() => {
            Err(ServeError::bad_field("query", "the ids of a query take no type_ids; the pair template sets them"))
        }
        Some(Kind::Tokens(_)) => Ok(()),
        Some(Kind::Pair(_)) => Err(ServeError::bad_field("query", "a query is a text or ids, not a pair")),
    }
}
