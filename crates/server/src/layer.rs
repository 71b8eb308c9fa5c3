//! The one tower layer around the encoder service. For each request it
//!
//! 1. notes the arrival and reads metadata and deadline ([`RequestContext`]);
//! 2. takes one of the `max_concurrent_requests` places (not for RPCs that only
//!    look: Probe, GetModel, ListModels);
//! 3. runs the rest, message decoding included, under the deadline;
//! 4. puts tonic's own refusals into our words, adds the load report to the
//!    trailers and writes the log line.
//!
//! Other services (health, reflection) pass through untouched.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use sortie_proto::v1::encoder_service_server::SERVICE_NAME;
use tokio::{sync::Semaphore, time::Instant};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use crate::{
    context::RequestContext,
    deadline::deadline,
    errors::{ServeError, refine},
    logs,
    metadata::CallerInfo,
    models::Served,
    trailers,
};

/// RPCs that touch no queue and must answer on a full server.
const LOOKING: [&str; 3] = ["Probe", "GetModel", "ListModels"];

/// Limits that hold before a handler runs.
#[derive(Clone, Debug)]
pub(crate) struct RequestLayer {
    places: Arc<Semaphore>,
    max_concurrent_requests: u32,
    max_message_bytes: u64,
    /// The only model there is: its load is reported even where the request did not get as far as naming it.
    only: Option<Arc<Served>>,
}

impl RequestLayer {
    /// A layer with its own places.
    pub(crate) fn new(max_concurrent_requests: u32, max_message_bytes: u64, only: Option<Arc<Served>>) -> Self {
        let places = usize::try_from(max_concurrent_requests).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(places)), max_concurrent_requests, max_message_bytes, only }
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = RequestService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestService { inner, shared: self.clone() }
    }
}

/// See [`RequestLayer`].
#[derive(Clone, Debug)]
pub(crate) struct RequestService<S> {
    inner: S,
    shared: RequestLayer,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S> Service<Request<Body>> for RequestService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The instance that was polled ready is the one to call.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let Some(rpc) = rpc_of(request.uri().path()).map(str::to_owned) else {
            return Box::pin(inner.call(request));
        };
        let shared = self.shared.clone();
        let arrived = Instant::now();
        Box::pin(async move {
            let caller = CallerInfo::read(request.headers());
            let context = RequestContext::new(
                arrived,
                deadline(request.headers(), arrived),
                caller.as_ref().cloned().unwrap_or_default(),
            );
            request.extensions_mut().insert(context.clone());
            let outcome = match caller {
                Ok(_) => shared.guarded(&rpc, &context, inner.call(request)).await,
                Err(error) => Err(error),
            };
            let response = outcome.unwrap_or_else(|error| Status::from(error).into_http());
            let response = shared.finish(response, &context);
            logs::request(&rpc, &context, code_of(&response));
            Ok(response)
        })
    }
}

impl RequestLayer {
    /// Runs the handler in its place and within its deadline. Dropping its future cancels what it queued.
    async fn guarded<F>(&self, rpc: &str, context: &RequestContext, call: F) -> Result<Response<Body>, ServeError>
    where
        F: Future<Output = Result<Response<Body>, Infallible>>,
    {
        let _place = if LOOKING.contains(&rpc) {
            None
        } else {
            let refusal = |_| ServeError::TooManyRequests { limit: self.max_concurrent_requests };
            Some(self.places.try_acquire().map_err(refusal)?)
        };
        let answer = match context.deadline {
            None => call.await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline, call).await.map_err(|_| ServeError::DeadlineExceeded)?
            }
        };
        match answer {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }

    fn finish(&self, response: Response<Body>, context: &RequestContext) -> Response<Body> {
        let Some(status) = Status::from_header_map(response.headers()) else {
            let (parts, body) = response.into_parts();
            return Response::from_parts(parts, trailers::with_report(body, self.reported(context)));
        };
        let mut response = match refine(&status, self.max_message_bytes) {
            Some(better) => Status::from(better).into_http(),
            None => response,
        };
        trailers::add_report(response.headers_mut(), self.reported(context).as_deref());
        response
    }

    /// The model whose load goes into the trailers.
    fn reported(&self, context: &RequestContext) -> Option<Arc<Served>> {
        context.served().or(self.only.as_ref()).cloned()
    }
}

/// `Rerank` of `/sortie.v1.EncoderService/Rerank`; `None` for other services.
fn rpc_of(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)?.strip_prefix('/')
}

/// The code of an error, else OK: a unary answer that has a body succeeds.
fn code_of(response: &Response<Body>) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_service_is_ours() {
        assert_eq!(rpc_of("/sortie.v1.EncoderService/Rerank"), Some("Rerank"));
        assert_eq!(rpc_of("/grpc.health.v1.Health/Check"), None);
        assert_eq!(rpc_of("/sortie.v1.EncoderServiceX/Rerank"), None);
    }
}
