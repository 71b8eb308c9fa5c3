//! Embed: dense vectors as bytes.

use sortie_engine::{EmbedSpec, Pooling, Task, Want};
use sortie_proto::v1;

use super::{
    convert::{parse_inputs, vector},
    work::run,
};
use crate::{
    context::RequestContext,
    errors::{ItemRefusal, ServeError},
    models::Registry,
    pipeline::{InferenceRequest, InputKind, check_answer_size, check_list, enum_value, item_info, text_rules},
    vectors::{VectorRows, width},
};

/// Turns inputs into dense vectors.
pub(super) async fn embed(
    registry: &Registry,
    context: &RequestContext,
    request: v1::EmbedRequest,
) -> Result<v1::EmbedResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served);
    let info = served.info();
    if info.task != Task::Embedding {
        return Err(served.wrong_task("Embed"));
    }
    check_list("inputs", &request.inputs, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    let format = match enum_value("format", request.format)? {
        v1::VectorFormat::Unspecified => v1::VectorFormat::F32,
        format => format,
    };
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
    check_answer_size(served, request.inputs.len(), dimensions.saturating_mul(width(format)))?;
    let spec = EmbedSpec {
        pooling,
        normalize: request.normalize,
        dimensions: (asked_dimensions > 0).then_some(asked_dimensions),
    };
    let work = InferenceRequest {
        inputs: parse_inputs(request.inputs, &rules),
        input_kind: InputKind::Alone,
        want: Want::Embedding(spec),
    };
    let (mut items, chunk) = run(served, context, work).await?;
    let mut rows = VectorRows::new(items.len(), dimensions, format);
    for item in &mut items {
        let written = vector(item).map(|row| rows.push(row));
        if written != Some(true) {
            rows.push_nan();
        }
        if written == Some(false) {
            *item = Err(ItemRefusal::overflow());
        }
    }
    Ok(v1::EmbedResponse {
        vectors: rows.into_bytes(),
        dimensions: u32::try_from(dimensions).unwrap_or(u32::MAX),
        format: format.into(),
        items: Some(item_info(&items)),
        chunk: Some(chunk),
    })
}
