//! The admin port: plain HTTP for operators and their tools.
//!
//! | path | what |
//! | --- | --- |
//! | `GET /metrics` | Prometheus text |
//! | `GET /livez` | 200 while the process lives |
//! | `GET /readyz` | 200 while work is taken, else 503 and why |
//! | `GET /models` | what is served, as JSON |
//! | `POST /models`, `PUT /models/{name}`, `DELETE /models/{name}` | load, swap, unload; only with `admin_models` |
//!
//! HTTP, not gRPC: Prometheus, kubelets and `curl` speak it, and it keeps the port
//! that changes the server apart from the one that callers reach. It listens before
//! models load, so that probes are answered from the first moment, and nothing here
//! waits behind work. Looking needs no key; changing does, where `admin_keys` is set.

mod models;

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::OnceCell};

use crate::{auth::Keys, metrics, metrics::Metrics, model_manager::ModelManager, phase::Phase};

/// What the admin port looks at.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: Arc<Phase>,
    /// Set once models are loaded.
    pub(crate) manager: OnceCell<Arc<ModelManager>>,
    /// Whether models may be loaded, swapped and unloaded.
    pub(crate) change_models: bool,
    /// Keys that whoever does so must show, if they must.
    pub(crate) keys: Option<Arc<Keys>>,
}

impl Admin {
    /// Serves on `listener` until dropped: through the whole drain, so that its last state can be scraped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        axum::serve(listener, router(self)).await
    }
}

fn router(admin: Arc<Admin>) -> Router {
    let router =
        Router::new().route("/metrics", get(scrape)).route("/livez", get(async || "ok\n")).route("/readyz", get(ready));
    router.merge(models::router(admin.change_models)).with_state(admin)
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    match admin.phase.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn scrape(State(admin): State<Arc<Admin>>) -> Response {
    let models = admin.manager.get().map(|manager| manager.registry().all()).unwrap_or_default();
    match admin.metrics.render(&models, admin.phase.ready().is_ok()) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
