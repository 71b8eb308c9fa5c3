//! Classify: label scores of a text or a pair, on heads of any number of labels.

use sortie_engine::{Output, Task, Want, activate};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1;

use super::{
    convert::{activation, parse_inputs},
    work::run,
};
use crate::{
    models::{Registry, proto_activation},
    pipeline::{InferenceRequest, InputKind, Item, check_answer_size, check_list, item_info, text_rules},
};

/// Scores each input against the labels.
pub(super) async fn classify(
    registry: &Registry,
    context: &RequestContext,
    request: v1::ClassifyRequest,
) -> Result<v1::ClassifyResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
    let task = &served.info().task;
    let Task::SequenceClassification { labels, .. } = task else {
        return Err(served.wrong_task("Classify"));
    };
    check_list("inputs", &request.inputs, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    let activation = activation(served, request.activation, task.default_activation())?;
    check_answer_size(served, request.inputs.len(), labels.len().saturating_mul(size_of::<f32>()))?;
    let work = InferenceRequest {
        inputs: parse_inputs(request.inputs, &rules),
        input_kind: InputKind::Alone,
        want: Want::Logits,
    };
    let (items, chunk) = run(served, context, work).await?;
    let mut scores = Vec::with_capacity(items.len() * labels.len());
    for item in &items {
        match item {
            Ok(Item { output: Output::Logits(row), .. }) if row.len() == labels.len() => scores.extend_from_slice(row),
            _ => scores.extend(std::iter::repeat_n(f32::NAN, labels.len())),
        }
    }
    activate(&mut scores, labels.len(), activation);
    Ok(v1::ClassifyResponse {
        labels: labels.clone(),
        scores,
        activation: proto_activation(activation).into(),
        items: Some(item_info(&items)),
        chunk: Some(chunk),
    })
}
