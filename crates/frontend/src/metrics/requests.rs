//! Requests: how many, how long, how they ended, and what their chunks took in
//! each stage.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGauge};
use sortie_proto::{code::code_name, v1::ChunkInfo};
use tokio::time::Instant;
use tonic::Code;

use super::{buckets, registrar::MetricRegistrar};
use crate::load_reports::FailureShare;

/// Stages a chunk goes through, as labels.
const STAGES: [&str; 3] = ["tokenize", "queue", "compute"];

/// Ends of an item, as labels.
const ITEM_ENDS: [&str; 2] = ["ok", "error"];

/// Reasons of refusals that rules and dashboards watch, so that their series are there, at zero, before the first.
/// Others appear when they happen.
pub const REASONS: [&str; 8] = [
    "QUEUE_FULL",
    "DEADLINE_TOO_SHORT",
    "TOO_MANY_CHUNKS",
    "DEADLINE_EXCEEDED",
    "DRAINING",
    "BACKEND_GONE",
    "RUN_FAILED",
    "INTERNAL",
];

/// See the module.
#[derive(Debug)]
pub struct RequestMetrics {
    total: IntCounterVec,
    duration: HistogramVec,
    pub(crate) in_flight: IntGauge,
    refusals: IntCounterVec,
    items: IntCounterVec,
    truncated: IntCounterVec,
    tokens: IntCounterVec,
    stage: HistogramVec,
    /// Of late, for balancers.
    pub(crate) failures: FailureShare,
}

impl RequestMetrics {
    pub(super) fn new(make: &MetricRegistrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            total: make.counters(
                "sortie_requests_total",
                "Requests that ended, by gRPC code; CANCELLED are those whose caller went away",
                &["rpc", "model", "code"],
            )?,
            duration: make.histograms(
                "sortie_request_duration_seconds",
                "From a request's headers to its answer",
                &["rpc", "model"],
                buckets::REQUEST_SECONDS,
            )?,
            in_flight: make.gauge("sortie_requests_in_flight", "Requests worked on now")?,
            refusals: make.counters(
                "sortie_refusals_total",
                "Requests refused or failed, by reason as in docs/errors.md",
                &["model", "reason"],
            )?,
            items: make.counters("sortie_items_total", "Items answered, by how", &["model", "result"])?,
            truncated: make.counters("sortie_items_truncated_total", "Items cut to fit the model", &["model"])?,
            tokens: make.counters("sortie_tokens_total", "Tokens of items answered", &["model"])?,
            stage: make.histograms(
                "sortie_stage_duration_seconds",
                "Time of a request's chunk in one stage",
                &["model", "stage"],
                buckets::STAGE_SECONDS,
            )?,
            failures: FailureShare::default(),
        })
    }

    /// A model is served from now on: its figures stand at zero instead of missing.
    pub fn expect(&self, model: &str) {
        for end in ITEM_ENDS {
            self.items.with_label_values(&[model, end]);
        }
        self.truncated.with_label_values(&[model]);
        self.tokens.with_label_values(&[model]);
        for reason in REASONS {
            self.refusals.with_label_values(&[model, reason]);
        }
        for stage in STAGES {
            self.stage.with_label_values(&[model, stage]);
        }
    }

    /// A request ended.
    pub fn ended(&self, rpc: &str, model: &str, code: Code, took: Duration) {
        self.failures.ended(code, Instant::now());
        self.total.with_label_values(&[rpc, model, code_name(code)]).inc();
        self.duration.with_label_values(&[rpc, model]).observe(took.as_secs_f64());
    }

    /// A request was refused.
    pub fn refused(&self, model: &str, reason: &str) {
        self.refusals.with_label_values(&[model, reason]).inc();
    }

    /// A chunk was answered: where its time went, and how many items failed or were cut.
    pub fn chunk(&self, chunk: &ChunkInfo, items: usize, failed: usize, truncated: usize) {
        let model = chunk.model.as_str();
        for (stage, us) in STAGES.into_iter().zip([chunk.tokenize_us, chunk.queue_us, chunk.compute_us]) {
            self.stage.with_label_values(&[model, stage]).observe(us as f64 / 1e6);
        }
        let ok = items.saturating_sub(failed) as u64;
        for (end, n) in ITEM_ENDS.into_iter().zip([ok, failed as u64]) {
            self.items.with_label_values(&[model, end]).inc_by(n);
        }
        self.truncated.with_label_values(&[model]).inc_by(truncated as u64);
        self.tokens.with_label_values(&[model]).inc_by(chunk.tokens);
    }
}
