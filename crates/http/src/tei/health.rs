//! `GET /health`, `/ping` and `/`: whether work is taken, without a key.

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header::ACCEPT};

use crate::{
    door::Door,
    failure::{FailureKind, Form, HttpFailure},
};

/// Whether work is taken.
#[utoipa::path(get, path = "/health", tag = "TEI", responses(
    (status = 200, description = "Work is taken."),
    (status = 503, description = "It is not.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn health(State(door): State<Door>) -> Response {
    if (door.options().ready)() {
        return (StatusCode::OK, Body::empty()).into_response();
    }
    HttpFailure::new(FailureKind::Unavailable, "unhealthy").into_response(Form::Tei)
}

/// The page for browsers, where there is one; for all others what `/health` says.
#[utoipa::path(get, path = "/", tag = "TEI", responses(
    (status = 200, description = "A page for those who accept HTML; otherwise work is taken."),
    (status = 503, description = "It is not.", body = crate::openapi::TeiFailure),
))]
pub(crate) async fn root(State(door): State<Door>, request: Request) -> Response {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let html = accept.split(',').any(|kind| kind.split(';').next().unwrap_or_default().trim() == "text/html");
    match &door.options().page {
        Some(page) if html => page(&request.into_parts().0),
        _ => health(State(door)).await,
    }
}
