//! `GET /v1/models`: what is served, aliases too. Routers and pages ask it to see whether anybody is there.

use std::{sync::Arc, time::UNIX_EPOCH};

use serde::Serialize;
use sortie_proto::v1::ModelInfo;
use utoipa::ToSchema;

use crate::{
    door::Door,
    failure::{FailureKind, HttpFailure},
    reply::{Facts, JsonReply},
    request::Caller,
};

/// A list of models.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpenAiModels {
    object: &'static str,
    data: Vec<OpenAiModel>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpenAiModel {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// The model that an alias stands for.
    root: String,
    /// What it was made for: `rerank`, `classify`, `tag`, `embed`, `embed_sparse` or `late_interaction`.
    task: String,
    max_model_len: u32,
}

/// Every model.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", responses(
    (status = 200, description = "Every model that is served, and every alias.", body = OpenAiModels),
    (status = "default", description = "OpenAI's failure.", body = crate::openapi::NestedFailure),
))]
pub(crate) async fn models(door: Door, caller: Arc<Caller>) -> Result<JsonReply, HttpFailure> {
    JsonReply::json(&OpenAiModels { object: "list", data: listed(&door, &caller).await? }, Facts::default())
}

/// One model.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "OpenAI", params(
    ("model" = String, Path, description = "Its name or an alias; a name may hold slashes."),
), responses(
    (status = 200, description = "The model.", body = OpenAiModel),
    (status = "default", description = "OpenAI's failure.", body = crate::openapi::NestedFailure),
))]
pub(crate) async fn model(door: Door, caller: Arc<Caller>, name: String) -> Result<JsonReply, HttpFailure> {
    let found = listed(&door, &caller).await?.into_iter().find(|model| model.id == name);
    let unknown = || HttpFailure::new(FailureKind::UnknownModel, format!("no model is named {name:?}")).at("model");
    JsonReply::json(&found.ok_or_else(unknown)?, Facts::default())
}

async fn listed(door: &Door, caller: &Caller) -> Result<Vec<OpenAiModel>, HttpFailure> {
    let models = door.fresh_models(caller).await?;
    let created = door.started().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let entry = |id: &str, info: &ModelInfo| OpenAiModel {
        id: id.to_owned(),
        object: "model",
        created,
        owned_by: "sortie",
        root: info.name.clone(),
        task: info.task().as_str_name().trim_start_matches("TASK_").to_ascii_lowercase(),
        max_model_len: info.max_length,
    };
    let aliases = door.options().aliases.iter().filter_map(|(alias, name)| {
        let known = models.iter().any(|model| model.name == *alias);
        let info = models.iter().find(|model| model.name == *name).filter(|_| !known)?;
        Some(entry(alias, info))
    });
    Ok(models.iter().map(|info| entry(&info.name, info)).chain(aliases).collect())
}
