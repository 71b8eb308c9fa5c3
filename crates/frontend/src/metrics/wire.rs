//! Connections: how many, how they began and ended; files that were read anew.

use prometheus::{IntCounterVec, IntGauge};

use super::registrar::MetricRegistrar;

/// How a connection began, or why it did not.
pub const OPENINGS: [&str; 4] = ["accepted", "over_limit", "handshake_failed", "handshake_timeout"];

/// Who ended a connection, and why.
pub const ENDINGS: [&str; 5] = ["peer", "age", "drain", "stalled", "error"];

/// Files that are watched.
pub const RELOADED: [&str; 3] = ["tls", "keys", "endpoints"];

/// See the module.
#[derive(Clone, Debug)]
pub struct WireMetrics {
    open: IntGauge,
    opened: IntCounterVec,
    closed: IntCounterVec,
    reloads: IntCounterVec,
}

impl WireMetrics {
    pub(super) fn new(make: &MetricRegistrar<'_>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            open: make.gauge("sortie_connections", "Connections open now")?,
            opened: make.counters(
                "sortie_connections_opened_total",
                "Connections that came, by what became of them",
                &["result"],
            )?,
            closed: make.counters("sortie_connections_closed_total", "Connections that ended, by why", &["reason"])?,
            reloads: make.counters(
                "sortie_reloads_total",
                "Times a watched file changed and was read anew",
                &["file", "result"],
            )?,
        };
        for result in OPENINGS {
            metrics.opened.with_label_values(&[result]);
        }
        for reason in ENDINGS {
            metrics.closed.with_label_values(&[reason]);
        }
        for file in RELOADED {
            for result in ["ok", "error"] {
                metrics.reloads.with_label_values(&[file, result]);
            }
        }
        Ok(metrics)
    }

    /// A connection came; `result` is one of [`OPENINGS`].
    pub fn opened(&self, result: &'static str) {
        self.opened.with_label_values(&[result]).inc();
    }

    /// A connection is open until what this gives is dropped.
    pub fn open(&self) -> OpenGuard {
        self.open.inc();
        OpenGuard(self.open.clone())
    }

    /// A connection ended; `reason` is one of [`ENDINGS`].
    pub fn closed(&self, reason: &'static str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// A watched file, one of [`RELOADED`], was read anew.
    pub fn reloaded(&self, file: &'static str, ok: bool) {
        self.reloads.with_label_values(&[file, if ok { "ok" } else { "error" }]).inc();
    }
}

/// An open connection.
#[derive(Debug)]
pub struct OpenGuard(IntGauge);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
