//! Makes metrics and registers them: name, help, labels, and nothing forgotten.

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

/// Registers what it makes.
#[derive(Debug)]
pub struct MetricRegistrar<'r>(pub(super) &'r Registry);

type RegisterResult<T> = Result<T, prometheus::Error>;

impl MetricRegistrar<'_> {
    fn keep<T: Collector + Clone + 'static>(&self, metric: T) -> RegisterResult<T> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// A counter without labels.
    pub fn counter(&self, name: &str, help: &str) -> RegisterResult<IntCounter> {
        self.keep(IntCounter::new(name, help)?)
    }

    /// A counter by labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> RegisterResult<IntCounterVec> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A counter of seconds or the like, by labels.
    pub fn real_counters(&self, name: &str, help: &str, labels: &[&str]) -> RegisterResult<prometheus::CounterVec> {
        self.keep(prometheus::CounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A whole number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> RegisterResult<IntGauge> {
        self.keep(IntGauge::new(name, help)?)
    }

    /// A number that goes up and down, by labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> RegisterResult<GaugeVec> {
        self.keep(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A histogram by labels.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> RegisterResult<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.keep(HistogramVec::new(options, labels)?)
    }
}
