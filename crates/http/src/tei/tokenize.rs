//! `POST /tokenize`: what the tokenizer makes of texts.

use serde::{Deserialize, Serialize};
use sortie_proto::v1::{Input, TokenizeRequest, TokenizedInput, input::Kind as InputKind};
use utoipa::ToSchema;

use super::options::text_options;
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
pub(crate) struct TokenizeBody {
    model: Option<String>,
    #[schema(required = true, value_type = crate::openapi::OneOrMore)]
    inputs: Option<EmbedInput>,
    add_special_tokens: Option<bool>,
    prompt_name: Option<String>,
    truncate: Option<bool>,
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenEntry<'a> {
    id: u32,
    /// Its stretch of the text; of a special token and of one without a stretch the vocabulary's entry.
    text: &'a str,
    special: bool,
    /// Its first byte in the text.
    start: Option<u32>,
    /// One past its last byte.
    stop: Option<u32>,
}

/// Tokenizes. What is longer than the model reads is cut, and the headers say so.
#[utoipa::path(post, path = "/tokenize", tag = "TEI", request_body = TokenizeBody, responses(
    (status = 200, description = "A list of tokens a text.", body = Vec<Vec<TokenEntry<'_>>>),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn tokenize(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let body: TokenizeBody = parse(&incoming.body)?;
    let caller = &incoming.caller;
    let texts = match body.inputs {
        Some(EmbedInput::Texts(texts)) => texts,
        Some(EmbedInput::Ids(_)) => return Err(HttpFailure::field("inputs", "ids are tokens already; send texts")),
        None => return Err(HttpFailure::new(FailureKind::Shape, "missing field `inputs`").at("inputs")),
    };
    if texts.is_empty() {
        return Err(HttpFailure::empty("inputs"));
    }
    let model = door.model(caller, body.model.as_deref(), Need::TOKENIZE).await?;
    let input = |text: &String| Input { kind: Some(InputKind::Text(text.clone())) };
    let request = TokenizeRequest {
        model: model.name.clone(),
        inputs: texts.iter().map(input).collect(),
        options: Some(text_options(&door, body.truncate, None, body.prompt_name)?),
        without_special_tokens: body.add_special_tokens == Some(false),
    };
    let answer = door.tokenize(caller, request).await?;
    let message = answer.message;
    let fate = check_items(message.items.as_ref(), texts.len(), "inputs", false)?;
    if message.inputs.len() != texts.len() {
        return Err(HttpFailure::other_count(message.inputs.len(), texts.len()));
    }
    let lists: Vec<Vec<TokenEntry<'_>>> =
        message.inputs.iter().zip(&texts).map(|(made, text)| tokens(made, text)).collect();
    let characters = texts.iter().map(|text| text.chars().count()).sum();
    JsonReply::json(&lists, Facts { characters, ..Facts::of(&model, None, fate, texts.len(), answer.load) })
}

fn tokens<'a>(made: &'a TokenizedInput, text: &'a str) -> Vec<TokenEntry<'a>> {
    let token = |(index, id): (usize, &u32)| {
        let special = made.special.get(index).copied().unwrap_or_default();
        let entry = made.tokens.get(index).map(String::as_str).unwrap_or_default();
        let stretch = made.starts.get(index).copied().zip(made.ends.get(index).copied());
        let stretch = stretch.filter(|(start, stop)| !special && start < stop);
        let shown = stretch.and_then(|(start, stop)| text.get(start as usize..stop as usize));
        TokenEntry {
            id: *id,
            text: shown.unwrap_or(entry),
            special,
            start: stretch.map(|(start, _)| start),
            stop: stretch.map(|(_, stop)| stop),
        }
    };
    made.ids.iter().enumerate().map(token).collect()
}
