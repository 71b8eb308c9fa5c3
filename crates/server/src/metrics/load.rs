//! Queue and device: figures of each model's scheduler, copied at a scrape, and
//! its batches, counted as they run.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use prometheus::{GaugeVec, HistogramVec};
use sortie_engine::{ArenaUse, Device};
use sortie_proto::v1::ModelState;

use super::{buckets, counts::CountMetrics, registrar::MetricRegistrar, tokenizing::TokenizeMetrics};
use crate::models::Served;

/// Figures copied at a scrape.
#[derive(Debug)]
pub(super) struct LoadMetrics {
    queue_tokens: GaugeVec,
    queue_limit: GaugeVec,
    running_tokens: GaugeVec,
    queue_wait: GaugeVec,
    busy: GaugeVec,
    overdue: GaugeVec,
    batch_cost: GaugeVec,
    token_cost: GaugeVec,
    rate: GaugeVec,
    batch_limit: GaugeVec,
    devices: GaugeVec,
    model_ready: GaugeVec,
    info: GaugeVec,
    counts: CountMetrics,
    tokenizing: TokenizeMetrics,
    /// Models of the last scrape, with their revisions.
    known: BTreeSet<ModelLabels>,
}

/// What tells a served model apart from one that was there before.
type ModelLabels = [String; 6];

impl LoadMetrics {
    pub(super) fn new(make: &MetricRegistrar<'_>) -> Result<Self, prometheus::Error> {
        let of_model = |name, help| make.gauges(name, help, &["model"]);
        Ok(Self {
            queue_tokens: of_model("sortie_queue_tokens", "Tokens admitted and not yet in a batch")?,
            queue_limit: of_model("sortie_queue_limit_tokens", "Most tokens that may wait")?,
            running_tokens: of_model("sortie_running_tokens", "Tokens in the batch that runs")?,
            queue_wait: of_model(
                "sortie_queue_wait_estimate_seconds",
                "Time until a request that arrives now would start",
            )?,
            busy: of_model("sortie_device_busy_ratio", "Share of the last second a batch was running")?,
            overdue: of_model(
                "sortie_batch_overdue_ratio",
                "Age of the running batch over its predicted duration; above 1 it is overdue",
            )?,
            batch_cost: of_model("sortie_batch_cost_seconds", "Fitted fixed cost of a batch")?,
            token_cost: of_model("sortie_token_cost_seconds", "Fitted cost of one token")?,
            rate: of_model("sortie_device_tokens_per_second", "Tokens a second that full batches give")?,
            batch_limit: of_model(
                "sortie_batch_limit_tokens",
                "Most tokens of a batch; less than configured after a device ran out of memory",
            )?,
            devices: of_model("sortie_devices", "Devices of the model that take work")?,
            model_ready: of_model("sortie_model_ready", "1 while the model takes work")?,
            info: make.gauges(
                "sortie_model_info",
                "1; what is served is in the labels",
                &["model", "revision", "task", "engine", "device", "precision"],
            )?,
            counts: CountMetrics::new(make)?,
            tokenizing: TokenizeMetrics::new(make)?,
            known: BTreeSet::new(),
        })
    }

    /// Copies the figures of the models served now, and forgets those of others.
    pub(super) fn copy(&mut self, models: &[Arc<Served>]) {
        let now: BTreeSet<ModelLabels> = models.iter().map(|served| labels(served)).collect();
        for gone in self.known.difference(&now) {
            self.forget(gone);
        }
        for (served, labels) in models.iter().zip(models.iter().map(|served| labels(served))) {
            let model = [served.name.as_str()];
            let load = served.scheduler.load();
            let ready = f64::from(u8::from(served.state() == ModelState::Ready));
            for (gauge, value) in [
                (&self.queue_tokens, load.queued_tokens as f64),
                (&self.queue_limit, served.limits.max_queue_tokens as f64),
                (&self.running_tokens, load.running_tokens as f64),
                (&self.queue_wait, f64::from(load.queue_wait_ms) / 1e3),
                (&self.busy, f64::from(load.busy)),
                (&self.overdue, f64::from(load.overdue)),
                (&self.batch_cost, f64::from(load.a_ms) / 1e3),
                (&self.token_cost, f64::from(load.b_us) / 1e6),
                (&self.rate, f64::from(load.rate_tokens_per_second)),
                (&self.batch_limit, f64::from(load.max_batch_tokens)),
                (&self.devices, f64::from(load.devices)),
                (&self.model_ready, ready),
            ] {
                gauge.with_label_values(&model).set(value);
            }
            self.info.with_label_values(&labels).set(1.0);
            self.counts.copy(&served.name, load.epoch, served.scheduler.counts());
            self.tokenizing.copy(served, load.epoch);
        }
        self.known = now;
    }

    fn forget(&self, labels: &ModelLabels) {
        // An error means that it was never set.
        drop(self.info.remove_label_values(labels));
        let [model, ..] = labels;
        self.tokenizing.forget(model);
        for gauge in [
            &self.queue_tokens,
            &self.queue_limit,
            &self.running_tokens,
            &self.queue_wait,
            &self.busy,
            &self.overdue,
            &self.batch_cost,
            &self.token_cost,
            &self.rate,
            &self.batch_limit,
            &self.devices,
            &self.model_ready,
        ] {
            drop(gauge.remove_label_values(&[model]));
        }
    }
}

fn labels(served: &Served) -> ModelLabels {
    let info = served.info();
    let task = served.describe().task().as_str_name();
    let task = task.strip_prefix("TASK_").unwrap_or(task).to_lowercase();
    let words = [&info.engine.to_string(), &info.device, &info.precision.to_string()].map(Clone::clone);
    let [engine, device, precision] = words;
    [served.name.clone(), served.revision.clone(), task, engine, device, precision]
}

/// Batches, counted on the device's own thread as they run.
#[derive(Debug)]
pub(crate) struct BatchMetrics {
    duration: HistogramVec,
    tokens: HistogramVec,
    fill: HistogramVec,
    /// Device memory of the sessions; nothing on processors.
    held: GaugeVec,
    peak: GaugeVec,
    most: GaugeVec,
}

impl BatchMetrics {
    pub(super) fn new(make: &MetricRegistrar<'_>) -> Result<Self, prometheus::Error> {
        let model = &["model"];
        let memory = |name, help| make.gauges(name, help, &["model", "device"]);
        Ok(Self {
            held: memory("sortie_device_memory_bytes", "Device memory that the model's arena holds")?,
            peak: memory("sortie_device_memory_peak_bytes", "Most of the arena that was in use at once")?,
            most: memory("sortie_device_memory_limit_bytes", "Most device memory that the arena may take")?,
            duration: make.histograms(
                "sortie_batch_duration_seconds",
                "Time of one batch on the device",
                model,
                buckets::STAGE_SECONDS,
            )?,
            tokens: make.histograms("sortie_batch_tokens", "Tokens of one batch", model, buckets::BATCH_TOKENS)?,
            fill: make.histograms(
                "sortie_batch_fill_ratio",
                "Tokens of one batch over the most it may have",
                model,
                buckets::FILL,
            )?,
        })
    }

    pub(super) fn expect(&self, model: &str) {
        for histogram in [&self.duration, &self.tokens, &self.fill] {
            histogram.with_label_values(&[model]);
        }
    }

    /// What a session of the model on `device` holds of its memory. The device's second session has a label of its own.
    pub(crate) fn holds(&self, model: &str, device: Device, session: usize, arena: ArenaUse) {
        let device = label(device, session);
        let labels = [model, device.as_str()];
        self.held.with_label_values(&labels).set(arena.held as f64);
        self.peak.with_label_values(&labels).set(arena.peak as f64);
        if let Some(limit) = arena.limit {
            self.most.with_label_values(&labels).set(limit as f64);
        }
    }

    /// The session is gone.
    pub(crate) fn released(&self, model: &str, device: Device, session: usize) {
        let device = label(device, session);
        for gauge in [&self.held, &self.peak, &self.most] {
            // An error means that it was never set.
            drop(gauge.remove_label_values(&[model, device.as_str()]));
        }
    }

    /// A batch of `tokens`, of at most `limit`, ran for `took`.
    pub(crate) fn ran(&self, model: &str, tokens: usize, limit: u32, took: Duration) {
        let label = [model];
        self.duration.with_label_values(&label).observe(took.as_secs_f64());
        self.tokens.with_label_values(&label).observe(tokens as f64);
        self.fill.with_label_values(&label).observe(tokens as f64 / f64::from(limit.max(1)));
    }
}

/// `cuda:0`, and `cuda:0 2` for a second session on it.
fn label(device: Device, session: usize) -> String {
    if session > 1 { format!("{device} {session}") } else { device.to_string() }
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;

    #[test]
    fn memory_is_shown_by_device_and_goes_with_its_session() {
        let registry = Registry::new();
        let metrics = BatchMetrics::new(&MetricRegistrar(&registry)).unwrap();
        let shown = || {
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            text.lines().filter(|l| l.starts_with("sortie_device_memory")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(shown().is_empty(), "nothing on processors");
        metrics.holds("m", Device::Cuda(0), 1, ArenaUse { held: 7, peak: 5, limit: Some(9) });
        metrics.holds("m", Device::Cuda(0), 2, ArenaUse { held: 3, peak: 2, limit: None });
        assert!(shown().contains(&r#"sortie_device_memory_bytes{device="cuda:0 2",model="m"} 3"#.to_owned()));
        metrics.released("m", Device::Cuda(0), 2);
        assert_eq!(
            shown(),
            [
                r#"sortie_device_memory_bytes{device="cuda:0",model="m"} 7"#,
                r#"sortie_device_memory_limit_bytes{device="cuda:0",model="m"} 9"#,
                r#"sortie_device_memory_peak_bytes{device="cuda:0",model="m"} 5"#,
            ]
        );
    }
}
