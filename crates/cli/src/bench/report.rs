//! What is printed: a table for people, one JSON document for programs.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use super::record::{Record, millis};
use crate::{report::PrintedAnswer, screen::Screen};

/// Points of a latency curve, as shares of jobs.
const CURVE: [f64; 20] =
    [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0];

/// Lateness of arrivals past which the generator, not the fleet, was measured.
const LATE_MS: f64 = 5.0;

/// What was asked for and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Setting {
    /// Jobs a second.
    pub(crate) rate: f64,
    /// Offered tokens over what the servers say they can do.
    #[serde(serialize_with = "number")]
    pub(crate) load: f64,
    /// Mean, as estimated before.
    pub(crate) tokens_per_job: f64,
    /// Documents in a job.
    pub(crate) documents: String,
    /// Bytes of a document, or the file they come from.
    pub(crate) bytes: String,
    /// Time each strategy was measured.
    pub(crate) seconds: f64,
    /// Turns they took.
    pub(crate) rounds: u32,
    /// Where randomness began.
    pub(crate) seed: u64,
    /// Time a job had.
    pub(crate) deadline_ms: f64,
    /// Servers named.
    pub(crate) endpoints: usize,
}

/// Latencies in milliseconds; null where there was no job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    #[serde(serialize_with = "number")]
    pub(crate) p50: f64,
    #[serde(serialize_with = "number")]
    pub(crate) p90: f64,
    #[serde(serialize_with = "number")]
    pub(crate) p99: f64,
    #[serde(serialize_with = "number")]
    pub(crate) p999: f64,
    #[serde(serialize_with = "number")]
    pub(crate) max: f64,
}

impl Latency {
    fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| millis(histogram, quantile);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

/// Jobs that failed for one reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Failures {
    /// How many.
    pub(crate) jobs: u64,
    /// From their sending.
    pub(crate) after_ms: Latency,
}

impl Failures {
    fn new(times: &Histogram<u64>) -> Self {
        Self { jobs: times.len(), after_ms: Latency::new(times) }
    }
}

/// What came of one strategy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct StrategyRow {
    pub(crate) strategy: String,
    /// Jobs that ended by themselves.
    pub(crate) jobs: u64,
    /// Of them, those without a whole answer.
    pub(crate) failed: u64,
    /// Failures by reason.
    pub(crate) reasons: BTreeMap<String, Failures>,
    /// Jobs given up on purpose.
    pub(crate) cancelled: u64,
    /// Answered jobs, from their intended start.
    pub(crate) latency_ms: Latency,
    /// All jobs, a failed one as late as its deadline at least.
    pub(crate) all_ms: Latency,
    /// Tokens a second in whole answers.
    pub(crate) goodput_tokens_per_second: f64,
    /// Chunks that were sent again because they were late, in answered jobs.
    pub(crate) hedges: u64,
    /// Of them, those whose second attempt answered first.
    pub(crate) hedges_won: u64,
    /// Tokens of hedges over tokens of first attempts.
    #[serde(serialize_with = "number")]
    pub(crate) hedge_share: f64,
    /// Tokens of retries, free ones left out, over tokens of first attempts.
    #[serde(serialize_with = "number")]
    pub(crate) retry_share: f64,
    /// Tokens sent again because a connection died with them, over tokens of first attempts.
    #[serde(serialize_with = "number")]
    pub(crate) free_share: f64,
    /// Processor time of this process per job, in microseconds, generating arrivals and checking answers included.
    #[serde(serialize_with = "number")]
    pub(crate) cpu_us_per_job: f64,
    /// How late jobs were sent.
    pub(crate) late_ms: Latency,
    /// (Share of jobs, milliseconds) of answered jobs.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl StrategyRow {
    /// Sums a record up.
    pub(crate) fn new(strategy: &str, record: &Record) -> Self {
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
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
            goodput_tokens_per_second: record.tokens as f64 / record.measured.as_secs_f64().max(f64::MIN_POSITIVE),
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Bench {
    /// What was asked for.
    pub(crate) setting: Setting,
    /// One a strategy.
    pub(crate) results: Vec<StrategyRow>,
}

impl Bench {
    /// A benchmark that ended.
    pub(crate) fn new(setting: Setting, results: Vec<StrategyRow>) -> Self {
        Self { setting, results }
    }
}

impl PrintedAnswer for Bench {
    fn table(&self, screen: Screen) -> String {
        let s = &self.setting;
        let head = format!(
            "{} servers, {:.1} jobs/s of {} documents ({:.0} tokens), load {:.2}, {} s each, seed {}\n\n",
            s.endpoints, s.rate, s.documents, s.tokens_per_job, s.load, s.seconds, s.seed
        );
        let ms = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{value:.1}") };
        let percent = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{:.2}", value * 100.0) };
        let rows = self.results.iter().map(|row| {
            let reasons: Vec<String> =
                row.reasons.iter().map(|(reason, failures)| format!("{reason} {}", failures.jobs)).collect();
            [
                row.strategy.clone(),
                row.jobs.to_string(),
                row.failed.to_string(),
                ms(row.latency_ms.p50),
                ms(row.latency_ms.p90),
                ms(row.latency_ms.p99),
                ms(row.latency_ms.p999),
                percent(row.hedge_share),
                percent(row.retry_share),
                format!("{:.0}", row.goodput_tokens_per_second),
                ms(row.cpu_us_per_job),
                reasons.join(", "),
            ]
        });
        let header = [
            "strategy",
            "jobs",
            "failed",
            "p50 ms",
            "p90",
            "p99",
            "p99.9",
            "hedges %",
            "retries %",
            "tok/s",
            "cpu us",
            "reasons",
        ];
        head + &screen.table(header, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], rows)
    }

    fn warning(&self) -> Option<String> {
        let late = self.results.iter().find(|row| row.late_ms.p99 > LATE_MS)?;
        Some(format!(
            "jobs of {} were sent late (p99 {:.1} ms): this machine is too busy to be the measure of others",
            late.strategy, late.late_ms.p99
        ))
    }
}

/// JSON knows no NaN.
fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    value.is_finite().then_some(value).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::record::{AnsweredJob, BenchJobEnd};

    fn bench() -> Bench {
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
            load: f64::NAN,
            tokens_per_job: 20.0,
            documents: "2".to_owned(),
            bytes: "40".to_owned(),
            seconds: 2.0,
            rounds: 1,
            seed: 1,
            deadline_ms: 1000.0,
            endpoints: 3,
        };
        Bench::new(setting, vec![StrategyRow::new("whole", &record)])
    }

    #[test]
    fn rows_sum_up() {
        let bench = bench();
        let row = &bench.results[0];
        assert_eq!((row.jobs, row.failed, row.goodput_tokens_per_second), (101, 1, 1000.0));
        assert!((row.latency_ms.p50 - 50.0).abs() < 0.1, "{row:?}");
        assert!(row.all_ms.max >= 999.0);
        let table = bench.table(Screen::default());
        assert!(table.contains("UNAVAILABLE 1") && table.contains("50.0"), "{table}");
    }

    #[test]
    fn what_is_not_known_is_null() {
        let json = serde_json::to_value(bench()).unwrap();
        assert!(json["setting"]["load"].is_null());
        assert!(json["results"][0]["hedge_share"].is_null());
        assert_eq!(json["results"][0]["reasons"]["UNAVAILABLE"]["jobs"], 1);
    }
}
