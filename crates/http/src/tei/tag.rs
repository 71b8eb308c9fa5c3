//! `POST /tag`: labelled stretches of texts, in the form of the hub's token classification, which TEI does not have.

use serde::{Deserialize, Serialize};
use sortie_proto::v1::{Aggregation, Input, Span, TagTokensRequest, input::Kind as InputKind};
use utoipa::ToSchema;

use super::options::text_options;
use crate::{
    door::Door,
    failure::{FailureKind, HttpFailure, check_items},
    models::Need,
    reply::{Facts, JsonReply, finite},
    request::{Caller, Incoming, parse},
};

/// Fields of the message that a failure names, and where the caller wrote them.
const NAMES: [(&str, &str); 7] = [
    ("inputs", "inputs"),
    ("ignore_labels", "parameters.ignore_labels"),
    ("aggregation", "parameters.aggregation_strategy"),
    ("labels", "parameters.labels"),
    ("threshold", "parameters.threshold"),
    ("nested", "parameters.flat_ner"),
    ("multi_label", "parameters.multi_label"),
];

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TagBody {
    model: Option<String>,
    #[schema(required = true, value_type = crate::openapi::OneOrMore)]
    inputs: Option<TextList>,
    parameters: Option<TagParameters>,
    truncate: Option<bool>,
    truncation_direction: Option<String>,
}

/// A text or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TextList {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Default, Deserialize, ToSchema)]
struct TagParameters {
    /// How tokens are joined: `none`, `simple`, `first`, `average` or `max`; without it whole words.
    aggregation_strategy: Option<String>,
    /// Labels that are left out; `O` unless said.
    ignore_labels: Option<Vec<String>>,
    /// Windows with an overlap are not served.
    stride: Option<u32>,
    /// What to find, in words, for a model that takes its labels from the request; also as `candidate_labels`.
    #[serde(alias = "candidate_labels")]
    labels: Option<Vec<String>>,
    /// Only scores above it make a stretch, from 0 to 1; for such a model, 0.5 unless said.
    threshold: Option<f32>,
    /// No stretch lies within another; for such a model, true unless said.
    flat_ner: Option<bool>,
    /// A stretch may have several labels; for such a model, false unless said.
    multi_label: Option<bool>,
}

/// A labelled stretch of a text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundSpan<'a> {
    /// The label of a joined stretch.
    #[serde(skip_serializing_if = "Option::is_none")]
    entity_group: Option<&'a str>,
    /// The label of a token, where nothing is joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<&'a str>,
    score: f32,
    /// The stretch itself.
    word: &'a str,
    /// Its first character, counted from 0.
    start: usize,
    /// One past its last.
    end: usize,
}

/// Finds labelled stretches.
#[utoipa::path(post, path = "/tag", tag = "TEI", request_body = TagBody, responses(
    (status = 200, description = "Stretches in the order of the text; a list of those for a list of texts.", body = crate::openapi::TaggedTexts),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn tag(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    tag_inputs(&door, &incoming.caller, &incoming.body).await
}

pub(super) async fn tag_inputs(door: &Door, caller: &Caller, body: &[u8]) -> Result<JsonReply, HttpFailure> {
    let body: TagBody = parse(body)?;
    let inputs =
        body.inputs.ok_or_else(|| HttpFailure::new(FailureKind::Shape, "missing field `inputs`").at("inputs"))?;
    let parameters = body.parameters.unwrap_or_default();
    if parameters.stride.is_some_and(|stride| stride > 0) {
        let message = "`parameters.stride`: texts are read once, up to the model's length; leave it out";
        return Err(HttpFailure::new(FailureKind::Validation, message).at("parameters.stride"));
    }
    let aggregation = aggregation(parameters.aggregation_strategy.as_deref())?;
    let (texts, alone) = match inputs {
        TextList::One(text) => (vec![text], true),
        TextList::Many(texts) => (texts, false),
    };
    if texts.is_empty() {
        return Err(HttpFailure::empty("inputs"));
    }
    let model = door.model(caller, body.model.as_deref(), Need::TAG).await?;
    let joined = aggregation.unwrap_or(Aggregation::Words);
    let request = TagTokensRequest {
        model: model.name.clone(),
        inputs: texts.iter().map(|text| Input { kind: Some(InputKind::Text(text.clone())) }).collect(),
        options: Some(text_options(door, body.truncate, body.truncation_direction.as_deref(), None)?),
        // Labels of a request name whole stretches: there is nothing to join.
        aggregation: if model.labels_in_request { aggregation.unwrap_or_default() } else { joined }.into(),
        ignore_labels: parameters.ignore_labels.unwrap_or_default(),
        labels: parameters.labels.unwrap_or_default(),
        threshold: parameters.threshold,
        nested: !parameters.flat_ner.unwrap_or(true),
        multi_label: parameters.multi_label.unwrap_or_default(),
        ..TagTokensRequest::default()
    };
    let answer = door.tag_tokens(caller, request).await.map_err(|failure| failure.renamed(&NAMES))?;
    let message = answer.message;
    let fate = check_items(message.items.as_ref(), texts.len(), "inputs", false)?;
    if message.texts.len() != texts.len() {
        return Err(HttpFailure::other_count(message.texts.len(), texts.len()));
    }
    let mut found = Vec::with_capacity(texts.len());
    for (index, (text, tagged)) in texts.iter().zip(&message.texts).enumerate() {
        tagged.spans.iter().try_for_each(|span| finite(span.score, "inputs", index).map(drop))?;
        found.push(spans(text, &tagged.spans, joined == Aggregation::None)?);
    }
    let characters = texts.iter().map(|text| text.chars().count()).sum();
    let facts = Facts { characters, ..Facts::of(&model, message.chunk, fate, texts.len(), answer.load) };
    match found.first() {
        Some(only) if alone => JsonReply::json(only, facts),
        _ => JsonReply::json(&found, facts),
    }
}

/// How tokens are joined, by the names of transformers, where it is said.
fn aggregation(strategy: Option<&str>) -> Result<Option<Aggregation>, HttpFailure> {
    Ok(match strategy {
        None => None,
        Some("none") => Some(Aggregation::None),
        Some("simple") => Some(Aggregation::Simple),
        Some("first") => Some(Aggregation::First),
        Some("average") => Some(Aggregation::Average),
        Some("max") => Some(Aggregation::Max),
        Some(_) => {
            let message = "`parameters.aggregation_strategy` takes none, simple, first, average or max";
            return Err(HttpFailure::new(FailureKind::Validation, message).at("parameters.aggregation_strategy"));
        }
    })
}

/// Spans in characters instead of bytes.
fn spans<'a>(text: &'a str, spans: &'a [Span], single: bool) -> Result<Vec<FoundSpan<'a>>, HttpFailure> {
    let (mut bytes, mut characters) = (0, 0);
    let mut place = |offset: usize| {
        // They come in the order of the text; one that goes back is counted anew.
        if offset < bytes {
            (bytes, characters) = (0, 0);
        }
        characters += text.get(bytes..offset)?.chars().count();
        bytes = offset;
        Some(characters)
    };
    let outside = || HttpFailure::new(FailureKind::Backend, "a stretch does not lie within its text");
    let found = spans.iter().map(|span| {
        let (from, to) = (span.start as usize, span.end as usize);
        let (start, word) = (place(from).ok_or_else(outside)?, text.get(from..to).ok_or_else(outside)?);
        let end = place(to).ok_or_else(outside)?;
        let label = Some(span.label.as_str());
        let (entity_group, entity) = if single { (None, label) } else { (label, None) };
        Ok(FoundSpan { entity_group, entity, score: span.score, word, start, end })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u32, end: u32) -> Span {
        Span { label: "X".to_owned(), start, end, score: 0.5 }
    }

    #[test]
    fn places_are_counted_in_characters() {
        let text = "é — naïve";
        let all = [span(0, 2), span(7, 13), span(3, 6)];
        let found = spans(text, &all, false).unwrap();
        let words: Vec<_> = found.iter().map(|span| (span.word, span.start, span.end)).collect();
        assert_eq!(words, [("é", 0, 1), ("naïve", 4, 9), ("—", 2, 3)]);
        assert!(found.iter().all(|span| span.entity_group == Some("X") && span.entity.is_none()));
        assert!(spans(text, &all, true).unwrap().iter().all(|span| span.entity == Some("X")));
    }

    #[test]
    fn what_lies_outside_of_its_text_is_no_answer() {
        for (start, end) in [(0, 99), (1, 2), (3, 2)] {
            assert!(spans("é", &[span(start, end)], false).is_err(), "{start} {end}");
        }
    }
}
