//! The one tower layer around the encoder service. For each request it
//!
//! 1. asks for a key, where keys are set, and reads metadata and deadline
//!    ([`RequestContext`]);
//! 2. takes one of the `max_concurrent_requests` permits (not for RPCs that only
//!    look: Probe, GetModel, ListModels);
//! 3. refuses what [`Backing`] has no time or room for, before its message is read;
//! 4. runs the rest, message decoding included, under the deadline;
//! 5. puts tonic's own refusals into our words, adds the load report to the
//!    trailers, counts the request and writes the log line.
//!
//! Other services pass through: health untouched, reflection with a key where keys
//! are set.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt as _;
use http::{Request, Response, header::AUTHORIZATION};
use sortie_page::RecentJobs;
use sortie_proto::v1::encoder_service_server::SERVICE_NAME;
use tokio::{sync::Semaphore, time::Instant};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{
    asked_model::AskedModel,
    auth::Keys,
    backing::Backing,
    body_timeout,
    config::FrontendConfig,
    context::RequestContext,
    deadline::deadline,
    errors::{ServeError, refine},
    load_reports::LoadReports,
    memory::{ConnectionMemory, MemoryPermit},
    metadata::CallerInfo,
    metrics::RequestMetrics,
    request_record::RequestRecord,
    traces::Traces,
    trailers,
};

/// Path of the health service's RPCs.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The contract's RPCs, as metric labels have them.
const RPCS: [&str; 12] = [
    "Rerank",
    "Embed",
    "EmbedSparse",
    "EmbedTokens",
    "Classify",
    "TagTokens",
    "Similarity",
    "Tokenize",
    "Detokenize",
    "GetModel",
    "ListModels",
    "Probe",
];

/// The label of RPCs that the contract does not know.
const OTHER: &str = "other";

/// RPCs that touch no queue and must answer on a full server.
const UNTHROTTLED_RPCS: [&str; 3] = ["Probe", "GetModel", "ListModels"];

/// RPCs whose work goes through the model's queue.
const QUEUED: [&str; 7] = ["Rerank", "Embed", "EmbedSparse", "EmbedTokens", "Classify", "TagTokens", "Similarity"];

/// Limits that hold before a handler runs.
#[derive(Clone, Debug)]
pub struct RequestLayer {
    permits: Arc<Semaphore>,
    max_concurrent_requests: u32,
    max_message_bytes: u64,
    /// What answers. Where it has only one model, its load is reported even if a request did not get as far as naming it.
    backing: Arc<dyn Backing>,
    metrics: Arc<RequestMetrics>,
    /// Keys that callers must show, if they must.
    keys: Option<Arc<Keys>>,
    traces: Option<Arc<Traces>>,
    /// Where jobs are told once they have ended, if there is a page.
    jobs: Option<Arc<RecentJobs>>,
    read_timeout: Option<Duration>,
}

impl RequestLayer {
    /// A layer with permits of its own.
    pub fn new(
        config: &FrontendConfig,
        backing: Arc<dyn Backing>,
        metrics: Arc<RequestMetrics>,
        keys: Option<Arc<Keys>>,
        traces: Option<Arc<Traces>>,
        jobs: Option<Arc<RecentJobs>>,
    ) -> Self {
        let FrontendConfig { max_concurrent_requests, max_message_bytes, request_read_timeout, .. } = *config;
        let permits = usize::try_from(max_concurrent_requests).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        let read_timeout = request_read_timeout.some();
        Self { permits, max_concurrent_requests, max_message_bytes, backing, metrics, keys, traces, jobs, read_timeout }
    }

    /// Where load reports come from.
    pub(crate) fn reports(&self) -> LoadReports {
        LoadReports::new(Arc::clone(&self.backing), Arc::clone(&self.metrics))
    }

    /// What it asks for admission and reports.
    pub(crate) fn backing(&self) -> Arc<dyn Backing> {
        Arc::clone(&self.backing)
    }

    /// The request with bounds on the time and, where `held` counts it, the memory that its message takes.
    fn read(&self, request: Request<Body>, arrived: Instant, held: Option<&MemoryPermit>) -> Request<Body> {
        request.map(|body| {
            let body = match self.read_timeout {
                Some(limit) => body_timeout::with_timeout(body, arrived, limit),
                None => body,
            };
            match held {
                Some(held) => held.count(body),
                None => body,
            }
        })
    }

    /// Who calls: the name of the key that was shown, none where no key is asked for.
    fn known(&self, request: &Request<Body>) -> Result<Option<Arc<str>>, ServeError> {
        self.keys.as_ref().map(|keys| keys.check(request.headers())).transpose()
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
pub struct RequestService<S> {
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
        let Some(rpc) = rpc_of(request.uri().path()) else {
            return match self.shared.known(&request) {
                // Probes have no keys.
                Err(refusal) if !request.uri().path().starts_with(HEALTH) => {
                    Box::pin(std::future::ready(Ok(Status::from(refusal).into_http())))
                }
                // A stream goes on for as long as it is read; a whole message is bounded as ours are.
                _ if is_stream(request.uri().path()) => Box::pin(inner.call(request)),
                _ => {
                    let held = request.extensions().get::<Arc<ConnectionMemory>>().map(MemoryPermit::new);
                    let call = inner.call(self.shared.read(request, Instant::now(), held.as_ref()));
                    Box::pin(async move {
                        let answer = call.await;
                        drop(held);
                        answer
                    })
                }
            };
        };
        let shared = self.shared.clone();
        let arrived = Instant::now();
        Box::pin(async move {
            let known = shared.known(&request);
            let caller = known.and_then(|name| CallerInfo::read(request.headers(), name.as_deref()));
            // Whoever gets it further on has no use for it.
            request.headers_mut().remove(AUTHORIZATION);
            let held = request.extensions().get::<Arc<ConnectionMemory>>().map(MemoryPermit::new);
            let mut request = shared.read(request, arrived, held.as_ref());
            let context = RequestContext::new(
                arrived,
                deadline(request.headers(), arrived),
                caller.as_ref().cloned().unwrap_or_default(),
                Arc::clone(&shared.metrics),
                shared.traces.as_ref().map(|traces| traces.parent(request.headers())),
            );
            let jobs = shared.jobs.clone().filter(|_| !UNTHROTTLED_RPCS.contains(&rpc));
            let record = RequestRecord::begin(rpc, context.clone(), shared.traces.clone(), jobs);
            request.extensions_mut().insert(context.clone());
            let outcome = match caller {
                Ok(_) => shared.guarded(rpc, &context, inner.call(request)).await,
                Err(error) => Err(error),
            };
            let response = outcome.unwrap_or_else(|error| Status::from(error).into_http());
            let response = shared.finish(response, &context);
            // The message lived until here.
            drop(held);
            record.end(Status::from_header_map(response.headers()).as_ref());
            Ok(response)
        })
    }
}

impl RequestLayer {
    /// Runs the handler with its permit and within its deadline. Dropping its future cancels what it queued.
    async fn guarded<F>(&self, rpc: &str, context: &RequestContext, call: F) -> Result<Response<Body>, ServeError>
    where
        F: Future<Output = Result<Response<Body>, Infallible>>,
    {
        let _permit = if UNTHROTTLED_RPCS.contains(&rpc) {
            None
        } else {
            let refusal = |_| ServeError::TooManyRequests { limit: self.max_concurrent_requests };
            Some(self.permits.try_acquire().map_err(refusal)?)
        };
        if QUEUED.contains(&rpc) {
            self.backing.admissible(context)?;
        }
        // A panic ends this request and nothing else.
        let call = AssertUnwindSafe(call).catch_unwind();
        let answer = match context.deadline {
            None => call.await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline, call).await.map_err(|_| ServeError::DeadlineExceeded)?
            }
        };
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(never)) => match never {},
            Err(_) => Err(ServeError::Internal("the handler panicked; see the server's log".to_owned())),
        }
    }

    fn finish(&self, response: Response<Body>, context: &RequestContext) -> Response<Body> {
        let Some(status) = Status::from_header_map(response.headers()) else {
            let (parts, body) = response.into_parts();
            let (reports, asked) = (self.reports(), self.reported(context));
            return Response::from_parts(parts, trailers::with_report(body, move || reports.report(asked.as_deref())));
        };
        let mut response = match refine(&status, self.max_message_bytes) {
            Some(better) => Status::from(better).into_http(),
            None => response,
        };
        let report = self.reports().report(self.reported(context).as_deref());
        trailers::add_report(response.headers_mut(), &report);
        response
    }

    /// The model whose load goes into the trailers.
    fn reported(&self, context: &RequestContext) -> Option<Arc<dyn AskedModel>> {
        context.model().cloned().or_else(|| self.backing.only_model())
    }
}

/// Whether a method of another service takes or gives a stream of messages: by name where it is ours, all of reflection,
/// health and load reports.
fn is_stream(path: &str) -> bool {
    path.ends_with("Stream") || path.starts_with("/grpc.") || path.starts_with("/xds.")
}

/// The RPC of `/sortie.v1.EncoderService/Rerank`, [`OTHER`] for one that is not known; `None` for other services.
fn rpc_of(path: &str) -> Option<&'static str> {
    let rpc = path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)?.strip_prefix('/')?;
    Some(RPCS.into_iter().find(|known| *known == rpc).unwrap_or(OTHER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_of_the_contract_has_its_name() {
        let set =
            <prost_types::FileDescriptorSet as prost::Message>::decode(sortie_proto::FILE_DESCRIPTOR_SET).unwrap();
        let service = set.file.iter().flat_map(|f| &f.service).find(|s| s.name() == "EncoderService").unwrap();
        let mut names: Vec<_> = service.method.iter().map(|m| m.name()).collect();
        let mut ours = RPCS;
        names.sort_unstable();
        ours.sort_unstable();
        assert_eq!(names, ours);
    }

    #[test]
    fn only_our_service_is_ours() {
        assert_eq!(rpc_of("/sortie.v1.EncoderService/Rerank"), Some("Rerank"));
        assert_eq!(rpc_of("/sortie.v1.EncoderService/Sing"), Some(OTHER));
        assert_eq!(rpc_of("/grpc.health.v1.Health/Check"), None);
        assert_eq!(rpc_of("/sortie.v1.EncoderServiceX/Rerank"), None);
    }
}
