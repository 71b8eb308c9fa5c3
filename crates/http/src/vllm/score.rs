//! `POST /score`: scores of pairs in the order sent. One text with many is a rerank without its order; as many with as
//! many are pairs.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sortie_proto::v1::{
    Activation, ClassifyRequest, Input, ModelInfo, TextOptions, TextPair, Truncation, input::Kind as InputKind,
};
use utoipa::ToSchema;

use super::unix::now;
use crate::{
    door::Door,
    failure::{FailureKind, HttpFailure, check_items},
    models::{Need, takes_instruction},
    reply::{Facts, JsonReply, Usage, finite},
    request::{Caller, Incoming, max_length, parse, side},
    rerank::{Documents, RerankWork, score_activation, score_documents},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ScoreBody {
    model: Option<String>,
    #[schema(value_type = Option<crate::openapi::DocumentList>)]
    text_1: Option<Documents>,
    #[schema(value_type = Option<crate::openapi::DocumentList>)]
    text_2: Option<Documents>,
    #[schema(value_type = Option<crate::openapi::DocumentList>)]
    queries: Option<Documents>,
    #[schema(value_type = Option<crate::openapi::DocumentList>)]
    documents: Option<Documents>,
    #[schema(value_type = Option<crate::openapi::DocumentList>)]
    items: Option<Documents>,
    #[schema(value_type = Option<crate::openapi::DocumentList>)]
    data_1: Option<Documents>,
    #[schema(value_type = Option<crate::openapi::DocumentList>)]
    data_2: Option<Documents>,
    use_activation: Option<bool>,
    activation: Option<bool>,
    truncate_prompt_tokens: Option<i64>,
    truncation_side: Option<String>,
    instruction: Option<String>,
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<Box<RawValue>>,
    chat_template: Option<String>,
}

/// vLLM's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScoreList<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    data: Vec<ScoreEntry>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct ScoreEntry {
    index: usize,
    object: &'static str,
    score: f32,
}

/// Two sides that are compared, and what the body calls them.
struct Sides {
    names: (&'static str, &'static str),
    texts: (Vec<String>, Vec<String>),
}

/// Scores pairs.
#[utoipa::path(post, path = "/score", tag = "vLLM", request_body = ScoreBody, responses(
    (status = 200, description = "A score a pair, in the order sent.", body = ScoreList<'_>),
    (status = "default", description = "vLLM's failure.", body = crate::openapi::NestedFailure),
))]
pub(crate) async fn score(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let mut body: ScoreBody = parse(&incoming.body)?;
    let caller = &incoming.caller;
    let sides = body.sides()?;
    if body.chat_template_kwargs.as_ref().is_some_and(|value| value.get() != "{}") || body.chat_template.is_some() {
        return Err(HttpFailure::field("chat_template", "is not served; the model's own template is used"));
    }
    let mut options = TextOptions {
        truncation: Truncation::DocumentOnly.into(),
        max_length: max_length("truncate_prompt_tokens", body.truncate_prompt_tokens)?,
        truncation_side: side("truncation_side", body.truncation_side.as_deref())?.into(),
        ..TextOptions::default()
    };
    let activated = body.use_activation.or(body.activation).unwrap_or(true);
    let (first, second) = (sides.texts.0.len(), sides.texts.1.len());
    if first != 1 && first != second {
        let (one, other) = sides.names;
        let why = format!("has {first} texts and `{other}` {second}; send one and any number, or as many");
        return Err(HttpFailure::field(one, why));
    }
    let need = if first == 1 { Need::RERANK } else { Need::SCORE_PAIRS };
    let model = door.model(caller, body.model.as_deref(), need).await?;
    if let Some(instruction) = body.instruction.filter(|text| !text.is_empty()) {
        if !takes_instruction(&model) {
            return Err(HttpFailure::field("instruction", format!("{} takes none", model.name)));
        }
        options.prompt = instruction;
    }
    let (scores, facts) = match first {
        1 => one_with_many(&door, caller, &model, sides, options, activated).await?,
        _ => pairs(&door, caller, &model, sides, options, activated).await?,
    };
    let entry = |(index, score): (usize, &f32)| ScoreEntry { index, object: "score", score: *score };
    let answer = ScoreList {
        id: format!("score-{}", uuid::Uuid::new_v4()),
        object: "list",
        created: now(),
        model: &model.name,
        data: scores.iter().enumerate().filter(|(_, score)| score.is_finite()).map(entry).collect(),
        usage: Usage::of(facts.fate.tokens),
    };
    JsonReply::json(&answer, facts.clone())
}

impl ScoreBody {
    /// The two sides, by whichever of their names they have.
    fn sides(&mut self) -> Result<Sides, HttpFailure> {
        let first = [("text_1", self.text_1.take()), ("queries", self.queries.take()), ("data_1", self.data_1.take())];
        let second = [
            ("text_2", self.text_2.take()),
            ("documents", self.documents.take()),
            ("items", self.items.take()),
            ("data_2", self.data_2.take()),
        ];
        let (first, first_texts) = only(first.into())?;
        let (second, second_texts) = only(second.into())?;
        Ok(Sides { names: (first, second), texts: (first_texts, second_texts) })
    }
}

/// The texts of the one field that is there.
fn only(fields: Vec<(&'static str, Option<Documents>)>) -> Result<(&'static str, Vec<String>), HttpFailure> {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let mut sent = fields.into_iter().filter_map(|(name, documents)| Some((name, documents?)));
    let (Some((name, documents)), None) = (sent.next(), sent.next()) else {
        let message = format!("send one of `{}`", names.join("`, `"));
        return Err(HttpFailure::new(FailureKind::Shape, message).at(names.first().copied().unwrap_or_default()));
    };
    let texts = documents.into_texts(name, None)?;
    if texts.is_empty() { Err(HttpFailure::empty(name)) } else { Ok((name, texts)) }
}

/// As a reranker scores documents; NaN for what failed where partial answers are taken.
async fn one_with_many(
    door: &Door,
    caller: &Caller,
    model: &ModelInfo,
    sides: Sides,
    options: TextOptions,
    activated: bool,
) -> Result<(Vec<f32>, Facts), HttpFailure> {
    let (mut queries, documents) = sides.texts;
    let query = queries.pop().unwrap_or_default();
    let job = RerankWork::new(sides.names.1, query, documents, options, score_activation(model, activated));
    let ranked = score_documents(door, caller, model, job)
        .await
        .map_err(|failure| failure.renamed(&[("query", sides.names.0)]))?;
    Ok((ranked.scores, ranked.facts))
}

/// As a classifier reads pairs: the one label's logit, or the distance of two.
async fn pairs(
    door: &Door,
    caller: &Caller,
    model: &ModelInfo,
    sides: Sides,
    options: TextOptions,
    activated: bool,
) -> Result<(Vec<f32>, Facts), HttpFailure> {
    let field = sides.names.1;
    if !matches!(model.labels.len(), 1 | 2) {
        let why = format!("{} has {} labels; only rerankers of one or two score pairs", model.name, model.labels.len());
        return Err(HttpFailure::new(FailureKind::WrongTask, why).at("model"));
    }
    let count = sides.texts.0.len();
    let texts = sides.texts.0.iter().chain(&sides.texts.1);
    let characters = texts.map(|text| text.chars().count()).sum();
    let pair = |(first, second)| Input { kind: Some(InputKind::Pair(TextPair { first, second })) };
    let request = ClassifyRequest {
        model: model.name.clone(),
        inputs: sides.texts.0.into_iter().zip(sides.texts.1).map(pair).collect(),
        options: Some(options),
        activation: if activated && model.labels.len() == 1 { Activation::Sigmoid } else { Activation::Raw }.into(),
    };
    let answer = door.classify(caller, request).await.map_err(|failure| failure.renamed(&[("inputs", field)]))?;
    let message = answer.message;
    let fate = check_items(message.items.as_ref(), count, field, caller.partial)?;
    let labels = message.labels.len();
    if labels != model.labels.len() || message.scores.len() != count * labels {
        return Err(HttpFailure::other_count(message.scores.len(), count * labels));
    }
    let mut scores = Vec::with_capacity(count);
    for (index, row) in message.scores.chunks(labels).enumerate() {
        let score = match row {
            _ if fate.is_failed(index) => f32::NAN,
            [score] => finite(*score, field, index)?,
            [first, second] if activated => finite(sigmoid(second - first), field, index)?,
            [first, second] => finite(second - first, field, index)?,
            _ => return Err(HttpFailure::other_count(row.len(), labels)),
        };
        scores.push(score);
    }
    Ok((scores, Facts { characters, ..Facts::of(model, message.chunk, fate, count, answer.load) }))
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
