//! W3C trace context: what tells servers which trace an attempt belongs to.
//!
//! Tracing libraries keep the context in their own span extensions; so that none of
//! them is a dependency here, the program says how to get it out of a span.

use std::{fmt, sync::Arc};

/// The headers of the [W3C trace context](https://www.w3.org/TR/trace-context/).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    /// `traceparent`.
    pub traceparent: String,
    /// `tracestate`, if there is one.
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// A context with this `traceparent`.
    #[must_use]
    pub fn new(traceparent: impl Into<String>) -> Self {
        Self { traceparent: traceparent.into(), tracestate: None }
    }

    /// The same with a `tracestate`.
    #[must_use]
    pub fn with_tracestate(mut self, tracestate: impl Into<String>) -> Self {
        self.tracestate = Some(tracestate.into());
        self
    }
}

/// How a context is got out of a span.
type Extract = dyn Fn(&tracing::Span) -> Option<TraceContext> + Send + Sync;

/// Gets the context out of a span.
#[derive(Clone)]
pub(crate) struct Propagator(pub(crate) Arc<Extract>);

impl fmt::Debug for Propagator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Propagator(…)")
    }
}
