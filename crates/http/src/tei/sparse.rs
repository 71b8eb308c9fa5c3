//! `POST /embed_sparse`: weights of vocabulary entries.

use serde::{Deserialize, Serialize};
use sortie_proto::v1::EmbedSparseRequest;
use utoipa::ToSchema;

use super::options::text_options;
use crate::{
    door::Door,
    embed::{EmbedInput, read_inputs},
    failure::{FailureKind, HttpFailure, check_items},
    models::Need,
    reply::{Facts, JsonReply, finite},
    request::{Caller, Incoming, parse},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct EmbedSparseBody {
    model: Option<String>,
    #[schema(required = true, value_type = crate::openapi::TextsOrIds)]
    inputs: Option<EmbedInput>,
    truncate: Option<bool>,
    truncation_direction: Option<String>,
    prompt_name: Option<String>,
}

/// An entry above zero.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Weight {
    index: u32,
    value: f32,
}

/// Turns texts into sparse vectors.
#[utoipa::path(post, path = "/embed_sparse", tag = "TEI", request_body = EmbedSparseBody, responses(
    (status = 200, description = "A list of entries a text, by index.", body = Vec<Vec<Weight>>),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn embed_sparse(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    sparse_inputs(&door, &incoming.caller, &incoming.body).await
}

pub(super) async fn sparse_inputs(door: &Door, caller: &Caller, body: &[u8]) -> Result<JsonReply, HttpFailure> {
    let body: EmbedSparseBody = parse(body)?;
    let input =
        body.inputs.ok_or_else(|| HttpFailure::new(FailureKind::Shape, "missing field `inputs`").at("inputs"))?;
    let model = door.model(caller, body.model.as_deref(), Need::EMBED_SPARSE).await?;
    let options = text_options(door, body.truncate, body.truncation_direction.as_deref(), body.prompt_name)?;
    let read = read_inputs(door, caller, &model, input, &options, "inputs").await?;
    let count = read.inputs.len();
    let request =
        EmbedSparseRequest { model: model.name.clone(), inputs: read.inputs, options: Some(options), top_k: 0 };
    let answer = door.embed_sparse(caller, request).await?;
    let message = answer.message;
    let mut fate = check_items(message.items.as_ref(), count, "inputs", false)?;
    fate.also_truncated(read.truncated);
    if message.offsets.len() != count + 1 || message.indices.len() != message.weights.len() {
        return Err(HttpFailure::other_count(message.offsets.len().saturating_sub(1), count));
    }
    let mut lists = Vec::with_capacity(count);
    for (input, ends) in message.offsets.windows(2).enumerate() {
        let range = ends[0] as usize..ends[1] as usize;
        let entries = message.indices.get(range.clone()).zip(message.weights.get(range));
        let (indices, weights) =
            entries.ok_or_else(|| HttpFailure::new(FailureKind::Backend, "offsets beyond the entries"))?;
        let weight =
            |(index, weight): (&u32, &f32)| Ok(Weight { index: *index, value: finite(*weight, "inputs", input)? });
        lists.push(indices.iter().zip(weights).map(weight).collect::<Result<Vec<_>, HttpFailure>>()?);
    }
    let facts = Facts { characters: read.characters, ..Facts::of(&model, message.chunk, fate, count, answer.load) };
    JsonReply::json(&lists, facts)
}
