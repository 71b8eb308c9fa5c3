//! What the gateway counts besides what [`sortie_frontend`] does: the fleet as it stands, and what the client counts.

use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use prometheus::GaugeVec;
use sortie_client::Client;
use sortie_frontend::metrics::{FrontendMetrics, buckets};

/// States of a server, as labels.
const STATES: [&str; 4] = ["known", "ready", "suspect", "ejected"];

/// Bounds of counts: chunks of a job.
const COUNT_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Bounds of tokens of a chunk.
const TOKEN_BUCKETS: &[f64] = &[128.0, 512.0, 2_048.0, 8_192.0, 32_768.0, 131_072.0, 524_288.0];

/// Bounds of shares.
const RATIO_BUCKETS: &[f64] = &[0.5, 0.9, 0.99, 1.0];

/// The client counts by a facade of the process: its recorder is made once, and is nobody else's here.
static CLIENT: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The metrics of one gateway.
#[derive(Debug)]
pub(crate) struct GatewayMetrics {
    pub(crate) frontend: Arc<FrontendMetrics>,
    endpoints: GaugeVec,
    in_flight: prometheus::IntGauge,
    budget: GaugeVec,
}

impl GatewayMetrics {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// When two metrics have one name, which tests rule out.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let frontend = Arc::new(FrontendMetrics::new()?);
        let make = frontend.registrar();
        let build = make.gauges("sortie_build_info", "1; the build is in the labels", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let metrics = Self {
            endpoints: make.gauges("sortie_gateway_endpoints", "Servers, by what is known of them", &["state"])?,
            in_flight: make
                .gauge("sortie_gateway_in_flight_tokens", "Tokens that servers have and have not answered")?,
            budget: make.gauges(
                "sortie_gateway_budget_tokens",
                "Tokens that extra attempts may still take, by kind",
                &["kind"],
            )?,
            frontend: Arc::clone(&frontend),
        };
        CLIENT.get_or_init(recorder);
        Ok(metrics)
    }

    /// Everything as text, with what `client` knows now.
    ///
    /// # Errors
    /// When a metric cannot be written as text, which tests rule out.
    pub(crate) fn render(&self, client: &Client, ready: bool) -> Result<String, prometheus::Error> {
        let stats = client.stats();
        let count = |of: fn(&sortie_client::EndpointStats) -> bool| stats.endpoints.iter().filter(|e| of(e)).count();
        let counts = [count(|_| true), count(|e| e.ready), count(|e| e.suspect), count(|e| e.ejected)];
        for (state, count) in STATES.into_iter().zip(counts) {
            self.endpoints.with_label_values(&[state]).set(count as f64);
        }
        let tokens = stats.endpoints.iter().map(|endpoint| endpoint.in_flight_tokens).sum::<u64>();
        self.in_flight.set(i64::try_from(tokens).unwrap_or(i64::MAX));
        self.budget.with_label_values(&["retry"]).set(stats.retry_budget_tokens as f64);
        self.budget.with_label_values(&["hedge"]).set(stats.hedge_budget_tokens as f64);
        let mut text = self.frontend.render(ready)?;
        if let Some(Some(client)) = CLIENT.get() {
            text.push_str(&client.render());
        }
        Ok(text)
    }
}

/// Puts what was observed since into its buckets; called now and then, or it would pile up where nobody scrapes.
pub(crate) fn settle() {
    if let Some(Some(client)) = CLIENT.get() {
        client.run_upkeep();
    }
}

/// Installs the recorder of the client's metrics; none where the process has another.
fn recorder() -> Option<PrometheusHandle> {
    let suffix = |suffix: &str| Matcher::Suffix(suffix.to_owned());
    let made = PrometheusBuilder::new()
        .set_buckets_for_metric(suffix("_seconds"), buckets::REQUEST_SECONDS)
        .and_then(|made| made.set_buckets_for_metric(suffix("_tokens"), TOKEN_BUCKETS))
        .and_then(|made| made.set_buckets_for_metric(suffix("_chunks"), COUNT_BUCKETS))
        .and_then(|made| made.set_buckets_for_metric(suffix("_ratio"), RATIO_BUCKETS))
        .and_then(|made| made.install_recorder());
    made.inspect_err(|error| tracing::warn!(%error, "the client's metrics are not shown")).ok()
}
