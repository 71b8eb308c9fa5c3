//! What the process counts, for Prometheus. `docs/metrics.md` has a row a metric;
//! a test holds it against a live scrape.
//!
//! Two kinds: counters and histograms that are written where things happen, and
//! figures that are kept elsewhere (queues, costs) and copied when a scrape asks,
//! so that nothing is paid between scrapes. A registry belongs to one server, not
//! to the process: tests run many.
//!
//! Labels take few values: models and tenants are set by the operator, the rest
//! are words of this program. Nothing a caller sends becomes a label before it was
//! found to be one of those.

mod batches;
mod buckets;
mod counts;
mod load_report;
mod registrar;
pub(crate) mod requests;
mod tokenizing;
mod wire;

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{IntGauge, Registry, TextEncoder};
use sortie_engine::ORT_VERSION;

pub(crate) use self::{batches::BatchMetrics, requests::RequestMetrics, wire::WireMetrics};
use self::{load_report::LoadReportMetrics, registrar::MetricRegistrar};
use crate::{models::Served, panics};

/// `Content-Type` of a scrape: the text format and its version.
pub(crate) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Scrapes that copy figures come one after another.
    load: Mutex<LoadReportMetrics>,
    ready: IntGauge,
    panics: prometheus::IntCounter,
    pub(crate) requests: RequestMetrics,
    pub(crate) batches: Arc<BatchMetrics>,
    pub(crate) wire: WireMetrics,
}

impl Metrics {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// When two metrics have one name, which the tests rule out.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = MetricRegistrar(&registry);
        let metrics = Self {
            load: Mutex::new(LoadReportMetrics::new(&make)?),
            ready: make.gauge("sortie_ready", "1 while work is taken, 0 before and while draining")?,
            panics: make.counter("sortie_panics_total", "Panics caught in any thread; each fails its items only")?,
            requests: RequestMetrics::new(&make)?,
            batches: Arc::new(BatchMetrics::new(&make)?),
            wire: WireMetrics::new(&make)?,
            registry: registry.clone(),
        };
        let build = make.gauges("sortie_build_info", "1; the build is in the labels", &["version", "onnxruntime"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), ORT_VERSION]).set(1.0);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// A model is served from now on: its figures stand at zero instead of missing.
    pub(crate) fn expect(&self, model: &str) {
        self.requests.expect(model);
        self.batches.expect(model);
    }

    /// Everything as text, figures kept elsewhere copied now.
    ///
    /// # Errors
    /// When a metric cannot be written as text, which the tests rule out.
    pub(crate) fn render(&self, models: &[Arc<Served>], ready: bool) -> Result<String, prometheus::Error> {
        let mut load = self.load.lock();
        load.copy(models);
        self.ready.set(i64::from(ready));
        let seen = self.panics.get();
        self.panics.inc_by(panics::count().saturating_sub(seen));
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
