//! `POST /embed`: a row a text. Cohere's first version has the same path under `/v1`; its body has `texts`.

use serde::Deserialize;
use utoipa::ToSchema;

use super::options::text_options;
use crate::{
    cohere::{self, CohereEmbedBody, Version},
    door::Door,
    embed::{self, EmbedInput, apply_input_type, dimensions},
    failure::{FailureKind, Form, HttpFailure},
    models::Need,
    reply::{JsonReply, NumberRow},
    request::{Caller, Incoming, parse},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct EmbedBody {
    model: Option<String>,
    #[schema(required = true, value_type = crate::openapi::TextsOrIds)]
    inputs: Option<EmbedInput>,
    truncate: Option<bool>,
    truncation_direction: Option<String>,
    prompt_name: Option<String>,
    input_type: Option<String>,
    normalize: Option<bool>,
    #[schema(minimum = 1)]
    dimensions: Option<i64>,
}

/// Whose body it is.
#[derive(Deserialize)]
struct EmbedForm {
    inputs: Option<serde::de::IgnoredAny>,
    texts: Option<serde::de::IgnoredAny>,
    images: Option<serde::de::IgnoredAny>,
}

/// Turns texts into vectors.
#[utoipa::path(post, path = "/embed", tag = "TEI", request_body = EmbedBody, responses(
    (status = 200, description = "A row an input. With `texts` in place of `inputs`: Cohere's answer.", body = Vec<Vec<f32>>),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn embed(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let which: EmbedForm = parse(&incoming.body)?;
    match (which.inputs.is_some(), which.texts.is_some() || which.images.is_some()) {
        (true, true) => {
            Err(HttpFailure::new(FailureKind::Ambiguous, "send `inputs` (TEI) or `texts` (Cohere); both are there"))
        }
        (_, true) => {
            let body: CohereEmbedBody = parse(&incoming.body).map_err(|failure| failure.in_form(Form::Cohere))?;
            let answer = cohere::embed_texts(&door, &incoming.caller, body, Version::V1).await;
            answer.map_err(|failure| failure.in_form(Form::Cohere))
        }
        (_, false) => embed_inputs(&door, &incoming.caller, &incoming.body).await,
    }
}

/// The same for TEI's body alone.
pub(super) async fn embed_inputs(door: &Door, caller: &Caller, body: &[u8]) -> Result<JsonReply, HttpFailure> {
    let body: EmbedBody = parse(body)?;
    let input =
        body.inputs.ok_or_else(|| HttpFailure::new(FailureKind::Shape, "missing field `inputs`").at("inputs"))?;
    let model = door.model(caller, body.model.as_deref(), Need::EMBED).await?;
    let mut options = text_options(door, body.truncate, body.truncation_direction.as_deref(), body.prompt_name)?;
    apply_input_type(&mut options, &model, body.input_type.as_deref())?;
    let job = embed::EmbedJob {
        field: "inputs",
        input,
        options,
        normalize: Some(body.normalize.unwrap_or(true)),
        dimensions: dimensions("dimensions", body.dimensions)?,
        partial: false,
    };
    let embedded = embed::run(door, caller, &model, job).await?;
    let rows = embedded.rows()?;
    let rows: Vec<NumberRow<'_>> = (0..embedded.facts.items).map(|index| rows.row(index)).collect::<Result<_, _>>()?;
    JsonReply::json(&rows, embedded.facts.clone())
}
