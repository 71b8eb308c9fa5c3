//! What the modules ask before they send work; without a key.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    door::Door,
    failure::{FailureKind, Form, HttpFailure},
};

/// What the module shows among its own facts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContainerMeta {
    server: &'static str,
    version: &'static str,
}

/// Facts of the container.
#[utoipa::path(get, operation_id = "weaviate_meta", path = "/weaviate/meta", tag = "Weaviate", responses((status = 200, description = "Facts.", body = ContainerMeta)))]
pub(crate) async fn meta() -> Response {
    Json(ContainerMeta { server: "sortie", version: env!("CARGO_PKG_VERSION") }).into_response()
}

/// Whether the process runs.
#[utoipa::path(get, operation_id = "weaviate_live", path = "/weaviate/.well-known/live", tag = "Weaviate", responses((status = 204, description = "It runs.")))]
pub(crate) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether work is taken.
#[utoipa::path(get, operation_id = "weaviate_ready", path = "/weaviate/.well-known/ready", tag = "Weaviate", responses(
    (status = 204, description = "Work is taken."),
    (status = 503, description = "It is not.", body = crate::openapi::WeaviateFailure),
))]
pub(crate) async fn ready(State(door): State<Door>) -> Response {
    if (door.options().ready)() {
        return StatusCode::NO_CONTENT.into_response();
    }
    HttpFailure::new(FailureKind::Unavailable, "not ready").into_response(Form::Weaviate)
}
