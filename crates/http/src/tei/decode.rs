//! `POST /decode`: token ids back to text.

use serde::Deserialize;
use sortie_proto::v1::{DetokenizeRequest, Input, TokenIds, input::Kind as InputKind};
use utoipa::ToSchema;

use crate::{
    door::Door,
    embed::EmbedInput,
    failure::{FailureKind, HttpFailure, check_items},
    models::Need,
    reply::{Facts, JsonReply},
    request::{Incoming, parse},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct DecodeBody {
    model: Option<String>,
    #[schema(required = true, value_type = crate::openapi::Ids)]
    ids: Option<EmbedInput>,
    skip_special_tokens: Option<bool>,
}

/// Turns ids into texts.
#[utoipa::path(post, path = "/decode", tag = "TEI", request_body = DecodeBody, responses(
    (status = 200, description = "A text a sequence.", body = Vec<String>),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn decode(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let body: DecodeBody = parse(&incoming.body)?;
    let caller = &incoming.caller;
    let sequences = match body.ids {
        Some(EmbedInput::Ids(sequences)) => sequences,
        Some(EmbedInput::Texts(texts)) if texts.is_empty() => return Err(HttpFailure::empty("ids")),
        Some(EmbedInput::Texts(_)) => {
            return Err(HttpFailure::new(FailureKind::Shape, "`ids` holds texts, not ids").at("ids"));
        }
        None => return Err(HttpFailure::new(FailureKind::Shape, "missing field `ids`").at("ids")),
    };
    let model = door.model(caller, body.model.as_deref(), Need::DETOKENIZE).await?;
    let count = sequences.len();
    let input = |ids| Input { kind: Some(InputKind::Tokens(TokenIds { ids, type_ids: Vec::new() })) };
    let request = DetokenizeRequest {
        model: model.name.clone(),
        inputs: sequences.into_iter().map(input).collect(),
        skip_special_tokens: body.skip_special_tokens.unwrap_or(true),
    };
    let answer = door.detokenize(caller, request).await.map_err(|failure| failure.renamed(&[("inputs", "ids")]))?;
    let fate = check_items(answer.message.items.as_ref(), count, "ids", false)?;
    if answer.message.texts.len() != count {
        return Err(HttpFailure::other_count(answer.message.texts.len(), count));
    }
    JsonReply::json(&answer.message.texts, Facts::of(&model, None, fate, count, answer.load))
}
