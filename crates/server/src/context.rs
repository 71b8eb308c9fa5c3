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

use tokio::time::Instant;

use crate::{metadata::CallerInfo, metrics::Metrics, models::Served, traces::Stages};

/// One request's facts. Clones share what handlers note down.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    /// When its headers were read.
    pub(crate) arrived: Instant,
    /// When its work must have ended.
    pub(crate) deadline: Option<Instant>,
    /// What the caller says of itself.
    pub(crate) caller: Arc<CallerInfo>,
    /// Where it is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// The caller's span, where requests are traced.
    pub(crate) parent: Option<opentelemetry::Context>,
    facts: Arc<RequestFacts>,
}

/// What the handler finds out, for trailers and log.
#[derive(Debug, Default)]
struct RequestFacts {
    served: OnceLock<Arc<Served>>,
    items: AtomicU64,
    tokens: AtomicU64,
    stages: Stages,
    query_us: AtomicU64,
}

impl RequestContext {
    /// A request that arrived just now.
    pub(crate) fn new(
        arrived: Instant,
        deadline: Option<Instant>,
        caller: CallerInfo,
        metrics: Arc<Metrics>,
        parent: Option<opentelemetry::Context>,
    ) -> Self {
        Self { arrived, deadline, caller: Arc::new(caller), metrics, parent, facts: Arc::default() }
    }

    /// The model this request asks; its load goes into the trailers.
    pub(crate) fn note_model(&self, served: &Arc<Served>) {
        // The first one stays; a request asks one model.
        let _ = self.facts.served.set(Arc::clone(served));
    }

    /// Items and tokens of the request, for the log line.
    pub(crate) fn note_size(&self, items: usize, tokens: u64) {
        self.facts.items.store(items as u64, Ordering::Relaxed);
        self.facts.tokens.store(tokens, Ordering::Relaxed);
    }

    /// Stages of its chunk, for traces.
    pub(crate) fn stages(&self) -> &Stages {
        &self.facts.stages
    }

    /// How long the shared query took to become tokens, waiting for a thread included.
    pub(crate) fn note_query(&self, took: Duration) {
        self.facts.query_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What [`Self::note_query`] noted; zero where there is no such query.
    pub(crate) fn query_took(&self) -> Duration {
        Duration::from_micros(self.facts.query_us.load(Ordering::Relaxed))
    }

    /// The model noted.
    pub(crate) fn served(&self) -> Option<&Arc<Served>> {
        self.facts.served.get()
    }

    /// Items and tokens noted.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.facts.items.load(Ordering::Relaxed), self.facts.tokens.load(Ordering::Relaxed))
    }
}
