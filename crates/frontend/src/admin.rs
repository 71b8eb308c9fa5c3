//! The admin port: plain HTTP for operators and their tools.
//!
//! | path | what |
//! | --- | --- |
//! | `GET /metrics` | Prometheus text |
//! | `GET /livez` | 200 while the process lives |
//! | `GET /`, `/page/…` | the page, where it may be seen |
//! | `GET /readyz` | 200 while work is taken, else 503 and why |
//!
//! A program merges routes of its own. HTTP, not gRPC: Prometheus, kubelets and `curl`
//! speak it, and it keeps the port that looks into the process apart from the one that
//! callers reach. It listens before anything that takes long, so that probes are answered
//! from the first moment, and nothing here waits behind work.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::{metrics, phase::Phase};

/// Writes the metrics of a process, told whether it is ready.
pub type MetricsScrape = Arc<dyn Fn(bool) -> Result<String, prometheus::Error> + Send + Sync>;

#[derive(Clone)]
struct AdminPort {
    phase: Arc<Phase>,
    scrape: MetricsScrape,
}

/// The routes that every process has.
pub(crate) fn router(phase: Arc<Phase>, scrape: MetricsScrape) -> Router {
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(AdminPort { phase, scrape })
}

async fn ready(State(admin): State<AdminPort>) -> Response {
    match admin.phase.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics_text(State(admin): State<AdminPort>) -> Response {
    match (admin.scrape)(admin.phase.ready().is_ok()) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
