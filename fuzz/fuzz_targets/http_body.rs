//! Any bytes as the body of any HTTP route, over the unkind service of the crate's own tests: reading, picking a model,
//! the message, and the way back. Every body must be answered, never with a fault of ours.
//!
//! The first byte picks the route, the rest is the body.
#![no_main]

#[expect(dead_code, reason = "its tests use more of it")]
#[path = "../../crates/http/tests/dialects/fake.rs"]
mod fake;

use std::sync::LazyLock;

use axum::{Router, body::Body};
use fake::Fake;
use http::Request;
use libfuzzer_sys::fuzz_target;
use sortie_http::{HttpOptions, routes};
use sortie_proto::v1::{Task, encoder_service_server::EncoderServiceServer};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

/// Every route that reads a body; a seed's first byte is its position here, so new ones go to the end.
const PATHS: [&str; 19] = [
    "/rerank", "/v2/rerank", "/v1/embeddings", "/embed", "/v1/embed", "/v2/embed", "/embed_all", "/embed_sparse",
    "/predict", "/similarity", "/tokenize", "/decode", "/score", "/classify", "/", "/invocations", "/vertex",
    "/weaviate/rerank", "/weaviate/vectors",
];

/// Longer bodies only fuzz slower.
const MOST_BYTES: usize = 1 << 16;

static APP: LazyLock<(Runtime, Fake, Router)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = [Task::Rerank, Task::Classify, Task::Embed, Task::EmbedSparse, Task::LateInteraction];
    let fake = Fake::of(&tasks);
    let mut options = HttpOptions::default();
    options.allow_token_ids = true;
    options.default_model = Some("embed".to_owned());
    let app = routes(EncoderServiceServer::new(fake.clone()).max_decoding_message_size(usize::MAX), options);
    (runtime, fake, app)
});

fuzz_target!(|bytes: &[u8]| {
    let Some((which, body)) = bytes.split_first().filter(|(_, body)| body.len() <= MOST_BYTES) else { return };
    let path = PATHS[usize::from(*which) % PATHS.len()];
    let (runtime, fake, app) = &*APP;
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body.to_vec()));
    let status = runtime.block_on(async {
        // What was seen is for tests, and would grow.
        fake.seen.lock().await.clear();
        app.clone().oneshot(request.expect("a request")).await.expect("an answer").status()
    });
    assert!(status.as_u16() < 500, "{path}: {status}");
});
