//! What the server's admin port has besides what every process has.
//!
//! | path | what |
//! | --- | --- |
//! | `GET /models` | what is served, as JSON |
//! | `POST /models`, `PUT /models/{name}`, `DELETE /models/{name}` | load, swap, unload; only with `admin_models` |
//!
//! Looking needs no key; changing does, where `admin_keys` is set.

mod models;

use std::sync::Arc;

use axum::Router;
use sortie_frontend::{Keys, admin::MetricsScrape};
use tokio::sync::OnceCell;

use crate::{metrics::Metrics, model_manager::ModelManager};

/// What the admin port looks at.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    /// Set once models are loaded.
    pub(crate) manager: OnceCell<Arc<ModelManager>>,
    /// Whether models may be loaded, swapped and unloaded.
    pub(crate) change_models: bool,
    /// Keys that whoever does so must show, if they must.
    pub(crate) keys: Option<Arc<Keys>>,
}

impl Admin {
    /// Its routes.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        models::router(self.change_models).with_state(self)
    }

    /// Writes the metrics, those of the models of now with them.
    pub(crate) fn scrape(self: Arc<Self>) -> MetricsScrape {
        Arc::new(move |ready| {
            let models = self.manager.get().map(|manager| manager.registry().all()).unwrap_or_default();
            self.metrics.render(&models, ready)
        })
    }
}
