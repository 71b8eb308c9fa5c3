//! Embed: dense vectors as bytes.

use sortie_engine::{EmbedSpec, Pooling, Ranges, Task, Want};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1;

use super::{
    convert::{in_windows, parse_inputs, vector},
    work::run,
};
use crate::{
    item_refusal::ItemRefusal,
    models::Registry,
    pipeline::{
        InferenceRequest, InputKind, check_answer_size, check_list, enum_value, item_info, text_rules, window_rule,
    },
    vectors::{NumberFormat, VectorRows},
};

/// Turns inputs into dense vectors.
pub(super) async fn embed(
    registry: &Registry,
    context: &RequestContext,
    request: v1::EmbedRequest,
) -> Result<v1::EmbedResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
    let info = served.info();
    if info.task != Task::Embedding {
        return Err(served.wrong_task("Embed"));
    }
    check_list("inputs", &request.inputs, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    let windows = window_rule(request.windows, &rules)?;
    if windows.is_some_and(|windows| windows.score.is_some()) {
        return Err(ServeError::bad_field(
            "windows.score",
            "Embed gives no scores; a text's vector is the mean of its windows'",
        ));
    }
    let format = NumberFormat::of(enum_value("format", request.format)?);
    let pooling = match enum_value("pooling", request.pooling)? {
        v1::Pooling::Unspecified => None,
        v1::Pooling::Cls => Some(Pooling::Cls),
        v1::Pooling::Mean => Some(Pooling::Mean),
        v1::Pooling::Max => Some(Pooling::Max),
        v1::Pooling::Last => Some(Pooling::Last),
        v1::Pooling::MeanSqrtLen => Some(Pooling::MeanSqrtLen),
        v1::Pooling::WeightedMean => Some(Pooling::WeightedMean),
    };
    let asked_dimensions = request.dimensions as usize;
    if asked_dimensions > info.dimensions {
        let model = served.name.clone();
        return Err(ServeError::BadDimensions { model, asked: request.dimensions, size: info.dimensions });
    }
    let dimensions = if asked_dimensions == 0 { info.dimensions } else { asked_dimensions };
    check_answer_size(served, request.inputs.len(), format.row_bytes(dimensions))?;
    let sent = request.ranges.map(|ranges| checked_ranges(ranges, format, dimensions)).transpose()?;
    let spec = EmbedSpec {
        pooling,
        normalize: request.normalize,
        dimensions: (asked_dimensions > 0).then_some(asked_dimensions),
    };
    let work = InferenceRequest {
        inputs: in_windows(parse_inputs(request.inputs, &rules), windows),
        input_kind: InputKind::Alone,
        want: Want::Embedding(spec),
    };
    let (mut items, chunk) = run(served, context, work).await?;
    let unit = request.normalize.unwrap_or(info.normalize);
    items.iter_mut().flatten().for_each(|item| item.join_vectors(unit));
    // Without ranges sent along, those of this request's vectors.
    let ranges = match sent {
        None if format.needs_ranges() => Ranges::of(items.iter().filter_map(vector)),
        sent => sent,
    };
    let mut rows = VectorRows::new(items.len(), dimensions, format, ranges.as_ref());
    for item in &mut items {
        let written = vector(item).map(|row| rows.push(row));
        if written != Some(true) {
            rows.push_failed();
        }
        if written == Some(false) {
            *item = Err(ItemRefusal::overflow());
        }
    }
    Ok(v1::EmbedResponse {
        vectors: rows.into_bytes(),
        dimensions: u32::try_from(dimensions).unwrap_or(u32::MAX),
        format: format.to_proto().into(),
        items: Some(item_info(&items)),
        chunk: Some(chunk),
        ranges: ranges.map(|Ranges { starts, ends }| v1::Ranges { starts, ends }),
    })
}

/// Ranges that were sent, for `dimensions` numbers.
fn checked_ranges(ranges: v1::Ranges, format: NumberFormat, dimensions: usize) -> Result<Ranges, ServeError> {
    let bad = |message: String| Err(ServeError::bad_field("ranges", message));
    let v1::Ranges { starts, ends } = ranges;
    if !format.needs_ranges() {
        return bad("only INT8 and UINT8 take ranges".to_owned());
    }
    if starts.len() != dimensions || ends.len() != dimensions {
        return bad(format!("{} starts and {} ends for {dimensions} dimensions", starts.len(), ends.len()));
    }
    match starts.iter().zip(&ends).position(|(start, end)| !(start.is_finite() && end.is_finite() && start <= end)) {
        Some(at) => bad(format!("dimension {at} is no range of finite numbers")),
        None => Ok(Ranges { starts, ends }),
    }
}
