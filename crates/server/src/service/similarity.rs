//! Similarity: one text against many by the cosine of their vectors, made with
//! the model's own pooling and all dimensions. Also Rerank's way on an embedding
//! model, and on a late-interaction model by its own similarity.

use std::sync::Arc;

use sortie_engine::{LateSimilarity, Output, Task, TokenVectors, Want, cosine, late_similarity};
use sortie_proto::v1;

use super::{
    convert::{never_cut, parse_inputs, two_sides, vector},
    work::run,
};
use crate::{
    context::RequestContext,
    errors::{ItemRefusal, ServeError},
    models::{Registry, Served},
    pipeline::{InferenceRequest, InputKind, Item, Items, ParsedInput, check_list, item_info, text_rules},
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
    let (for_source, for_texts) = two_sides(served, &rules);
    let source = ParsedInput { input: source, prompt: for_source.prompt, fit: never_cut(for_source.fit) };
    let texts = parse_inputs(request.texts, &for_texts);
    let Compared { scores, items, chunk, .. } = compare(served, context, "source", source, texts, true).await?;
    Ok(v1::SimilarityResponse { scores, items: Some(items), chunk: Some(chunk) })
}

/// One text compared with many.
pub(super) struct Compared {
    /// One score a text; NaN where it failed.
    pub(super) scores: Vec<f32>,
    /// Facts of the many.
    pub(super) items: v1::ItemInfo,
    pub(super) chunk: v1::ChunkInfo,
    /// Whether the one was cut.
    pub(super) first_truncated: bool,
}

/// Compares `first` with each of `others` by their vectors; NaN where an item failed. A `first` that fails is the
/// request's error, under the name `field`. `pairs` says whether a pair of texts may be an item.
pub(super) async fn compare(
    served: &Arc<Served>,
    context: &RequestContext,
    field: &'static str,
    first: ParsedInput,
    others: Vec<ParsedInput>,
    pairs: bool,
) -> Result<Compared, ServeError> {
    let mut all = Vec::with_capacity(others.len() + 1);
    all.push(first);
    all.extend(others);
    let info = served.info();
    let late = (info.task == Task::LateInteraction).then(|| info.late_similarity.unwrap_or_default());
    let want = if late.is_some() { Want::TokenEmbeddings } else { Want::Embedding(info.embed) };
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
    let first_truncated = first.as_ref().is_ok_and(|item| item.truncated);
    let facts = item_info(&items);
    let scores = match late {
        None => {
            let with = vector(&first).unwrap_or_default();
            items.iter().map(|item| vector(item).map_or(f32::NAN, |v| cosine(with, v))).collect()
        }
        // Milliseconds of arithmetic, which the threads that serve connections must not do.
        Some(by) => tokio::task::spawn_blocking(move || late_scores(&first, &items, by))
            .await
            .map_err(|_| ServeError::Internal("comparing token vectors panicked".to_owned()))?,
    };
    Ok(Compared { scores, items: facts, chunk, first_truncated })
}

fn late_scores(first: &Result<Item, ItemRefusal>, others: &Items, by: LateSimilarity) -> Vec<f32> {
    let with = token_vectors(first);
    let score = |item| late_similarity(with?, token_vectors(item)?, by);
    others.iter().map(|item| score(item).unwrap_or(f32::NAN)).collect()
}

fn token_vectors(item: &Result<Item, ItemRefusal>) -> Option<&TokenVectors> {
    match item {
        Ok(Item { output: Output::TokenEmbeddings(vectors), .. }) => Some(vectors),
        _ => None,
    }
}
