//! Similarity: one text against many by the cosine of their vectors, made with
//! the model's own pooling and all dimensions. Also Rerank's way on an embedding
//! model.

use std::sync::Arc;

use sortie_engine::{Task, Want, cosine};
use sortie_proto::v1;

use super::{
    convert::{never_cut, parse_inputs, vector},
    work::run,
};
use crate::{
    context::RequestContext,
    errors::ServeError,
    models::{Registry, Served},
    pipeline::{InferenceRequest, InputKind, ParsedInput, check_list, item_info, text_rules},
};

/// Compares one text with many.
pub(super) async fn similarity(
    registry: &Registry,
    context: &RequestContext,
    request: v1::SimilarityRequest,
) -> Result<v1::SimilarityResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served);
    if served.info().task != Task::Embedding {
        return Err(served.wrong_task("Similarity"));
    }
    let source = request.source.unwrap_or_default();
    if source.kind.is_none() {
        return Err(ServeError::MissingInput { field: "source".to_owned() });
    }
    check_list("texts", &request.texts, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    let source = ParsedInput { input: source, prompt: rules.prompt.clone(), fit: never_cut(rules.fit) };
    let (scores, items, chunk) =
        cosines(served, context, "source", source, parse_inputs(request.texts, &rules), true).await?;
    Ok(v1::SimilarityResponse { scores, items: Some(items), chunk: Some(chunk) })
}

/// Cosines of `first` with each of `others`; NaN where an item failed. A `first` that fails is the
/// request's error, under the name `field`. `pairs` says whether a pair of texts may be an item.
pub(super) async fn cosines(
    served: &Arc<Served>,
    context: &RequestContext,
    field: &'static str,
    first: ParsedInput,
    others: Vec<ParsedInput>,
    pairs: bool,
) -> Result<(Vec<f32>, v1::ItemInfo, v1::ChunkInfo), ServeError> {
    let mut all = Vec::with_capacity(others.len() + 1);
    all.push(first);
    all.extend(others);
    let want = Want::Embedding(served.info().embed);
    let (mut items, chunk) =
        run(served, context, InferenceRequest { inputs: all, input_kind: InputKind::Pieces { pairs }, want }).await?;
    let first = items.remove(0);
    if let Err(refusal) = &first {
        return Err(match refusal.reason {
            "TOO_LONG" => ServeError::QueryTooLong { field, message: refusal.message.clone() },
            "RUN_FAILED" | "NON_FINITE_OUTPUT" => ServeError::RunFailed(refusal.message.clone()),
            _ => ServeError::bad_field(field, refusal.message.clone()),
        });
    }
    let with = vector(&first).unwrap_or_default();
    let scores = items.iter().map(|item| vector(item).map_or(f32::NAN, |v| cosine(with, v))).collect();
    Ok((scores, item_info(&items), chunk))
}
