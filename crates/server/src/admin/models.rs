//! Models over the admin port: look, load, swap, unload.
//!
//! A change answers when it is done: a load once the model is warm and served, so
//! that `curl --fail` in a script means what it says.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use serde::Serialize;

use super::Admin;
use crate::{
    config::ModelSpec,
    model_manager::ModelManager,
    models::{ChangeError, Served},
};

pub(super) fn router(change: bool) -> Router<Arc<Admin>> {
    let router = Router::new();
    if change {
        router.route("/models", get(list).merge(post(load))).route("/models/{name}", put(swap).delete(unload))
    } else {
        router.route("/models", get(list))
    }
}

/// One model as the list has it.
#[derive(Serialize)]
struct ModelSummary {
    name: String,
    revision: String,
    state: &'static str,
    task: &'static str,
    rpcs: Vec<String>,
    engine: String,
    device: String,
    precision: String,
    max_length: u32,
}

impl ModelSummary {
    fn of(served: &Served) -> Self {
        let about = served.describe();
        Self {
            state: plain(about.state().as_str_name(), "MODEL_STATE_"),
            task: plain(about.task().as_str_name(), "TASK_"),
            name: about.name,
            revision: about.revision,
            rpcs: about.rpcs,
            engine: about.engine,
            device: about.device,
            precision: about.precision,
            max_length: about.max_length,
        }
    }
}

fn plain(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// A refusal: the code and one sentence.
struct AdminRefusal(StatusCode, String);

impl AdminRefusal {
    fn bad(message: impl Into<String>) -> Self {
        AdminRefusal(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<ChangeError> for AdminRefusal {
    fn from(error: ChangeError) -> Self {
        let code = match error {
            ChangeError::Served(_) => StatusCode::CONFLICT,
            ChangeError::Unknown(_) => StatusCode::NOT_FOUND,
            ChangeError::Draining => StatusCode::SERVICE_UNAVAILABLE,
            ChangeError::Load(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        // With its causes: they name the file.
        AdminRefusal(code, format!("{:#}", anyhow::Error::from(error)))
    }
}

impl axum::response::IntoResponse for AdminRefusal {
    fn into_response(self) -> Response {
        let AdminRefusal(code, error) = self;
        (code, Json(serde_json::json!({ "error": error }))).into_response()
    }
}

impl Admin {
    /// Whether one with these headers may change what is served; the log keeps the name.
    fn may_change(&self, headers: &HeaderMap, what: &str) -> Result<(), AdminRefusal> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let name = keys.check(headers).map_err(|error| AdminRefusal(StatusCode::UNAUTHORIZED, error.to_string()))?;
        tracing::info!(%name, what, "models are changed");
        Ok(())
    }

    fn manager(&self) -> Result<Arc<ModelManager>, AdminRefusal> {
        let starting = || AdminRefusal(StatusCode::SERVICE_UNAVAILABLE, "starting: models load".to_owned());
        self.manager.get().cloned().ok_or_else(starting)
    }
}

async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Vec<ModelSummary>>, AdminRefusal> {
    Ok(Json(admin.manager()?.registry().all().iter().map(|served| ModelSummary::of(served)).collect()))
}

type SentSpec = Result<Json<ModelSpec>, JsonRejection>;

fn checked(sent: SentSpec) -> Result<ModelSpec, AdminRefusal> {
    let Json(mut spec) = sent.map_err(|rejection| AdminRefusal::bad(rejection.body_text()))?;
    spec.finish().map_err(AdminRefusal::bad)?;
    Ok(spec)
}

async fn load(State(admin): State<Arc<Admin>>, headers: HeaderMap, sent: SentSpec) -> Result<Response, AdminRefusal> {
    admin.may_change(&headers, "load")?;
    let spec = checked(sent)?;
    let manager = admin.manager()?;
    let served = to_the_end(async move { manager.load(&spec).await }).await?;
    Ok((StatusCode::CREATED, Json(ModelSummary::of(&served))).into_response())
}

async fn swap(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    sent: SentSpec,
) -> Result<Json<ModelSummary>, AdminRefusal> {
    admin.may_change(&headers, "swap")?;
    let Json(mut spec) = sent.map_err(|rejection| AdminRefusal::bad(rejection.body_text()))?;
    if spec.name.is_empty() {
        spec.name.clone_from(&name);
    }
    let spec = checked(Ok(Json(spec)))?;
    if spec.name != name {
        return Err(AdminRefusal::bad(format!("the path names {name:?}, the body {:?}", spec.name)));
    }
    let manager = admin.manager()?;
    let served = to_the_end(async move { manager.swap(&spec).await }).await?;
    Ok(Json(ModelSummary::of(&served)))
}

async fn unload(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, AdminRefusal> {
    admin.may_change(&headers, "unload")?;
    let manager = admin.manager()?;
    to_the_end(async move { manager.unload(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A change that was begun is finished, even when the one who asked hangs up.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
) -> Result<T, AdminRefusal> {
    match tokio::spawn(change).await {
        Ok(done) => Ok(done?),
        Err(cut) => Err(AdminRefusal(StatusCode::INTERNAL_SERVER_ERROR, format!("the change was cut short: {cut}"))),
    }
}
