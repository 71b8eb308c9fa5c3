//! What came of a benchmark: what `sortie bench --json` prints, and what reads it again.

use std::{collections::BTreeMap, path::Path};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{
    record::{Record, TruthCounts, millis},
    target::BenchError,
    wire::{BenchProtocol, BenchTask},
};
use crate::plot;

/// Points of a latency curve, as shares of jobs.
const CURVE: [f64; 20] =
    [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0];

/// Share up to which curves are drawn.
const MOST_DRAWN: f64 = 0.9999;

/// What was asked for and what it came to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Setting {
    /// What the run is called.
    pub label: String,
    /// What was spoken to the servers.
    pub protocol: BenchProtocol,
    /// What jobs asked for.
    pub task: BenchTask,
    /// How they came: `poisson`, `burst:N`, the trace's file, or `closed:N` callers.
    pub arrivals: String,
    /// Jobs a second; null in a closed loop, where the servers decide.
    #[serde(with = "number")]
    pub rate: f64,
    /// Jobs a second that a closed loop found before; null where none was run.
    #[serde(with = "number")]
    pub capacity: f64,
    /// Offered tokens over what the servers say they can do.
    #[serde(with = "number")]
    pub load: f64,
    /// Mean, as estimated before.
    pub tokens_per_job: f64,
    /// Documents in a job.
    pub documents: String,
    /// Bytes of a document, or the file they come from.
    pub bytes: String,
    /// Time each strategy was measured.
    pub seconds: f64,
    /// Turns they took.
    pub rounds: u32,
    /// Where randomness began.
    pub seed: u64,
    /// Time a job had.
    pub deadline_ms: f64,
    /// Servers named.
    pub endpoints: usize,
}

/// Latencies in milliseconds; null where there was no job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Latency {
    /// Their mean.
    #[serde(with = "number")]
    pub mean: f64,
    /// Half of the jobs took no longer.
    #[serde(with = "number")]
    pub p50: f64,
    /// Nine of ten.
    #[serde(with = "number")]
    pub p90: f64,
    /// 99 of 100.
    #[serde(with = "number")]
    pub p99: f64,
    /// 999 of 1,000.
    #[serde(with = "number")]
    pub p999: f64,
    /// The longest.
    #[serde(with = "number")]
    pub max: f64,
}

impl Latency {
    fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| millis(histogram, quantile);
        let mean = if histogram.is_empty() { f64::NAN } else { histogram.mean() / 1e3 };
        Self { mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

/// Jobs that failed for one reason.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Failures {
    /// How many.
    pub jobs: u64,
    /// From their sending.
    pub after_ms: Latency,
}

impl Failures {
    fn new(times: &Histogram<u64>) -> Self {
        Self { jobs: times.len(), after_ms: Latency::new(times) }
    }
}

/// What came of one strategy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct StrategyRow {
    /// Its name.
    pub strategy: String,
    /// Jobs that ended by themselves.
    pub jobs: u64,
    /// Of them, those without a whole answer.
    pub failed: u64,
    /// Failures by reason.
    pub reasons: BTreeMap<String, Failures>,
    /// Jobs given up on purpose.
    pub cancelled: u64,
    /// Answered jobs, from their intended start.
    pub latency_ms: Latency,
    /// All jobs, a failed one as late as its deadline at least.
    pub all_ms: Latency,
    /// Documents of all answers, by what was wrong with them.
    pub truths: TruthCounts,
    /// Whole answers a second.
    pub answered_per_second: f64,
    /// Tokens a second in whole answers; four bytes count as one where servers do not tell.
    pub goodput_tokens_per_second: f64,
    /// Chunks that were sent again because they were late, in answered jobs.
    pub hedges: u64,
    /// Of them, those whose second attempt answered first.
    pub hedges_won: u64,
    /// Tokens of hedges over tokens of first attempts.
    #[serde(with = "number")]
    pub hedge_share: f64,
    /// Tokens of retries, free ones left out, over tokens of first attempts.
    #[serde(with = "number")]
    pub retry_share: f64,
    /// Tokens sent again because a connection died with them, over tokens of first attempts.
    #[serde(with = "number")]
    pub free_share: f64,
    /// Processor time of this process per job, in microseconds, generating arrivals and checking answers included.
    #[serde(with = "number")]
    pub cpu_us_per_job: f64,
    /// How late jobs were sent.
    pub late_ms: Latency,
    /// (Share of jobs, milliseconds) of answered jobs.
    pub curve: Vec<(f64, f64)>,
}

impl StrategyRow {
    /// Sums a record up.
    pub(super) fn new(strategy: &str, record: &Record) -> Self {
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        let per_second = |count: u64| count as f64 / record.measured.as_secs_f64().max(f64::MIN_POSITIVE);
        let spent = record.spent;
        let curve = CURVE.iter().filter(|_| !record.answered.is_empty());
        Self {
            strategy: strategy.to_owned(),
            jobs: record.jobs(),
            failed: record.failures(),
            reasons: record.reasons.iter().map(|(reason, times)| (reason.clone(), Failures::new(times))).collect(),
            cancelled: record.cancelled,
            latency_ms: Latency::new(&record.answered),
            all_ms: Latency::new(&record.all),
            truths: record.truths,
            answered_per_second: per_second(record.answered.len()),
            goodput_tokens_per_second: per_second(record.tokens),
            hedges: record.hedges,
            hedges_won: record.hedges_won,
            hedge_share: share(spent.hedges, spent.first),
            retry_share: share(spent.retries, spent.first),
            free_share: share(spent.free, spent.first),
            cpu_us_per_job: record.cpu.as_secs_f64() * 1e6 / (record.jobs() + record.cancelled) as f64,
            late_ms: Latency::new(&record.late),
            curve: curve.map(|&quantile| (quantile, millis(&record.answered, quantile))).collect(),
        }
    }
}

/// The whole benchmark.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct BenchReport {
    /// What was asked for.
    pub setting: Setting,
    /// One a strategy.
    pub results: Vec<StrategyRow>,
}

impl BenchReport {
    /// Draws latencies by share of jobs into an SVG file.
    ///
    /// # Errors
    ///
    /// If no job was answered or the file cannot be written; the message begins with the flag.
    pub fn draw(&self, path: &Path) -> Result<(), BenchError> {
        plot::tails(self.curves(), MOST_DRAWN, Some(&self.title()), path)
            .map_err(|error| BenchError::unwritten("--plot", path, error))
    }

    /// The same picture as text.
    ///
    /// # Errors
    ///
    /// If no job was answered.
    pub fn svg(&self) -> Result<String, BenchError> {
        plot::tails_svg(self.curves(), MOST_DRAWN, Some(&self.title()))
            .map_err(|error| BenchError::Internal(format!("no picture: {error}")))
    }

    fn curves(&self) -> Vec<plot::Curve> {
        let curve = |row: &StrategyRow| {
            let points = row.curve.iter().filter(|(share, _)| *share <= MOST_DRAWN);
            (row.strategy.clone(), points.map(|&(share, ms)| (plot::place_of(share), ms)).collect())
        };
        self.results.iter().map(curve).collect()
    }

    /// What was asked for, in a line.
    #[must_use]
    pub fn title(&self) -> String {
        let s = &self.setting;
        let pace = if s.rate.is_nan() { s.arrivals.clone() } else { format!("{:.1} jobs/s", s.rate) };
        format!("{} servers, {pace} of {} documents, {:.0} tokens", s.endpoints, s.documents, s.tokens_per_job)
    }
}

/// JSON knows no NaN: what is not known is null.
mod number {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Option::deserialize(deserializer).map(|value| value.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::record::{AnsweredJob, BenchJobEnd};

    fn bench() -> BenchReport {
        let mut record = Record::new().unwrap();
        record.measured = Duration::from_secs(2);
        for ms in 1..=100 {
            let ended = BenchJobEnd::Answered(AnsweredJob { tokens: 20, ..AnsweredJob::default() });
            record.add(&ended, Duration::from_millis(ms), Duration::ZERO, Duration::from_secs(1));
        }
        let failed = BenchJobEnd::Failed("UNAVAILABLE".to_owned());
        record.add(&failed, Duration::from_millis(1), Duration::ZERO, Duration::from_secs(1));
        let setting = Setting {
            rate: 50.0,
            capacity: f64::NAN,
            load: f64::NAN,
            tokens_per_job: 20.0,
            documents: "2".to_owned(),
            bytes: "40".to_owned(),
            seconds: 2.0,
            rounds: 1,
            seed: 1,
            deadline_ms: 1000.0,
            endpoints: 3,
            ..Setting::default()
        };
        BenchReport { setting, results: vec![StrategyRow::new("whole", &record)] }
    }

    #[test]
    fn rows_sum_up() {
        let bench = bench();
        let row = &bench.results[0];
        assert_eq!((row.jobs, row.failed, row.goodput_tokens_per_second), (101, 1, 1000.0));
        assert!((row.latency_ms.p50 - 50.0).abs() < 0.1, "{row:?}");
        assert!(row.all_ms.max >= 999.0);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let json = serde_json::to_value(bench()).unwrap();
        assert!(json["setting"]["load"].is_null());
        assert!(json["results"][0]["hedge_share"].is_null());
        assert_eq!(json["results"][0]["reasons"]["UNAVAILABLE"]["jobs"], 1);
        let read: BenchReport = serde_json::from_value(json).unwrap();
        assert!(read.setting.load.is_nan() && read.results[0].hedge_share.is_nan());
        assert_eq!(read.results[0].latency_ms, bench().results[0].latency_ms);
    }
}
