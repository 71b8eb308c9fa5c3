//! `POST /embed_all`: a row a token, unpooled.

use serde::Deserialize;
use sortie_proto::v1::{EmbedTokensRequest, VectorFormat};
use utoipa::ToSchema;

use super::options::text_options;
use crate::{
    door::Door,
    embed::{EmbedInput, apply_input_type, read_inputs},
    failure::{FailureKind, HttpFailure, check_items},
    models::Need,
    reply::{Facts, JsonReply, NumberRow, NumberRows},
    request::{Incoming, parse},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct EmbedAllBody {
    model: Option<String>,
    #[schema(required = true, value_type = crate::openapi::TextsOrIds)]
    inputs: Option<EmbedInput>,
    truncate: Option<bool>,
    truncation_direction: Option<String>,
    prompt_name: Option<String>,
    /// A late-interaction model must be told: `query` or `document`.
    input_type: Option<String>,
}

/// Turns texts into the vectors of their tokens.
#[utoipa::path(post, path = "/embed_all", tag = "TEI", request_body = EmbedAllBody, responses(
    (status = 200, description = "A list a text, a row a token.", body = Vec<Vec<Vec<f32>>>),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn embed_all(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let body: EmbedAllBody = parse(&incoming.body)?;
    let caller = &incoming.caller;
    let input =
        body.inputs.ok_or_else(|| HttpFailure::new(FailureKind::Shape, "missing field `inputs`").at("inputs"))?;
    let model = door.model(caller, body.model.as_deref(), Need::EMBED_TOKENS).await?;
    let mut options = text_options(&door, body.truncate, body.truncation_direction.as_deref(), body.prompt_name)?;
    apply_input_type(&mut options, &model, body.input_type.as_deref())?;
    let read = read_inputs(&door, caller, &model, input, &options, "inputs").await?;
    let count = read.inputs.len();
    let request = EmbedTokensRequest {
        model: model.name.clone(),
        inputs: read.inputs,
        options: Some(options),
        format: VectorFormat::F32.into(),
        with_places: false,
    };
    let names = [("inputs", "inputs"), ("role", "input_type")];
    let answer = door.embed_tokens(caller, request).await.map_err(|failure| failure.renamed(&names))?;
    let mut fate = check_items(answer.message.items.as_ref(), count, "inputs", false)?;
    fate.also_truncated(read.truncated);
    if answer.message.matrices.len() != count {
        return Err(HttpFailure::other_count(answer.message.matrices.len(), count));
    }
    let width = answer.message.dimensions as usize;
    let mut lists: Vec<Vec<NumberRow<'_>>> = Vec::with_capacity(count);
    for (index, matrix) in answer.message.matrices.iter().enumerate() {
        let rows = NumberRows::new(&matrix.vectors, width, matrix.rows as usize, "inputs")?;
        lists.push((0..matrix.rows as usize).map(|row| rows.row_of(row, index)).collect::<Result<_, _>>()?);
    }
    let chunk = answer.message.chunk.clone();
    let facts = Facts { characters: read.characters, ..Facts::of(&model, chunk, fate, count, answer.load) };
    JsonReply::json(&lists, facts)
}
