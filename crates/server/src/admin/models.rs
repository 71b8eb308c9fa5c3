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
    keeper::Keeper,
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
struct Shown {
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

impl Shown {
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
struct Refused(StatusCode, String);

impl Refused {
    fn bad(message: impl Into<String>) -> Self {
        Refused(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let code = match error {
            ChangeError::Served(_) => StatusCode::CONFLICT,
            ChangeError::Unknown(_) => StatusCode::NOT_FOUND,
            ChangeError::Draining => StatusCode::SERVICE_UNAVAILABLE,
            ChangeError::Load(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        // With its causes: they name the file.
        Refused(code, format!("{:#}", anyhow::Error::from(error)))
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(code, error) = self;
        (code, Json(serde_json::json!({ "error": error }))).into_response()
    }
}

impl Admin {
    /// Whether one with these headers may change what is served; the log keeps the name.
    fn may_change(&self, headers: &HeaderMap, what: &str) -> Result<(), Refused> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let name = keys.check(headers).map_err(|error| Refused(StatusCode::UNAUTHORIZED, error.to_string()))?;
        tracing::info!(%name, what, "models are changed");
        Ok(())
    }

    fn keeper(&self) -> Result<Arc<Keeper>, Refused> {
        let starting = || Refused(StatusCode::SERVICE_UNAVAILABLE, "starting: models load".to_owned());
        self.keeper.get().cloned().ok_or_else(starting)
    }
}

async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Vec<Shown>>, Refused> {
    Ok(Json(admin.keeper()?.registry().all().iter().map(|served| Shown::of(served)).collect()))
}

type Sent = Result<Json<ModelSpec>, JsonRejection>;

fn checked(sent: Sent) -> Result<ModelSpec, Refused> {
    let Json(mut spec) = sent.map_err(|rejection| Refused::bad(rejection.body_text()))?;
    spec.finish().map_err(Refused::bad)?;
    Ok(spec)
}

async fn load(State(admin): State<Arc<Admin>>, headers: HeaderMap, sent: Sent) -> Result<Response, Refused> {
    admin.may_change(&headers, "load")?;
    let spec = checked(sent)?;
    let keeper = admin.keeper()?;
    let served = to_the_end(async move { keeper.load(&spec).await }).await?;
    Ok((StatusCode::CREATED, Json(Shown::of(&served))).into_response())
}

async fn swap(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    sent: Sent,
) -> Result<Json<Shown>, Refused> {
    admin.may_change(&headers, "swap")?;
    let Json(mut spec) = sent.map_err(|rejection| Refused::bad(rejection.body_text()))?;
    if spec.name.is_empty() {
        spec.name.clone_from(&name);
    }
    let spec = checked(Ok(Json(spec)))?;
    if spec.name != name {
        return Err(Refused::bad(format!("the path names {name:?}, the body {:?}", spec.name)));
    }
    let keeper = admin.keeper()?;
    let served = to_the_end(async move { keeper.swap(&spec).await }).await?;
    Ok(Json(Shown::of(&served)))
}

async fn unload(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refused> {
    admin.may_change(&headers, "unload")?;
    let keeper = admin.keeper()?;
    to_the_end(async move { keeper.unload(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A change that was begun is finished, even when the one who asked hangs up.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::spawn(change).await {
        Ok(done) => Ok(done?),
        Err(cut) => Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("the change was cut short: {cut}"))),
    }
}
