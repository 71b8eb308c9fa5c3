//! `POST /classify`: the likeliest label of each text and the scores of all labels.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sortie_proto::{
    ranking::first,
    v1::{Activation, ClassifyRequest, Input, ModelInfo, TextOptions, Truncation, input::Kind as InputKind},
};
use utoipa::ToSchema;

use super::unix::now;
use crate::{
    door::Door,
    embed::EmbedInput,
    failure::{FailureKind, HttpFailure, check_items},
    models::Need,
    reply::{Facts, JsonReply, Usage, finite},
    request::{Incoming, max_length, parse, side},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ClassifyBody {
    model: Option<String>,
    #[schema(required = true, value_type = crate::openapi::OneOrMore)]
    input: Option<EmbedInput>,
    use_activation: Option<bool>,
    activation: Option<bool>,
    softmax: Option<bool>,
    truncate_prompt_tokens: Option<i64>,
    truncation_side: Option<String>,
    add_special_tokens: Option<bool>,
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<Box<RawValue>>,
}

/// vLLM's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Classification<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<ClassifiedText<'a>>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct ClassifiedText<'a> {
    index: usize,
    label: &'a str,
    /// In the order of the model's labels.
    probs: &'a [f32],
    num_classes: usize,
}

/// Classifies texts.
#[utoipa::path(post, path = "/classify", tag = "vLLM", request_body = ClassifyBody, responses(
    (status = 200, description = "A label a text, in the order sent.", body = Classification<'_>),
    (status = "default", description = "vLLM's failure.", body = crate::openapi::NestedFailure),
))]
pub(crate) async fn classify(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let body: ClassifyBody = parse(&incoming.body)?;
    let caller = &incoming.caller;
    if body.messages.is_some() {
        return Err(HttpFailure::field("messages", "conversations are not served; send texts as input"));
    }
    if body.add_special_tokens == Some(false) {
        return Err(HttpFailure::field("add_special_tokens", "false is not served; the model's template is used"));
    }
    let texts = match body.input {
        Some(EmbedInput::Texts(texts)) if !texts.is_empty() => texts,
        Some(EmbedInput::Ids(_)) => {
            return Err(HttpFailure::field("input", "token ids are not served here; send texts"));
        }
        _ => return Err(HttpFailure::empty("input")),
    };
    let model = door.model(caller, body.model.as_deref(), Need::CLASSIFY).await?;
    let activated = body.use_activation.or(body.activation).or(body.softmax).unwrap_or(true);
    let (count, characters) = (texts.len(), texts.iter().map(|text| text.chars().count()).sum());
    let request = ClassifyRequest {
        model: model.name.clone(),
        inputs: texts.into_iter().map(|text| Input { kind: Some(InputKind::Text(text)) }).collect(),
        options: Some(TextOptions {
            truncation: Truncation::DocumentOnly.into(),
            max_length: max_length("truncate_prompt_tokens", body.truncate_prompt_tokens)?,
            truncation_side: side("truncation_side", body.truncation_side.as_deref())?.into(),
            ..TextOptions::default()
        }),
        activation: activation(&model, activated).into(),
    };
    let answer = door.classify(caller, request).await.map_err(|failure| failure.renamed(&[("inputs", "input")]))?;
    let message = answer.message;
    let fate = check_items(message.items.as_ref(), count, "input", caller.partial)?;
    let classes = message.labels.len();
    if classes == 0 || classes != model.labels.len() || message.scores.len() != count * classes {
        return Err(HttpFailure::other_count(message.scores.len(), count * classes));
    }
    let mut data = Vec::with_capacity(count);
    for (index, probs) in message.scores.chunks(classes).enumerate().filter(|(index, _)| !fate.is_failed(*index)) {
        probs.iter().try_for_each(|score| finite(*score, "input", index).map(drop))?;
        let best = first(probs).ok_or_else(|| HttpFailure::new(FailureKind::Backend, "no label has a score"))?;
        data.push(ClassifiedText { index, label: &message.labels[best], probs, num_classes: classes });
    }
    let classification = Classification {
        id: format!("classify-{}", uuid::Uuid::new_v4()),
        object: "list",
        created: now(),
        model: &model.name,
        data,
        usage: Usage::of(fate.tokens),
    };
    let chunk = message.chunk.clone();
    JsonReply::json(&classification, Facts { characters, ..Facts::of(&model, chunk, fate.clone(), count, answer.load) })
}

/// The model's own, but one label is a probability unless it is a regression's.
fn activation(model: &ModelInfo, activated: bool) -> Activation {
    match model.labels.len() {
        _ if !activated => Activation::Raw,
        1 if model.problem_type != "regression" => Activation::Sigmoid,
        _ => Activation::Unspecified,
    }
}
