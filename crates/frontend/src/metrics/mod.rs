//! What every process that listens counts, for Prometheus. `docs/metrics.md` has a row a metric.
//!
//! A program adds metrics of its own by [`FrontendMetrics::registrar`]. A registry belongs to one
//! server, not to the process: tests run many.
//!
//! Labels take few values: models and tenants are set by the operator, the rest
//! are words of this program. Nothing a caller sends becomes a label before it was
//! found to be one of those.

pub mod buckets;
mod registrar;
mod requests;
mod wire;

use std::sync::Arc;

use prometheus::{IntGauge, Registry, TextEncoder};

pub use self::{
    registrar::MetricRegistrar,
    requests::{REASONS, RequestMetrics},
    wire::{ENDINGS, OPENINGS, RELOADED, WireMetrics},
};
use crate::panics;

/// `Content-Type` of a scrape: the text format and its version.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics of one frontend, and the registry that those of its program join.
#[derive(Debug)]
pub struct FrontendMetrics {
    registry: Registry,
    ready: IntGauge,
    panics: prometheus::IntCounter,
    /// Requests.
    pub requests: Arc<RequestMetrics>,
    /// Connections and files.
    pub wire: WireMetrics,
}

impl FrontendMetrics {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// When two metrics have one name, which the tests rule out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = MetricRegistrar(&registry);
        let metrics = Self {
            ready: make.gauge("sortie_ready", "1 while work is taken, 0 before and while draining")?,
            panics: make.counter("sortie_panics_total", "Panics caught in any thread; each fails its items only")?,
            requests: Arc::new(RequestMetrics::new(&make)?),
            wire: WireMetrics::new(&make)?,
            registry: registry.clone(),
        };
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Adds metrics of the program.
    #[must_use]
    pub fn registrar(&self) -> MetricRegistrar<'_> {
        MetricRegistrar(&self.registry)
    }

    /// Everything that is registered, as text.
    ///
    /// # Errors
    /// When a metric cannot be written as text, which the tests rule out.
    pub fn render(&self, ready: bool) -> Result<String, prometheus::Error> {
        self.ready.set(i64::from(ready));
        let seen = self.panics.get();
        self.panics.inc_by(panics::count().saturating_sub(seen));
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
