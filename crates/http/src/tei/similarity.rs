//! `POST /similarity`: cosines of one text with others.

use serde::Deserialize;
use sortie_proto::v1::{Input, SimilarityRequest, input::Kind as InputKind};
use utoipa::ToSchema;

use super::options::text_options;
use crate::{
    door::Door,
    failure::{FailureKind, HttpFailure, check_items},
    models::Need,
    reply::{Facts, JsonReply, finite},
    request::{Caller, Incoming, parse},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SimilarityBody {
    model: Option<String>,
    #[schema(required = true)]
    inputs: Option<Sentences>,
    parameters: Option<Parameters>,
}

/// What is compared.
#[derive(Debug, Deserialize, ToSchema)]
struct Sentences {
    source_sentence: String,
    sentences: Vec<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
struct Parameters {
    truncate: Option<bool>,
    truncation_direction: Option<String>,
    prompt_name: Option<String>,
}

/// Compares a text with others.
#[utoipa::path(post, path = "/similarity", tag = "TEI", request_body = SimilarityBody, responses(
    (status = 200, description = "A cosine a sentence, in the order sent.", body = Vec<f32>),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn similarity(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    compare(&door, &incoming.caller, &incoming.body).await
}

pub(super) async fn compare(door: &Door, caller: &Caller, body: &[u8]) -> Result<JsonReply, HttpFailure> {
    const FIELD: &str = "inputs.sentences";
    let body: SimilarityBody = parse(body)?;
    let inputs =
        body.inputs.ok_or_else(|| HttpFailure::new(FailureKind::Shape, "missing field `inputs`").at("inputs"))?;
    if inputs.sentences.is_empty() {
        return Err(HttpFailure::empty(FIELD));
    }
    let model = door.model(caller, body.model.as_deref(), Need::SIMILARITY).await?;
    let parameters = body.parameters.unwrap_or_default();
    let direction = parameters.truncation_direction.as_deref();
    let options = text_options(door, parameters.truncate, direction, parameters.prompt_name)?;
    let count = inputs.sentences.len();
    let texts = inputs.sentences.iter().chain([&inputs.source_sentence]);
    let characters = texts.map(|text| text.chars().count()).sum();
    let text = |text: String| Input { kind: Some(InputKind::Text(text)) };
    let request = SimilarityRequest {
        model: model.name.clone(),
        source: Some(text(inputs.source_sentence)),
        texts: inputs.sentences.into_iter().map(text).collect(),
        options: Some(options),
    };
    let names = [("texts", FIELD), ("source", "inputs.source_sentence")];
    let answer = door.similarity(caller, request).await.map_err(|failure| failure.renamed(&names))?;
    let message = answer.message;
    let fate = check_items(message.items.as_ref(), count, FIELD, false)?;
    if message.scores.len() != count {
        return Err(HttpFailure::other_count(message.scores.len(), count));
    }
    message.scores.iter().enumerate().try_for_each(|(index, score)| finite(*score, FIELD, index).map(drop))?;
    let facts = Facts { characters, ..Facts::of(&model, message.chunk, fate, count, answer.load) };
    JsonReply::json(&message.scores, facts)
}
