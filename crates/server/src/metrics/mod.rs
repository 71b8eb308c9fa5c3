//! What the server counts besides what [`sortie_frontend`] does, for Prometheus. `docs/metrics.md` has a row a metric;
//! a test holds it against a live scrape.
//!
//! Two kinds: counters and histograms that are written where things happen, and
//! figures that are kept elsewhere (queues, costs) and copied when a scrape asks,
//! so that nothing is paid between scrapes.

mod batches;
mod counts;
mod load_report;
mod tokenizing;

use std::sync::Arc;

use parking_lot::Mutex;
use sortie_engine::ORT_VERSION;
use sortie_frontend::metrics::FrontendMetrics;

pub(crate) use self::batches::BatchMetrics;
use self::load_report::LoadReportMetrics;
use crate::models::Served;

/// The metrics of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Scrapes that copy figures come one after another.
    load: Mutex<LoadReportMetrics>,
    pub(crate) batches: Arc<BatchMetrics>,
    pub(crate) frontend: Arc<FrontendMetrics>,
}

impl Metrics {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// When two metrics have one name, which the tests rule out.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let frontend = Arc::new(FrontendMetrics::new()?);
        let make = frontend.registrar();
        let metrics = Self {
            load: Mutex::new(LoadReportMetrics::new(&make)?),
            batches: Arc::new(BatchMetrics::new(&make)?),
            frontend: Arc::clone(&frontend),
        };
        let build = make.gauges("sortie_build_info", "1; the build is in the labels", &["version", "onnxruntime"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), ORT_VERSION]).set(1.0);
        Ok(metrics)
    }

    /// A model is served from now on: its figures stand at zero instead of missing.
    pub(crate) fn expect(&self, model: &str) {
        self.frontend.requests.expect(model);
        self.batches.expect(model);
    }

    /// Everything as text, figures kept elsewhere copied now.
    ///
    /// # Errors
    /// When a metric cannot be written as text, which the tests rule out.
    pub(crate) fn render(&self, models: &[Arc<Served>], ready: bool) -> Result<String, prometheus::Error> {
        let mut load = self.load.lock();
        load.copy(models);
        self.frontend.render(ready)
    }
}
