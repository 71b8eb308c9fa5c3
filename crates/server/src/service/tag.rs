//! TagTokens: labelled spans of texts, by byte offsets into what was sent.

use sortie_engine::{Output, Task, Want, activate};
use sortie_proto::v1;

use super::{
    convert::{activation, own_activation, parse_inputs},
    work::run,
};
use crate::{
    context::RequestContext,
    errors::ServeError,
    models::Registry,
    pipeline::{InferenceRequest, InputKind, Item, check_list, enum_value, item_info, text_rules},
    token_spans::{Joining, Labels, spans},
};

/// Finds labelled spans.
pub(super) async fn tag_tokens(
    registry: &Registry,
    context: &RequestContext,
    request: v1::TagTokensRequest,
) -> Result<v1::TagTokensResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served);
    let task = &served.info().task;
    let Task::TokenClassification { labels } = task else {
        return Err(served.wrong_task("TagTokens"));
    };
    check_list("inputs", &request.inputs, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    let activation = activation(request.activation, own_activation(task))?;
    let joining = match enum_value("aggregation", request.aggregation)? {
        v1::Aggregation::None => Joining::None,
        v1::Aggregation::Unspecified | v1::Aggregation::Simple => Joining::Simple,
    };
    let read = Labels::new(labels, &request.ignore_labels);
    let work = InferenceRequest {
        inputs: parse_inputs(request.inputs, &rules),
        input_kind: InputKind::Detailed { specials: true },
        want: Want::TokenLogits,
    };
    let (mut items, chunk) = run(served, context, work).await?;
    let texts = items
        .iter_mut()
        .map(|item| match item {
            Ok(Item { output: Output::TokenLogits(rows), details, .. }) => {
                activate(rows, labels.len(), activation);
                let spans = spans(details, rows, &read, joining);
                let token_scores = if request.per_token_scores { std::mem::take(rows) } else { Vec::new() };
                v1::TaggedText { spans, token_scores }
            }
            _ => v1::TaggedText::default(),
        })
        .collect();
    Ok(v1::TagTokensResponse { texts, labels: labels.clone(), items: Some(item_info(&items)), chunk: Some(chunk) })
}
