//! Batches of each model, counted as they run.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec};
use sortie_engine::{ArenaUse, Device};

use sortie_frontend::metrics::{MetricRegistrar, buckets};

/// Tokens of a batch: powers of two from one short text to the largest GPU batch.
const TOKEN_BUCKETS: &[f64] =
    &[32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0, 4_096.0, 8_192.0, 16_384.0, 32_768.0, 65_536.0, 131_072.0];

/// Tokens of a batch over the most it may have. Above 1 is one single long text.
const FILL_BUCKETS: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

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
            tokens: make.histograms("sortie_batch_tokens", "Tokens of one batch", model, TOKEN_BUCKETS)?,
            fill: make.histograms(
                "sortie_batch_fill_ratio",
                "Tokens of one batch over the most it may have",
                model,
                FILL_BUCKETS,
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
    use sortie_frontend::metrics::FrontendMetrics;

    use super::*;

    #[test]
    fn bounds_rise() {
        for bounds in [TOKEN_BUCKETS, FILL_BUCKETS] {
            assert!(bounds.windows(2).all(|w| w[0] < w[1]), "{bounds:?}");
        }
    }

    #[test]
    fn memory_is_shown_by_device_and_goes_with_its_session() {
        let all = FrontendMetrics::new().unwrap();
        let metrics = BatchMetrics::new(&all.registrar()).unwrap();
        let shown = || {
            let text = all.render(true).unwrap();
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
