//! `POST /predict`: labels of texts or pairs, the likeliest first.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use sortie_proto::{
    ranking::best,
    v1::{Activation, ClassifyRequest, Input, TextPair, input::Kind as InputKind},
};
use utoipa::ToSchema;

use super::options::pair_options;
use crate::{
    door::Door,
    failure::{FailureKind, HttpFailure, check_items},
    models::Need,
    reply::{Facts, JsonReply, finite},
    request::{Caller, Incoming, parse},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PredictBody {
    model: Option<String>,
    #[schema(required = true, value_type = crate::openapi::PredictInputs)]
    inputs: Option<PredictInput>,
    raw_scores: Option<bool>,
    truncate: Option<bool>,
    truncation_direction: Option<String>,
}

/// A text; a pair, which is a list of two texts; or a list of lists of one or two texts.
#[derive(Debug)]
enum PredictInput {
    One(Input),
    Many(Vec<Input>),
}

/// A label and its score.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Prediction<'a> {
    score: f32,
    label: &'a str,
}

/// Classifies.
#[utoipa::path(post, path = "/predict", tag = "TEI", request_body = PredictBody, responses(
    (status = 200, description = "Labels by falling score; a list of those for a list of lists.", body = crate::openapi::Predictions),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn predict(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    predict_inputs(&door, &incoming.caller, &incoming.body).await
}

pub(super) async fn predict_inputs(door: &Door, caller: &Caller, body: &[u8]) -> Result<JsonReply, HttpFailure> {
    let body: PredictBody = parse(body)?;
    let input =
        body.inputs.ok_or_else(|| HttpFailure::new(FailureKind::Shape, "missing field `inputs`").at("inputs"))?;
    let model = door.model(caller, body.model.as_deref(), Need::CLASSIFY).await?;
    let (inputs, alone) = match input {
        PredictInput::One(input) => (vec![input], true),
        PredictInput::Many(inputs) => (inputs, false),
    };
    if inputs.is_empty() {
        return Err(HttpFailure::empty("inputs"));
    }
    let activation = match model.labels.len() {
        _ if body.raw_scores == Some(true) => Activation::Raw,
        1 => Activation::Sigmoid,
        // Even where labels do not exclude one another: TEI knows no other.
        _ => Activation::Softmax,
    };
    let (count, characters) = (inputs.len(), inputs.iter().map(characters).sum());
    let request = ClassifyRequest {
        model: model.name.clone(),
        inputs,
        options: Some(pair_options(door, &model, body.truncate, body.truncation_direction.as_deref())?),
        activation: activation.into(),
    };
    let answer = door.classify(caller, request).await?;
    let message = answer.message;
    let fate = check_items(message.items.as_ref(), count, "inputs", false)?;
    if message.labels.is_empty()
        || message.labels.len() != model.labels.len()
        || message.scores.len() != count * message.labels.len()
    {
        return Err(HttpFailure::other_count(message.scores.len(), count * message.labels.len()));
    }
    let mut rows = Vec::with_capacity(count);
    for (index, scores) in message.scores.chunks(message.labels.len()).enumerate() {
        scores.iter().try_for_each(|score| finite(*score, "inputs", index).map(drop))?;
        let prediction =
            |label: u32| Prediction { score: scores[label as usize], label: &message.labels[label as usize] };
        rows.push(best(scores, scores.len()).into_iter().map(prediction).collect::<Vec<_>>());
    }
    let facts = Facts { characters, ..Facts::of(&model, message.chunk.clone(), fate, count, answer.load) };
    match rows.first() {
        Some(row) if alone => JsonReply::json(row, facts),
        _ => JsonReply::json(&rows, facts),
    }
}

fn characters(input: &Input) -> usize {
    match &input.kind {
        Some(InputKind::Text(text)) => text.chars().count(),
        Some(InputKind::Pair(pair)) => pair.first.chars().count() + pair.second.chars().count(),
        _ => 0,
    }
}

/// One or two texts as an input.
fn joined(mut texts: Vec<String>) -> Option<Input> {
    let kind = match (texts.pop(), texts.pop(), texts.pop()) {
        (Some(text), None, _) => InputKind::Text(text),
        (Some(second), Some(first), None) => InputKind::Pair(TextPair { first, second }),
        _ => return None,
    };
    Some(Input { kind: Some(kind) })
}

/// What an element of the outer list may be.
#[derive(Deserialize)]
#[serde(untagged)]
enum PredictElement {
    Text(String),
    Texts(Vec<String>),
}

impl<'de> Deserialize<'de> for PredictInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = PredictInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a list of one or two texts, or a list of such lists")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PredictInput, E> {
                Ok(PredictInput::One(Input { kind: Some(InputKind::Text(text.to_owned())) }))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PredictInput, A::Error> {
                let wrong =
                    || A::Error::custom("a list of one or two texts is one input; more inputs are lists in a list");
                let mut texts = Vec::new();
                let mut many = Vec::new();
                while let Some(element) = seq.next_element()? {
                    match element {
                        PredictElement::Text(text) if many.is_empty() && texts.len() < 2 => texts.push(text),
                        PredictElement::Texts(input) if texts.is_empty() => many.push(joined(input).ok_or_else(wrong)?),
                        _ => return Err(wrong()),
                    }
                }
                match joined(texts) {
                    Some(input) => Ok(PredictInput::One(input)),
                    None => Ok(PredictInput::Many(many)),
                }
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of each input, and whether it stood alone.
    fn read(json: &str) -> Option<(Vec<usize>, bool)> {
        let texts = |input: &Input| match &input.kind {
            Some(InputKind::Text(_)) => 1,
            Some(InputKind::Pair(_)) => 2,
            _ => 0,
        };
        match serde_json::from_str(json).ok()? {
            PredictInput::One(input) => Some((vec![texts(&input)], true)),
            PredictInput::Many(inputs) => Some((inputs.iter().map(texts).collect(), false)),
        }
    }

    #[test]
    fn a_list_of_texts_is_one_input_and_lists_are_many() {
        assert_eq!(read(r#""a""#), Some((vec![1], true)));
        assert_eq!(read(r#"["a"]"#), Some((vec![1], true)));
        assert_eq!(read(r#"["a", "b"]"#), Some((vec![2], true)));
        assert_eq!(read(r#"[["a"], ["b", "c"]]"#), Some((vec![1, 2], false)));
        assert_eq!(read("[]"), Some((vec![], false)));
        for json in [r#"["a", "b", "c"]"#, r#"[["a", "b", "c"]]"#, "[[]]", r#"["a", ["b"]]"#, r#"[["a"], "b"]"#, "7"] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
