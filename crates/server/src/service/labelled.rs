//! TagTokens of a model whose labels come with the request.

use std::sync::Arc;

use sortie_engine::{DEFAULT_THRESHOLD, Output, SpanRules, Truncation, Want};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1;

use super::{convert::parse_inputs, work::run_admitted};
use crate::{
    item_refusal::ItemRefusal,
    models::Served,
    pipeline::{
        InferenceRequest, InputKind, Item, ParsedInput, RequestLabels, admit, enum_value, item_info, text_rules,
    },
};

/// Finds what the labels of the request name.
pub(super) async fn tag(
    served: &Arc<Served>,
    context: &RequestContext,
    mut request: v1::TagTokensRequest,
) -> Result<v1::TagTokensResponse, ServeError> {
    refuse_fields_of_other_models(&request)?;
    let rules = SpanRules {
        threshold: threshold(request.threshold)?,
        nested: request.nested,
        multi_label: request.multi_label,
    };
    let asked = request.options.as_ref().map_or(0, |options| options.truncation);
    let mut text = text_rules(served, request.options)?;
    if text.prompt.is_some() {
        return Err(ServeError::bad_field("options.prompt", "nothing goes before a text but the labels"));
    }
    // What is not read is not found: a text is cut where a caller says so, and nowhere else.
    if enum_value::<v1::Truncation>("options.truncation", asked)? == v1::Truncation::Unspecified {
        text.fit.truncation = Truncation::Error;
    }
    let inputs = parse_inputs(request.inputs, &text);
    let beside = ParsedInput::labels(&request.labels);
    let labels = Arc::new(RequestLabels::new(std::mem::take(&mut request.labels)));
    let admission = admit(served, context, &inputs, Some(&beside))?;
    let work =
        InferenceRequest { inputs, input_kind: InputKind::Labelled(Arc::clone(&labels)), want: Want::SpanScores };
    let (mut items, chunk) = run_admitted(served, context, admission, work).await?;
    let names = labels.names();
    let texts = items.iter_mut().map(|item| tagged(item, &rules, names)).collect();
    Ok(v1::TagTokensResponse { texts, labels: names.to_vec(), items: Some(item_info(&items)), chunk: Some(chunk) })
}

/// The spans of one text. One that has too many becomes its item's refusal.
fn tagged(item: &mut Result<Item, ItemRefusal>, rules: &SpanRules, names: &[String]) -> v1::TaggedText {
    let Ok(Item { output: Output::SpanScores(scores), places: Some(places), .. }) = item else {
        return v1::TaggedText::default();
    };
    match scores.spans(rules) {
        Ok(found) => {
            let spans = found.iter().filter_map(|span| {
                let (first, last) = (places.words.get(span.first)?, places.words.get(span.last)?);
                let label = names.get(span.label)?.clone();
                Some(v1::Span { label, start: offset(first.start), end: offset(last.end), score: span.score })
            });
            v1::TaggedText { spans: spans.collect(), token_scores: Vec::new() }
        }
        Err(error) => {
            *item = Err(ItemRefusal { reason: "TOO_MANY_SPANS", message: error.to_string() });
            v1::TaggedText::default()
        }
    }
}

fn offset(byte: usize) -> u32 {
    u32::try_from(byte).unwrap_or(u32::MAX)
}

fn threshold(asked: Option<f32>) -> Result<f32, ServeError> {
    match asked {
        None => Ok(DEFAULT_THRESHOLD),
        Some(x) if (0.0..=1.0).contains(&x) => Ok(x),
        Some(x) => Err(ServeError::bad_field("threshold", format!("it is {x}, not from 0 to 1"))),
    }
}

/// Refuses what says how token labels become spans.
fn refuse_fields_of_other_models(request: &v1::TagTokensRequest) -> Result<(), ServeError> {
    let activation = enum_value::<v1::Activation>("activation", request.activation)?;
    for (field, is_set) in [
        ("aggregation", request.aggregation != v1::Aggregation::Unspecified as i32),
        ("per_token_scores", request.per_token_scores),
        ("activation", !matches!(activation, v1::Activation::Unspecified | v1::Activation::Sigmoid)),
        ("ignore_labels", !request.ignore_labels.is_empty()),
    ] {
        if is_set {
            return Err(ServeError::bad_field(
                field,
                "it is for models that label tokens; this one's labels come with the request",
            ));
        }
    }
    Ok(())
}

/// Refuses what only a model whose labels come with the request obeys.
pub(super) fn refuse_labels(request: &v1::TagTokensRequest) -> Result<(), ServeError> {
    for (field, is_set) in [
        ("labels", !request.labels.is_empty()),
        ("threshold", request.threshold.is_some()),
        ("nested", request.nested),
        ("multi_label", request.multi_label),
    ] {
        if is_set {
            return Err(ServeError::bad_field(
                field,
                "it is for models whose labels come with the request; this one has its own",
            ));
        }
    }
    Ok(())
}
