//! The table of routes: each path with its handler, mounted at all the places where clients look for it.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State},
    handler::Handler,
    response::Response,
    routing::{MethodFilter, MethodRouter, on},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body::Body as HttpBody;
use tonic::body::Body;
use tower::{BoxError, Service};

use crate::{
    cohere,
    door::Door,
    failure::{Form, HttpFailure},
    openai, openapi,
    options::HttpOptions,
    reply::JsonReply,
    request::{Caller, Incoming, REQUEST_ID},
    rerank, tei, vllm, weaviate,
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
    for DialectRoute { path, places, handler, .. } in table() {
        for place in places.of(path) {
            // What stands for the rest of a path is written otherwise here than in the document.
            router = router.route(&place.replace("{model}", "{*model}"), handler.clone());
        }
    }
    router.with_state(door)
}

/// Where a path is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Places {
    /// With and without `/v1`, once or twice: bases of clients end in it or do not, and some put it twice.
    Versioned,
    /// As it is.
    Exact,
}

/// What bases end in, or do not.
const VERSION: &str = "/v1";

impl Places {
    /// Every place of `path`, each with a slash behind it too.
    fn of(self, path: &str) -> Vec<String> {
        let stem = path.strip_prefix(VERSION).unwrap_or(path);
        let places = match self {
            Places::Versioned => vec![stem.to_owned(), format!("{VERSION}{stem}"), format!("{VERSION}{VERSION}{stem}")],
            Places::Exact => vec![path.to_owned()],
        };
        let both =
            |place: String| if place.ends_with(['/', '}']) { vec![place] } else { vec![format!("{place}/"), place] };
        places.into_iter().flat_map(both).collect()
    }
}

/// One row of the table.
struct DialectRoute {
    #[cfg(test)]
    method: Method,
    /// The path as the OpenAPI document has it.
    path: &'static str,
    places: Places,
    handler: MethodRouter<Door>,
}

/// Every route.
fn table() -> Vec<DialectRoute> {
    use Places::{Exact, Versioned};
    vec![
        posted("/rerank", Versioned, Form::Nested, rerank::rerank),
        posted("/v2/rerank", Versioned, Form::Cohere, rerank::rerank_v2),
        posted("/v1/embeddings", Versioned, Form::Nested, openai::embeddings),
        asked("/v1/models", Versioned, Form::Nested, |door, caller, _| openai::models(door, caller)),
        named("/v1/models/{model}", Form::Nested),
        posted("/v2/embed", Versioned, Form::Cohere, cohere::embed_v2),
        posted("/score", Versioned, Form::Nested, vllm::score),
        posted("/classify", Versioned, Form::Nested, vllm::classify),
        posted("/embed", Versioned, Form::Tei, tei::embed),
        posted("/embed_all", Versioned, Form::Tei, tei::embed_all),
        posted("/embed_sparse", Versioned, Form::Tei, tei::embed_sparse),
        posted("/predict", Versioned, Form::Tei, tei::predict),
        posted("/tag", Versioned, Form::Tei, tei::tag),
        posted("/similarity", Versioned, Form::Tei, tei::similarity),
        posted("/tokenize", Versioned, Form::Tei, tei::tokenize),
        posted("/decode", Versioned, Form::Tei, tei::decode),
        posted("/vertex", Versioned, Form::Tei, tei::vertex),
        posted("/invocations", Versioned, Form::Tei, tei::by_model),
        posted("/", Exact, Form::Tei, tei::by_model),
        plain("/", Exact, tei::root),
        plain("/health", Versioned, tei::health),
        plain("/ping", Versioned, tei::health),
        asked("/info", Versioned, Form::Tei, tei::info),
        posted("/weaviate/rerank", Exact, Form::Weaviate, weaviate::rerank),
        posted("/weaviate/vectors", Exact, Form::Weaviate, weaviate::vectors),
        plain("/weaviate/meta", Exact, weaviate::meta),
        plain("/weaviate/.well-known/live", Exact, weaviate::live),
        plain("/weaviate/.well-known/ready", Exact, weaviate::ready),
        plain("/api-doc/openapi.json", Exact, openapi::document),
        plain("/openapi.json", Exact, openapi::document),
    ]
}

fn route<H, T>(method: Method, path: &'static str, places: Places, handler: H) -> DialectRoute
where
    H: Handler<T, Door>,
    T: 'static,
{
    let filter = if method == Method::POST { MethodFilter::POST } else { MethodFilter::GET };
    DialectRoute {
        #[cfg(test)]
        method,
        path,
        places,
        handler: on(filter, handler),
    }
}

/// A route that says the same to everybody.
fn plain<H, T>(path: &'static str, places: Places, handler: H) -> DialectRoute
where
    H: Handler<T, Door>,
    T: 'static,
{
    route(Method::GET, path, places, handler)
}

/// A route that is asked without a body.
fn asked<F, A>(path: &'static str, places: Places, form: Form, answer: F) -> DialectRoute
where
    F: Fn(Door, Arc<Caller>, String) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<JsonReply, HttpFailure>> + Send + 'static,
{
    let handler = move |State(door): State<Door>, request: Request| async move {
        let query = request.uri().query().unwrap_or_default().to_owned();
        look(request.headers().clone(), form, |caller| answer(door, caller, query)).await
    };
    route(Method::GET, path, places, handler)
}

/// The route of one model; names may hold slashes.
fn named(path: &'static str, form: Form) -> DialectRoute {
    let handler = move |State(door): State<Door>, Path(name): Path<String>, request: Request| async move {
        let name = name.trim_end_matches('/').to_owned();
        look(request.headers().clone(), form, |caller| openai::model(door, caller, name)).await
    };
    route(Method::GET, path, Places::Versioned, handler)
}

async fn look<F, A>(headers: HeaderMap, form: Form, answer: F) -> Response
where
    F: FnOnce(Arc<Caller>) -> A,
    A: Future<Output = Result<JsonReply, HttpFailure>>,
{
    let id = Caller::request_id(&headers);
    let answer = async {
        let caller = Arc::new(Caller::read(&headers, id.clone())?);
        Ok(answer(Arc::clone(&caller)).await?.into_response(&caller))
    };
    let response = answer.await;
    with_id(response.unwrap_or_else(|failure: HttpFailure| failure.into_response(form)), &id)
}

/// A route that reads a body. Where its failures do not know their form they take `form`.
fn posted<F, A>(path: &'static str, places: Places, form: Form, answer: F) -> DialectRoute
where
    F: Fn(Door, Incoming) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<JsonReply, HttpFailure>> + Send + 'static,
{
    let handler = move |State(door): State<Door>, request: Request| serve(door, request, form, answer);
    route(Method::POST, path, places, handler)
}

/// Reads a request, has it answered and writes the answer. Dropping it drops the call.
async fn serve<F, A>(door: Door, request: Request, form: Form, answer: F) -> Response
where
    F: FnOnce(Door, Incoming) -> A,
    A: Future<Output = Result<JsonReply, HttpFailure>>,
{
    let id = Caller::request_id(request.headers());
    let response = answered(door, request, id.clone(), answer).await;
    with_id(response.unwrap_or_else(|failure| failure.into_response(form)), &id)
}

fn with_id(mut response: Response, id: &str) -> Response {
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn answered<F, A>(door: Door, request: Request, id: String, answer: F) -> Result<Response, HttpFailure>
where
    F: FnOnce(Door, Incoming) -> A,
    A: Future<Output = Result<JsonReply, HttpFailure>>,
{
    let caller = Arc::new(Caller::read(request.headers(), id)?);
    let incoming = Incoming::read(&door, Arc::clone(&caller), request).await?;
    Ok(answer(door, incoming).await?.into_response(&caller))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let document = serde_json::to_value(openapi::openapi()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut written = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| ["get", "post"].contains(&key.as_str())) {
                written.insert((method.to_uppercase(), path.clone()));
            }
        }
        let mounted: BTreeSet<_> =
            table().iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
        assert_eq!(mounted, written);
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let document = serde_json::to_value(openapi::openapi()).unwrap();
        let items = document["paths"].as_object().unwrap().values();
        let operations = items.flat_map(|item| item.as_object().unwrap().values());
        let names: Vec<_> = operations.filter_map(|operation| operation["operationId"].as_str()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }

    #[test]
    fn paths_are_mounted_where_clients_look() {
        let places: BTreeSet<_> = Places::Versioned.of("/v1/embeddings").into_iter().collect();
        let expected = [
            "/embeddings",
            "/embeddings/",
            "/v1/embeddings",
            "/v1/embeddings/",
            "/v1/v1/embeddings",
            "/v1/v1/embeddings/",
        ];
        assert_eq!(places, expected.map(str::to_owned).into());
        assert_eq!(Places::Exact.of("/"), ["/"]);
    }
}
