//! The table of routes: each path with its handler, mounted at all the places where clients look for it.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{MethodRouter, post},
};
use bytes::Bytes;
use http::{HeaderValue, Method};
use http_body::Body as HttpBody;
use tonic::body::Body;
use tower::{BoxError, Service};

use crate::{
    door::Door,
    failure::{Failure, Form},
    openai,
    options::HttpOptions,
    reply::Reply,
    request::{Caller, Incoming, REQUEST_ID},
    rerank::{self, Habit},
};

/// Routes of every dialect over `service`, which answers `sortie.v1.EncoderService` in process. The router has no
/// fallback, so that it can be merged with others.
pub fn routes<S, B>(service: S, options: HttpOptions) -> Router
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let door = Door::new(service, options);
    let mut router = Router::new();
    for Route { path, places, handler, .. } in table() {
        for place in places.of(path) {
            router = router.route(&place, handler.clone());
        }
    }
    router.with_state(door)
}

/// Where a path is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// With and without `/v1`, once or twice: bases of clients end in it or do not, and some put it twice.
    Versioned,
    /// As it is.
    Exact,
}

impl Places {
    fn of(self, path: &str) -> Vec<String> {
        let prefixes: &[&str] = match self {
            Places::Versioned => &["", "/v1", "/v1/v1"],
            Places::Exact => &[""],
        };
        let with = |prefix: &&str| [format!("{prefix}{path}"), format!("{prefix}{path}/")];
        prefixes.iter().flat_map(with).collect()
    }
}

/// One row of the table.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) places: Places,
    pub(crate) handler: MethodRouter<Door>,
}

/// Every route.
pub(crate) fn table() -> Vec<Route> {
    use Places::Versioned;
    vec![
        posted("/rerank", Versioned, Form::Nested, |door, incoming| rerank::rerank(door, incoming, Habit::Jina)),
        posted("/v2/rerank", Versioned, Form::Cohere, |door, incoming| rerank::rerank(door, incoming, Habit::CohereV2)),
        posted("/embeddings", Versioned, Form::Nested, openai::embeddings),
    ]
}

/// A route that reads a body. Where its failures do not know their form they take `form`.
fn posted<F, A>(path: &'static str, places: Places, form: Form, answer: F) -> Route
where
    F: Fn(Door, Incoming) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    let handler = post(move |State(door): State<Door>, request: Request| serve(door, request, form, answer));
    Route { method: Method::POST, path, places, handler }
}

/// Reads a request, has it answered and writes the answer. Dropping it drops the call.
async fn serve<F, A>(door: Door, request: Request, form: Form, answer: F) -> Response
where
    F: FnOnce(Door, Incoming) -> A,
    A: Future<Output = Result<Reply, Failure>>,
{
    let request_id = Caller::request_id(request.headers());
    let mut response = match answered(door, request, request_id.clone(), answer).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(form),
    };
    if let Ok(id) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn answered<F, A>(door: Door, request: Request, id: String, answer: F) -> Result<Response, Failure>
where
    F: FnOnce(Door, Incoming) -> A,
    A: Future<Output = Result<Reply, Failure>>,
{
    let caller = Arc::new(Caller::read(request.headers(), id)?);
    let incoming = Incoming::read(&door, Arc::clone(&caller), request).await?;
    Ok(answer(door, incoming).await?.into_response(&caller))
}
