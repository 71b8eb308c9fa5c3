//! Rerank: a cross-encoder reads the query with each document; an embedding or a
//! late-interaction model compares their vectors. The answer says which it was.
//!
//! The query is tokenized (or embedded) once a request. It is never cut silently.

use std::sync::Arc;

use sortie_engine::{Activation, LateSimilarity, Output, Problem, Role, Task, Want, activate};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::{
    ranking::best,
    v1::{self, input::Kind},
};

use super::{
    convert::{activation, in_windows, never_cut, parse_inputs, two_sides},
    similarity::{Compared, Many, compare},
    work::run_admitted,
};
use crate::{
    models::{Registry, Served},
    pipeline::{
        InferenceRequest, InputKind, ParsedInput, TextRules, WindowRule, admit, check_list, item_info, make_query,
        text_rules, window_rule,
    },
};

/// Scores documents against a query.
pub(super) async fn rerank(
    registry: &Registry,
    context: &RequestContext,
    request: v1::RerankRequest,
) -> Result<v1::RerankResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
    let info = served.info();
    let scoring = match &info.task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => v1::Scoring::CrossEncoder,
        Task::SequenceClassification { labels, problem: Problem::SingleLabel } if labels.len() == 2 => {
            v1::Scoring::LogitDifference
        }
        Task::Embedding => v1::Scoring::Cosine,
        Task::LateInteraction => match info.late_similarity.unwrap_or_default() {
            LateSimilarity::MaxSim => v1::Scoring::Maxsim,
            LateSimilarity::MeanMaxSim => v1::Scoring::MeanMaxsim,
        },
        _ => return Err(served.wrong_task("Rerank")),
    };
    let query = request.query.unwrap_or_default();
    check_query(&query, served)?;
    check_list("documents", &request.documents, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    if rules.prompt.as_ref().is_some_and(|p| p.asked) && matches!(query.kind, Some(Kind::Tokens(_))) {
        return Err(ServeError::bad_field("query", "a prompt goes before a text, not before ids"));
    }
    if rules.fit.role == Some(Role::Document) {
        return Err(ServeError::bad_field("options.role", "the query of Rerank is no document; say query or nothing"));
    }
    let windows = window_rule(request.windows, &rules)?;
    let documents = request.documents;
    let Compared { scores, items, chunk, first_truncated } = match info.task {
        Task::SequenceClassification { .. } => {
            let activation = score_activation(served, request.activation, scoring)?;
            by_pairs(served, context, (query, documents), &rules, windows, (scoring, activation)).await?
        }
        _ => {
            if activation(served, request.activation, Activation::Raw)? != Activation::Raw {
                return Err(ServeError::bad_field("activation", "cosines and other similarities of vectors take none"));
            }
            by_vectors(served, context, (query, documents), &rules, windows).await?
        }
    };
    let order = best(&scores, request.top_n as usize);
    Ok(v1::RerankResponse {
        scores,
        order,
        scoring: scoring.into(),
        items: Some(items),
        chunk: Some(chunk),
        query_truncated: first_truncated,
    })
}

/// What is done to the one score of a pair.
fn score_activation(served: &Served, asked: i32, scoring: v1::Scoring) -> Result<Activation, ServeError> {
    let found = activation(served, asked, Activation::Raw)?;
    if asked == v1::Activation::Model as i32 && scoring == v1::Scoring::LogitDifference && found != Activation::Raw {
        return Err(ServeError::NoModelActivation {
            model: served.name.clone(),
            why: "what its folder names is for two scores, and Rerank gives their difference".to_owned(),
        });
    }
    if found == Activation::Softmax {
        return Err(ServeError::bad_field("activation", "softmax over the one score of a pair is always 1"));
    }
    Ok(found)
}

async fn by_pairs(
    served: &Arc<Served>,
    context: &RequestContext,
    (query, documents): (v1::Input, Vec<v1::Input>),
    rules: &TextRules,
    windows: Option<WindowRule>,
    (scoring, activation): (v1::Scoring, Activation),
) -> Result<Compared, ServeError> {
    let stride = windows.map(|windows| windows.stride);
    let document = |input| ParsedInput { input, prompt: None, fit: rules.fit, stride };
    let inputs: Vec<_> = documents.into_iter().map(document).collect();
    let query = ParsedInput { input: query, prompt: rules.prompt.clone(), fit: rules.fit, stride: None };
    // Before anything is tokenized: what is refused shall cost nothing.
    let admission = admit(served, context, &inputs, Some(&query))?;
    let query = make_query(served, context, query).await?;
    let work = InferenceRequest { inputs, input_kind: InputKind::Documents(query), want: Want::Logits };
    let (items, chunk) = run_admitted(served, context, admission, work).await?;
    let score = |output: &Output| {
        let Output::Logits(logits) = output else { return f32::NAN };
        let mut score = match (scoring, logits.as_slice()) {
            (v1::Scoring::LogitDifference, [first, second]) => [second - first],
            (_, [score]) => [*score],
            _ => return f32::NAN,
        };
        activate(&mut score, 1, activation);
        score[0]
    };
    let by = windows.and_then(|windows| windows.score).unwrap_or_default();
    let scores = items.iter().map(|item| item.as_ref().map_or(f32::NAN, |item| item.score(by, score))).collect();
    // Where a query is cut, it is cut for each document, and the documents say so.
    Ok(Compared { scores, items: item_info(&items), chunk, first_truncated: false })
}

async fn by_vectors(
    served: &Arc<Served>,
    context: &RequestContext,
    (query, documents): (v1::Input, Vec<v1::Input>),
    rules: &TextRules,
    windows: Option<WindowRule>,
) -> Result<Compared, ServeError> {
    let (for_query, for_documents) = two_sides(served, rules);
    // A late-interaction model gives queries a length of their own, and its library cuts them to it.
    let fit = match served.info().task {
        Task::LateInteraction => for_query.fit,
        _ => never_cut(for_query.fit),
    };
    let query = ParsedInput { input: query, prompt: for_query.prompt, fit, stride: None };
    // The prompt asked for is the query's; documents get what the folder gives them.
    let documents = parse_inputs(documents, &for_documents.with_own_prompt(served.info()));
    let many = Many { inputs: in_windows(documents, windows), pairs: false, windows: windows.and_then(|w| w.score) };
    compare(served, context, "query", query, many).await
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
        Some(Kind::Pair(_) | Kind::Vectors(_)) => Err(ServeError::bad_field("query", "a query is a text or ids")),
    }
}
