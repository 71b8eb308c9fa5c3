//! Every dialect over a service in the same process.

#![cfg(test)]

mod answers;
mod callers;
mod failures;
mod fake;
mod headers;
mod nulls;
mod random;
mod tags;
mod traps;

use axum::{Router, body::Body};
use fake::Fake;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use sortie_http::{HttpOptions, routes};
use sortie_proto::v1::encoder_service_server::EncoderServiceServer;
use tower::ServiceExt as _;

/// An answer, read.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl HttpAnswer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) fn app(fake: &Fake) -> Router {
    with_options(fake, HttpOptions::default())
}

pub(crate) fn with_options(fake: &Fake, options: HttpOptions) -> Router {
    let service = EncoderServiceServer::new(fake.clone()).max_decoding_message_size(usize::MAX);
    routes(service, options)
}

/// Several models, and one of them for bodies that cannot name any.
pub(crate) fn defaults_to_embed(fake: &Fake) -> Router {
    let mut options = HttpOptions::default();
    options.default_model = Some("embed".to_owned());
    with_options(fake, options)
}

/// Sends a request and reads its answer. A body that is no JSON is a string.
pub(crate) async fn send(app: &Router, request: Request<Body>) -> HttpAnswer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
    HttpAnswer { status: parts.status, headers: parts.headers, body }
}

pub(crate) fn post_request(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

pub(crate) async fn post(app: &Router, path: &str, body: Value) -> HttpAnswer {
    send(app, post_request(path, body.to_string())).await
}

pub(crate) async fn get(app: &Router, path: &str) -> HttpAnswer {
    send(app, Request::get(path).body(Body::empty()).unwrap()).await
}
