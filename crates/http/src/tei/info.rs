//! `GET /info`: a model's facts in TEI's words.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use sortie_proto::v1::{ModelInfo, Pooling, Task};
use utoipa::ToSchema;

use crate::{
    door::Door,
    failure::HttpFailure,
    models::Need,
    reply::{Facts, JsonReply},
    request::Caller,
};

/// What TEI tells of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Info {
    model_id: String,
    model_sha: Option<String>,
    model_dtype: String,
    served_model_name: String,
    model_type: ModelType,
    max_concurrent_requests: u32,
    max_input_length: u32,
    max_batch_tokens: u32,
    max_batch_requests: Option<u32>,
    max_client_batch_size: u32,
    auto_truncate: bool,
    tokenization_workers: u32,
    version: &'static str,
    sha: Option<String>,
    docker_label: Option<String>,
}

/// The kind of the model; readers take the first key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ModelType {
    Classifier(Labels),
    Embedding(EmbeddingType),
    Reranker(Labels),
}

#[derive(Debug, Serialize, ToSchema)]
struct EmbeddingType {
    pooling: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Labels {
    id2label: BTreeMap<String, String>,
    label2id: BTreeMap<String, usize>,
}

/// A model's facts. With several models, `?model=NAME` says which.
#[utoipa::path(get, path = "/info", tag = "TEI", params(
    ("model" = Option<String>, Query, description = "Name of the model; may be left out where there is one only."),
), responses(
    (status = 200, description = "The model's facts.", body = Info),
    (status = "default", description = "TEI's failure.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn info(door: Door, caller: Arc<Caller>, query: String) -> Result<JsonReply, HttpFailure> {
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "model").map(|(_, value)| value);
    // Asked for with the caller's key, whatever is kept: whoever has none gets nothing.
    door.fresh_models(&caller).await?;
    let model = door.model(&caller, asked.as_deref(), Need::ANY).await?;
    let limits = model.limits.unwrap_or_default();
    let info = Info {
        model_id: model.name.clone(),
        model_sha: Some(model.revision.clone()).filter(|revision| !revision.is_empty()),
        model_dtype: dtype(&model.precision).to_owned(),
        served_model_name: model.name.clone(),
        model_type: kind(&model),
        max_concurrent_requests: door.options().max_concurrent_requests,
        max_input_length: model.max_length,
        max_batch_tokens: limits.max_batch_tokens,
        max_batch_requests: None,
        max_client_batch_size: if limits.max_items == 0 { u32::MAX } else { limits.max_items },
        auto_truncate: door.options().cut_by_default,
        tokenization_workers: door.options().tokenization_workers,
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    };
    JsonReply::json(&info, Facts::default())
}

fn dtype(precision: &str) -> &str {
    match precision {
        "f16" => "float16",
        "f32" => "float32",
        "bf16" => "bfloat16",
        other => other,
    }
}

fn kind(model: &ModelInfo) -> ModelType {
    let labels = || Labels {
        id2label: model.labels.iter().enumerate().map(|(id, label)| (id.to_string(), label.clone())).collect(),
        label2id: model.labels.iter().enumerate().map(|(id, label)| (label.clone(), id)).collect(),
    };
    match model.task() {
        Task::Rerank => ModelType::Reranker(labels()),
        Task::Classify | Task::Tag => ModelType::Classifier(labels()),
        Task::EmbedSparse => ModelType::Embedding(EmbeddingType { pooling: "splade".to_owned() }),
        Task::Embed | Task::LateInteraction | Task::Unspecified => {
            let pooling = match model.pooling() {
                Pooling::Last => "last_token".to_owned(),
                pooling => pooling.as_str_name().trim_start_matches("POOLING_").to_ascii_lowercase(),
            };
            ModelType::Embedding(EmbeddingType { pooling })
        }
    }
}
