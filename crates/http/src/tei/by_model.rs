//! Routes whose meaning follows from the model: `POST /`, `/invocations` (SageMaker) and `/vertex`.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;
use sortie_proto::v1::Task;
use utoipa::ToSchema;

use super::{
    classify::predict_inputs, embed::embed_inputs, similarity::compare, sparse::sparse_inputs, tag::tag_inputs,
};
use crate::{
    door::Door,
    failure::{FailureKind, HttpFailure},
    models::Need,
    reply::{Facts, JsonReply},
    request::{Caller, Incoming, parse},
    rerank,
};

/// Instances of one request that are worked on at once: enough to fill a batch, and no flood.
const INSTANCES_AT_ONCE: usize = 16;

/// What tells the routes apart.
#[derive(Deserialize)]
struct RouteForm {
    model: Option<String>,
    inputs: Option<AnyInputs>,
}

/// Whether `inputs` is an object, which only `/similarity` has.
#[derive(Deserialize)]
#[serde(untagged)]
enum AnyInputs {
    Sentences {
        #[serde(rename = "source_sentence")]
        _source: IgnoredAny,
    },
    Other(IgnoredAny),
}

/// The route that a body is for, of those that a model decides.
#[utoipa::path(post, path = "/", tag = "TEI", request_body = crate::openapi::AnyBody, responses(
    (status = 200, description = "The answer of /rerank, /predict, /tag, /embed, /embed_sparse or /similarity, as the model has it."),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn by_model(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    one(&door, &incoming.caller, &incoming.body).await
}

async fn one(door: &Door, caller: &Caller, body: &[u8]) -> Result<JsonReply, HttpFailure> {
    let which: RouteForm = parse(body)?;
    if let Some(AnyInputs::Sentences { .. }) = which.inputs {
        return compare(door, caller, body).await;
    }
    let model = door.model(caller, which.model.as_deref(), Need::ANY).await?;
    match model.task() {
        Task::Rerank | Task::LateInteraction if which.inputs.is_none() => rerank::rerank_body(door, caller, body).await,
        Task::Rerank | Task::Classify => predict_inputs(door, caller, body).await,
        Task::Embed => embed_inputs(door, caller, body).await,
        Task::EmbedSparse => sparse_inputs(door, caller, body).await,
        Task::Tag => tag_inputs(door, caller, body).await,
        Task::LateInteraction | Task::Unspecified => {
            let why = format!("{} has no route of its own here; name one in the path", model.name);
            Err(HttpFailure::new(FailureKind::WrongTask, why).at("model"))
        }
    }
}

/// Bodies in one request, as Vertex AI sends them.
#[derive(Deserialize, ToSchema)]
pub(crate) struct VertexBody<'a> {
    #[serde(borrow)]
    #[schema(required = true, value_type = Vec<crate::openapi::AnyBody>)]
    instances: Option<Vec<&'a RawValue>>,
}

/// Answers of each.
#[derive(Serialize, ToSchema)]
pub(crate) struct VertexPredictions {
    #[schema(value_type = Vec<Value>)]
    predictions: Vec<Box<RawValue>>,
}

/// Answers each instance as `POST /` would.
#[utoipa::path(post, path = "/vertex", tag = "TEI", request_body = VertexBody<'_>, responses(
    (status = 200, description = "An answer an instance, in order.", body = VertexPredictions),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn vertex(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let body: VertexBody<'_> = parse(&incoming.body)?;
    let instances = body.instances.unwrap_or_default();
    if instances.is_empty() {
        return Err(HttpFailure::empty("instances"));
    }
    let caller = &incoming.caller;
    let mut calls = Vec::with_capacity(instances.len());
    for (index, instance) in instances.into_iter().enumerate() {
        let door = &door;
        calls.push(async move {
            let answer = one(door, caller, instance.get().as_bytes()).await;
            answer.map_err(|failure| failure.within(&format!("instances[{index}]")))
        });
    }
    let answers: Vec<JsonReply> = stream::iter(calls).buffered(INSTANCES_AT_ONCE).try_collect().await?;
    let mut predictions = Vec::with_capacity(answers.len());
    for answer in answers {
        let text = String::from_utf8(answer.body.into()).ok().and_then(|text| RawValue::from_string(text).ok());
        predictions.push(text.ok_or_else(|| HttpFailure::new(FailureKind::Backend, "an answer is no JSON"))?);
    }
    JsonReply::json(&VertexPredictions { predictions }, Facts::default())
}
