//! TagTokens: labelled spans of texts, by byte offsets into what was sent.

use sortie_engine::{Aggregation, Entity, Output, Task, Want, activate, entities};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1::{self, input::Kind};

use super::{
    convert::{activation, parse_inputs},
    labelled,
    work::run,
};
use crate::{
    models::Registry,
    pipeline::{InferenceRequest, InputKind, Item, check_list, enum_value, item_info, text_rules},
};

/// Finds labelled spans.
pub(super) async fn tag_tokens(
    registry: &Registry,
    context: &RequestContext,
    request: v1::TagTokensRequest,
) -> Result<v1::TagTokensResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
    let task = &served.info().task;
    let labels = match task {
        Task::TokenClassification { labels } => labels,
        Task::ZeroShotTagging { .. } => {
            check_list("inputs", &request.inputs, served.limits.max_items)?;
            return labelled::tag(served, context, request).await;
        }
        _ => return Err(served.wrong_task("TagTokens")),
    };
    check_list("inputs", &request.inputs, served.limits.max_items)?;
    labelled::refuse_labels(&request)?;
    let rules = text_rules(served, request.options)?;
    let activation = activation(served, request.activation, task.default_activation())?;
    let aggregation = match enum_value("aggregation", request.aggregation)? {
        v1::Aggregation::None => Aggregation::None,
        v1::Aggregation::Simple => Aggregation::Simple,
        v1::Aggregation::First => Aggregation::First,
        v1::Aggregation::Average => Aggregation::Average,
        v1::Aggregation::Max => Aggregation::Max,
        v1::Aggregation::Unspecified | v1::Aggregation::Words => Aggregation::Words,
    };
    let how = (aggregation, served.model.tokenizer().word_rules());
    // Spans are of the only text, or the first of a pair.
    let texts: Vec<String> = request.inputs.iter().map(first_text).collect();
    let work = InferenceRequest {
        inputs: parse_inputs(request.inputs, &rules),
        input_kind: InputKind::Detailed { specials: true },
        want: Want::TokenLogits,
    };
    let (mut items, chunk) = run(served, context, work).await?;
    let texts = items
        .iter_mut()
        .zip(texts)
        .map(|(item, text)| match item {
            Ok(Item { output: Output::TokenLogits(rows), details, ids, .. }) => {
                activate(rows, labels.len(), activation);
                let found = entities(&text, (ids, details), rows, labels, how, &request.ignore_labels);
                let spans = found.into_iter().map(span).collect();
                let token_scores = if request.per_token_scores { std::mem::take(rows) } else { Vec::new() };
                v1::TaggedText { spans, token_scores }
            }
            _ => v1::TaggedText::default(),
        })
        .collect();
    Ok(v1::TagTokensResponse { texts, labels: labels.clone(), items: Some(item_info(&items)), chunk: Some(chunk) })
}

fn first_text(input: &v1::Input) -> String {
    match &input.kind {
        Some(Kind::Text(text)) => text.clone(),
        Some(Kind::Pair(pair)) => pair.first.clone(),
        Some(Kind::Tokens(_) | Kind::Vectors(_)) | None => String::new(),
    }
}

fn span(Entity { label, start, end, score }: Entity) -> v1::Span {
    let offset = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    v1::Span { label, start: offset(start), end: offset(end), score }
}
