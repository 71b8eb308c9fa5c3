//! The limit on one request's headers over HTTP/1. HTTP/2 has its own; hyper's for HTTP/1 is the size of the buffer that
//! bodies are read into too, and a body should be read in large pieces.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures::future::Either;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header::CONNECTION};
use tonic::body::Body;
use tower::Service;

/// What a line of a header has beside name and value: a colon, a space and the end of the line.
const LINE_BYTES: usize = 4;

/// Refuses a request whose head is larger than `limit` bytes, and has the connection closed, as hyper does.
#[derive(Clone, Debug)]
pub(super) struct HeaderLimit<S> {
    inner: S,
    limit: usize,
}

impl<S> HeaderLimit<S> {
    pub(super) fn new(inner: S, limit: usize) -> Self {
        Self { inner, limit }
    }
}

/// Bytes of headers as they came, about.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE_BYTES).sum()
}

impl<S, B> Service<Request<B>> for HeaderLimit<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let old = matches!(request.version(), Version::HTTP_09 | Version::HTTP_10 | Version::HTTP_11);
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if !old || target + size(request.headers()) <= self.limit {
            return Either::Left(self.inner.call(request));
        }
        let mut refusal = Response::new(Body::empty());
        *refusal.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Either::Right(ready(Ok(refusal)))
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    async fn status(version: Version, bytes: usize) -> (StatusCode, bool) {
        let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let request = Request::get("/").version(version).header("x", "y".repeat(bytes - LINE_BYTES - 2)).body(());
        let answer = HeaderLimit::new(inner, 1_000).oneshot(request.unwrap()).await.unwrap();
        (answer.status(), answer.headers().contains_key(CONNECTION))
    }

    #[tokio::test]
    async fn a_head_over_the_limit_is_refused_and_its_connection_closed() {
        assert_eq!(status(Version::HTTP_11, 1_000).await, (StatusCode::OK, false));
        assert_eq!(status(Version::HTTP_11, 1_001).await, (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, true));
        assert_eq!(status(Version::HTTP_2, 1_001).await, (StatusCode::OK, false), "h2 counts for itself");
    }
}
