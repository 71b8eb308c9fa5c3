//! What the gateway counts besides what [`sortie_frontend`] does: the fleet as it stands, and what the client counts.

use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge};
use sortie_client::{Client, Report};
use sortie_frontend::metrics::{FrontendMetrics, buckets};

use crate::cache::AnswerCache;

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
    in_flight: IntGauge,
    budget: GaugeVec,
    pub(crate) reuse: ReuseCounters,
    cache_entries: IntGauge,
    cache_bytes: IntGauge,
}

/// How a lookup in the cache ended, as labels: found, not found, and not looked for, as nothing of the kind is kept, or
/// servers disagree on the model.
const LOOKUPS: [&str; 3] = ["hit", "miss", "skipped"];

/// Items that were answered without being computed, and those that were looked up.
#[derive(Clone, Debug)]
pub(crate) struct ReuseCounters {
    duplicates: IntCounter,
    lookups: IntCounterVec,
}

impl ReuseCounters {
    /// Counts the items of a job that ended well; `cache` where there is one.
    pub(crate) fn count(&self, report: &Report, cache: bool) {
        self.duplicates.inc_by(report.duplicates as u64);
        let computed = report.tokens.len().saturating_sub(report.kept.unwrap_or_default() + report.duplicates) as u64;
        let count = |result: &str, items: u64| self.lookups.with_label_values(&[result]).inc_by(items);
        match report.kept {
            Some(kept) => {
                count("hit", kept as u64);
                count("miss", computed);
            }
            None if cache => count("skipped", computed),
            None => {}
        }
    }
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
        let reuse = ReuseCounters {
            duplicates: make.counter(
                "sortie_gateway_duplicate_items_total",
                "Items that were answered with the answer of an equal one before them in their message",
            )?,
            lookups: make.counters(
                "sortie_gateway_cache_lookups_total",
                "Items by what the cache had of them: an answer, none, or nothing that could be asked for",
                &["result"],
            )?,
        };
        for result in LOOKUPS {
            reuse.lookups.with_label_values(&[result]);
        }
        let metrics = Self {
            reuse,
            cache_entries: make.gauge("sortie_gateway_cache_entries", "Answers that the cache holds")?,
            cache_bytes: make
                .gauge("sortie_gateway_cache_bytes", "Bytes that they take, with the bookkeeping of each")?,
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
    pub(crate) fn render(
        &self,
        client: &Client,
        cache: Option<&AnswerCache>,
        ready: bool,
    ) -> Result<String, prometheus::Error> {
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
        let (entries, bytes) = cache.map(AnswerCache::size).unwrap_or_default();
        self.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
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
