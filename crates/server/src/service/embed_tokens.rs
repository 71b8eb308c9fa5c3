//! EmbedTokens: a matrix a text, one row a token.

use sortie_engine::{Output, Task, Want};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1::{self, VectorFormat};

use super::{convert::parse_inputs, work::run};
use crate::{
    item_refusal::ItemRefusal,
    models::Registry,
    pipeline::{InferenceRequest, InputKind, Item, check_list, enum_value, item_info, text_rules},
    token_vectors::write_vectors,
};

/// Turns inputs into vectors of their tokens.
pub(super) async fn embed_tokens(
    registry: &Registry,
    context: &RequestContext,
    request: v1::EmbedTokensRequest,
) -> Result<v1::EmbedTokensResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
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
                write_vectors(vectors, format, request.with_places)
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
