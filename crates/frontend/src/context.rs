//! What one request carries through the server: put into its extensions by
//! [`crate::layer`], read by the handlers, and read back for the trailers and the
//! log line.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sortie_page::PageAttempt;
use sortie_proto::v1::ChunkInfo;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::{
    asked_model::AskedModel, errors::ServeError, metadata::CallerInfo, metrics::RequestMetrics, traces::Stages,
};

/// One request's facts. Clones share what handlers note down.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// When its headers were read.
    pub arrived: Instant,
    /// When its work must have ended.
    pub deadline: Option<Instant>,
    /// What the caller says of itself.
    pub caller: Arc<CallerInfo>,
    /// Where it is counted.
    pub metrics: Arc<RequestMetrics>,
    /// The caller's span, where requests are traced.
    pub parent: Option<opentelemetry::Context>,
    facts: Arc<RequestFacts>,
}

/// What the handler finds out, for trailers and log.
#[derive(Debug, Default)]
struct RequestFacts {
    model: OnceLock<Arc<dyn AskedModel>>,
    items: AtomicU64,
    tokens: AtomicU64,
    stages: Stages,
    query_us: AtomicU64,
    attempts: Mutex<Vec<PageAttempt>>,
}

impl RequestContext {
    /// A request that arrived just now.
    #[must_use]
    pub fn new(
        arrived: Instant,
        deadline: Option<Instant>,
        caller: CallerInfo,
        metrics: Arc<RequestMetrics>,
        parent: Option<opentelemetry::Context>,
    ) -> Self {
        Self { arrived, deadline, caller: Arc::new(caller), metrics, parent, facts: Arc::default() }
    }

    /// The context that [`crate::layer`] put into a request, and the request's message.
    ///
    /// # Errors
    /// Where there is no layer.
    pub fn open<M: Send + 'static>(request: Request<M>) -> Result<(Self, M), Status> {
        let context = request.extensions().get::<Self>().cloned();
        let context = context.ok_or_else(|| ServeError::Internal("the request layer is missing".to_owned()))?;
        Ok((context, sortie_http::message_of(request)))
    }

    /// The model this request asks; its load goes into the trailers.
    pub fn note_model(&self, model: Arc<dyn AskedModel>) {
        // The first one stays; a request asks one model.
        let _ = self.facts.model.set(model);
    }

    /// Items and tokens of the request, for the log line.
    pub fn note_size(&self, items: usize, tokens: u64) {
        self.facts.items.store(items as u64, Ordering::Relaxed);
        self.facts.tokens.store(tokens, Ordering::Relaxed);
    }

    /// Stages of its chunk, for traces.
    pub fn stages(&self) -> &Stages {
        &self.facts.stages
    }

    /// How long the shared query took to become tokens, waiting for a thread included.
    pub fn note_query(&self, took: Duration) {
        self.facts.query_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What [`Self::note_query`] noted; zero where there is no such query.
    pub fn query_took(&self) -> Duration {
        Duration::from_micros(self.facts.query_us.load(Ordering::Relaxed))
    }

    /// A chunk of it that this process answered itself, from `begun` until now.
    pub fn note_chunk(&self, begun: Instant, chunk: &ChunkInfo, items: usize) {
        self.note_attempts(vec![PageAttempt {
            server: chunk.replica.clone(),
            items,
            tokens: chunk.tokens,
            attempt: self.caller.attempt,
            hedge: false,
            outcome: "ok",
            began: begun.saturating_duration_since(self.arrived),
            took: begun.elapsed(),
            at_server: begun.elapsed(),
            tokenize: Duration::from_micros(chunk.tokenize_us),
            queue: Duration::from_micros(chunk.queue_us),
            compute: Duration::from_micros(chunk.compute_us),
        }]);
    }

    /// Attempts that were made for it, for the page.
    pub fn note_attempts(&self, attempts: Vec<PageAttempt>) {
        self.facts.attempts.lock().extend(attempts);
    }

    /// Takes the attempts noted.
    pub(crate) fn take_attempts(&self) -> Vec<PageAttempt> {
        std::mem::take(&mut self.facts.attempts.lock())
    }

    /// The model noted.
    #[must_use]
    pub fn model(&self) -> Option<&Arc<dyn AskedModel>> {
        self.facts.model.get()
    }

    /// The name of the model noted; empty where the request did not get as far as naming one that is served.
    #[must_use]
    pub fn model_name(&self) -> &str {
        self.model().map_or("", |model| model.name())
    }

    /// Items and tokens noted.
    pub fn size(&self) -> (u64, u64) {
        (self.facts.items.load(Ordering::Relaxed), self.facts.tokens.load(Ordering::Relaxed))
    }
}
