//! Similarity: one text against many by the cosine of their vectors, made with
//! the model's own pooling and all dimensions. Also Rerank's way on an embedding
//! model, and on a late-interaction model by its own similarity.

use std::sync::Arc;

use sortie_engine::{Output, Task, Want, WindowScore, cosine};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1;

use super::{
    convert::{never_cut, parse_inputs, two_sides, vector},
    late_interaction::{bytes_of, compare_documents, in_order, take_sent},
    work::run,
};
use crate::{
    models::{Registry, Served},
    pipeline::{InferenceRequest, InputKind, Item, ParsedInput, check_list, item_info, text_rules},
};

/// Compares one text with many.
pub(super) async fn similarity(
    registry: &Registry,
    context: &RequestContext,
    request: v1::SimilarityRequest,
) -> Result<v1::SimilarityResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
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
    let source = ParsedInput { input: source, prompt: for_source.prompt, fit: never_cut(for_source.fit), stride: None };
    let many = Many { inputs: parse_inputs(request.texts, &for_texts), pairs: true, windows: None };
    let Compared { scores, items, chunk, .. } = compare(served, context, "source", source, many).await?;
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

/// What one text is compared with.
pub(super) struct Many {
    pub(super) inputs: Vec<ParsedInput>,
    /// Whether a pair of texts may be an item.
    pub(super) pairs: bool,
    /// What becomes of the scores of windows; the best counts where a request did not say.
    pub(super) windows: Option<WindowScore>,
}

/// Compares `first` with each of `many` by their vectors; NaN where an item failed. A `first` that fails is the
/// request's error, under the name `field`.
pub(super) async fn compare(
    served: &Arc<Served>,
    context: &RequestContext,
    field: &'static str,
    first: ParsedInput,
    many: Many,
) -> Result<Compared, ServeError> {
    let info = served.info();
    let late = (info.task == Task::LateInteraction).then(|| info.late_similarity.unwrap_or_default());
    let (sent, encoded) = match late {
        Some(_) => take_sent(many.inputs, info.dimensions),
        None => (Vec::new(), many.inputs),
    };
    // Before anything is tokenized: what is refused shall cost nothing.
    let memory = served.vector_memory.admit(bytes_of(&sent))?;
    let inputs = std::iter::once(first).chain(encoded).collect();
    let input_kind = InputKind::WithoutSpecials { pairs: many.pairs };
    let want = if late.is_some() { Want::TokenEmbeddings } else { Want::Embedding(info.embed) };
    let (mut items, chunk) = run(served, context, InferenceRequest { inputs, input_kind, want }).await?;
    let first = items.remove(0);
    if let Err(refusal) = &first {
        return Err(match refusal.reason {
            "TOO_LONG" => ServeError::QueryTooLong { field, message: refusal.message.clone() },
            "RUN_FAILED" | "NON_FINITE_OUTPUT" => ServeError::RunFailed(refusal.message.clone()),
            _ => ServeError::bad_field(field, refusal.message.clone()),
        });
    }
    let first_truncated = first.as_ref().is_ok_and(|item| item.truncated);
    let windows = many.windows.unwrap_or_default();
    let (scores, items) = match late {
        None => {
            let with = vector(&first).unwrap_or_default();
            let score = |output: &Output| match output {
                Output::Embedding(vector) => cosine(with, vector),
                _ => f32::NAN,
            };
            let score = |item: &Result<Item, _>| item.as_ref().map_or(f32::NAN, |item| item.score(windows, score));
            (items.iter().map(score).collect(), items)
        }
        Some(by) => compare_documents(context, first, in_order(items, sent), (by, windows), memory).await?,
    };
    Ok(Compared { scores, items: item_info(&items), chunk, first_truncated })
}
