//! EmbedTokens: a matrix a text, one row a token.

use bytes::Bytes;
use sortie_engine::{Output, Task, TokenVectors, Want};
use sortie_proto::v1::{self, VectorFormat};

use super::{convert::parse_inputs, work::run};
use crate::{
    context::RequestContext,
    errors::{ItemRefusal, ServeError},
    models::Registry,
    pipeline::{InferenceRequest, InputKind, Item, check_list, enum_value, item_info, text_rules},
    vectors::{NumberFormat, VectorRows},
};

/// Turns inputs into vectors of their tokens.
pub(super) async fn embed_tokens(
    registry: &Registry,
    context: &RequestContext,
    request: v1::EmbedTokensRequest,
) -> Result<v1::EmbedTokensResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served);
    let info = served.info();
    if !matches!(info.task, Task::LateInteraction | Task::Embedding) || !info.gives_tokens {
        return Err(served.wrong_task("EmbedTokens"));
    }
    check_list("inputs", &request.inputs, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    if info.task == Task::LateInteraction && rules.fit.role.is_none() {
        let message = "a late-interaction model reads queries and documents apart; say query or document";
        return Err(ServeError::bad_field("options.role", message));
    }
    let format = match enum_value("format", request.format)? {
        VectorFormat::Unspecified | VectorFormat::F32 => VectorFormat::F32,
        format @ (VectorFormat::F16 | VectorFormat::Int8 | VectorFormat::Ubinary) => format,
        VectorFormat::Uint8 | VectorFormat::Binary => {
            return Err(ServeError::bad_field("format", "token vectors come as F32, F16, INT8 or UBINARY"));
        }
    };
    let work = InferenceRequest {
        inputs: parse_inputs(request.inputs, &rules),
        input_kind: InputKind::Alone,
        want: Want::TokenEmbeddings,
    };
    let (mut items, chunk) = run(served, context, work).await?;
    let mut dimensions = 0;
    let mut matrices = Vec::with_capacity(items.len());
    for item in &mut items {
        let made = match item {
            Ok(Item { output: Output::TokenEmbeddings(vectors), .. }) => {
                dimensions = dimensions.max(vectors.dimensions);
                matrix(vectors, format, request.with_places)
            }
            _ => Some(v1::TokenMatrix::default()),
        };
        if made.is_none() {
            *item = Err(ItemRefusal::overflow());
        }
        matrices.push(made.unwrap_or_default());
    }
    Ok(v1::EmbedTokensResponse {
        matrices,
        dimensions: u32::try_from(dimensions).unwrap_or(u32::MAX),
        format: format.into(),
        items: Some(item_info(&items)),
        chunk: Some(chunk),
    })
}

/// The matrix in its format; `None` where a number does not fit it.
fn matrix(vectors: &TokenVectors, format: VectorFormat, with_places: bool) -> Option<v1::TokenMatrix> {
    let count = vectors.rows().len();
    let (bytes, scale) = if format == VectorFormat::Int8 {
        scaled(&vectors.values)
    } else {
        let mut rows = VectorRows::new(count, vectors.dimensions, NumberFormat::of(format), None);
        if !vectors.rows().all(|row| rows.push(row)) {
            return None;
        }
        (rows.into_bytes(), 0.0)
    };
    let tokens = if with_places { vectors.tokens.clone() } else { Vec::new() };
    Some(v1::TokenMatrix { rows: u32::try_from(count).unwrap_or(u32::MAX), vectors: bytes, tokens, scale })
}

/// Signed bytes of `values`, as two's complement, and what they are multiplied by to get the values back.
fn scaled(values: &[f32]) -> (Bytes, f32) {
    let largest = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let scale = if largest > 0.0 { largest / f32::from(i8::MAX) } else { 1.0 };
    let most = f32::from(i8::MAX);
    let byte = |x: &f32| ((x / scale).round().clamp(-most, most) as i8).to_le_bytes()[0];
    (values.iter().map(byte).collect(), scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_times_their_scale_are_the_numbers_again() {
        let values = [1.0, -2.0, 0.004, 0.0];
        let (bytes, scale) = scaled(&values);
        for (byte, x) in bytes.iter().zip(values) {
            assert!((f32::from(*byte as i8) * scale - x).abs() <= scale / 2.0 + 1e-6);
        }
        assert_eq!((bytes[1] as i8, scaled(&[0.0, 0.0])), (-127, (Bytes::from_static(&[0, 0]), 1.0)));
    }

    #[test]
    fn rows_of_bits_are_whole_bytes() {
        let vectors = TokenVectors { dimensions: 3, values: vec![1.0, -1.0, 1.0, -1.0, 1.0, 0.0], tokens: vec![0, 2] };
        let made = matrix(&vectors, VectorFormat::Ubinary, true).unwrap();
        assert_eq!((made.rows, made.vectors.as_ref(), made.tokens), (2, &[0b1010_0000, 0b0100_0000][..], vec![0, 2]));
        let vectors = TokenVectors { dimensions: 1, values: vec![1e9], tokens: vec![0] };
        assert!(matrix(&vectors, VectorFormat::F16, false).is_none());
    }
}
