//! `POST /weaviate/vectors`: vectors of one text or of several.

use serde::{Deserialize, Serialize};
use sortie_proto::v1::{ModelInfo, Pooling, TextOptions, Truncation};
use utoipa::ToSchema;

use crate::{
    door::Door,
    embed::{self, EmbedInput, apply_input_type, dimensions},
    failure::{FailureKind, HttpFailure},
    models::Need,
    reply::{JsonReply, NumberRow},
    request::{Incoming, parse},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct VectorsBody {
    model: Option<String>,
    text: Option<String>,
    texts: Option<Vec<String>>,
    config: Option<VectorConfig>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = WeaviateVectorsConfig)]
struct VectorConfig {
    /// `masked_mean`, which every module sends unless it is told otherwise, is the model's own; `cls` must be.
    pooling_strategy: Option<String>,
    /// `query` or `passage`.
    task_type: Option<String>,
    #[schema(minimum = 1)]
    dimensions: Option<i64>,
}

/// One vector.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OneVector<'a> {
    text: &'a str,
    dims: u32,
    vector: NumberRow<'a>,
    error: &'static str,
}

/// Several.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ManyVectors<'a> {
    vectors: Vec<NumberRow<'a>>,
    dims: u32,
    error: &'static str,
}

/// Turns texts into vectors.
#[utoipa::path(post, operation_id = "weaviate_vectors", path = "/weaviate/vectors", tag = "Weaviate", request_body = VectorsBody, responses(
    (status = 200, description = "The vector of `text`, or those of `texts`.", body = crate::openapi::WeaviateVectors),
    (status = "default", description = "The container's failure.", body = crate::openapi::WeaviateFailure),
))]
pub(crate) async fn vectors(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let body: VectorsBody = parse(&incoming.body)?;
    let caller = &incoming.caller;
    let (field, texts) = match (&body.text, body.texts) {
        (Some(text), None) => ("text", vec![text.clone()]),
        (None, Some(texts)) => ("texts", texts),
        (text, _) => {
            let found = if text.is_some() { "both are there" } else { "neither is there" };
            return Err(HttpFailure::new(FailureKind::Ambiguous, format!("send `text` or `texts`; {found}")));
        }
    };
    let model = door.model(caller, body.model.as_deref(), Need::EMBED).await?;
    let config = body.config.unwrap_or_default();
    check_pooling(&model, config.pooling_strategy.as_deref())?;
    let mut options = TextOptions { truncation: Truncation::DocumentOnly.into(), ..TextOptions::default() };
    apply_input_type(&mut options, &model, config.task_type.as_deref())
        .map_err(|failure| failure.renamed(&[("input_type", "config.task_type")]))?;
    let job = embed::EmbedJob {
        field,
        input: EmbedInput::Texts(texts),
        options,
        normalize: None,
        dimensions: dimensions("config.dimensions", config.dimensions)?,
        partial: false,
    };
    let embedded = embed::run(&door, caller, &model, job).await?;
    let rows = embedded.rows()?;
    let vectors: Vec<NumberRow<'_>> =
        (0..embedded.facts.items).map(|index| rows.row(index)).collect::<Result<_, _>>()?;
    let (dims, facts) = (embedded.dimensions(), embedded.facts.clone());
    match (&body.text, vectors.first()) {
        (Some(text), Some(vector)) => JsonReply::json(&OneVector { text, dims, vector: *vector, error: "" }, facts),
        _ => JsonReply::json(&ManyVectors { vectors, dims, error: "" }, facts),
    }
}

fn check_pooling(model: &ModelInfo, asked: Option<&str>) -> Result<(), HttpFailure> {
    match asked {
        None | Some("masked_mean" | "") => Ok(()),
        Some("cls") if model.pooling() == Pooling::Cls => Ok(()),
        Some(other) => {
            let own = model.pooling().as_str_name().trim_start_matches("POOLING_").to_ascii_lowercase();
            let why = format!("{other:?} is not served; {} pools by {own}", model.name);
            Err(HttpFailure::field("config.pooling_strategy", why))
        }
    }
}
