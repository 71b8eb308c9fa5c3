//! Queue and device: figures of each model's scheduler, copied at a scrape.

use std::{collections::BTreeSet, sync::Arc};

use prometheus::GaugeVec;
use sortie_proto::v1::ModelState;

use sortie_frontend::metrics::MetricRegistrar;

use super::{counts::CountMetrics, tokenizing::TokenizeMetrics};
use crate::models::Served;

/// Figures copied at a scrape.
#[derive(Debug)]
pub(super) struct LoadReportMetrics {
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

impl LoadReportMetrics {
    pub(super) fn new(make: &MetricRegistrar<'_>) -> Result<Self, prometheus::Error> {
        let of_model = |name, help| make.gauges(name, help, &["model"]);
        Ok(Self {
            queue_tokens: of_model("sortie_queue_tokens", "Tokens of work admitted whose batch does not run yet")?,
            queue_limit: of_model("sortie_queue_limit_tokens", "Most tokens that may wait")?,
            running_tokens: of_model("sortie_running_tokens", "Tokens of work in the batches that run")?,
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
            rate: of_model("sortie_device_tokens_per_second", "Tokens of work a second that full batches give")?,
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
