//! What came of a benchmark, one row a strategy.

use sortie_lab::bench::BenchReport;

use super::PrintedAnswer;
use crate::screen::Screen;

/// Lateness of arrivals past which the generator, not the fleet, was measured.
const LATE_MS: f64 = 5.0;

impl PrintedAnswer for BenchReport {
    fn table(&self, screen: Screen) -> String {
        let s = &self.setting;
        let load = if s.load.is_nan() { String::new() } else { format!(", load {:.2}", s.load) };
        let head = format!("{}{load}, {} s each, seed {}\n\n", self.title(), s.seconds, s.seed);
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

#[cfg(test)]
mod tests {
    use sortie_lab::bench::{Failures, Latency, StrategyRow};

    use super::*;

    #[test]
    fn a_row_has_its_numbers_and_why_jobs_failed_and_a_late_generator_is_told() {
        let latency_ms = Latency { p50: 50.0, p90: f64::NAN, ..Latency::default() };
        let failures = Failures { jobs: 1, ..Failures::default() };
        let row = StrategyRow {
            strategy: "whole".to_owned(),
            latency_ms,
            reasons: [("UNAVAILABLE".to_owned(), failures)].into(),
            ..StrategyRow::default()
        };
        let mut report = BenchReport { results: vec![row], ..BenchReport::default() };
        let table = report.table(Screen::default());
        assert!(["whole", "UNAVAILABLE 1", "50.0", " - "].iter().all(|part| table.contains(part)), "{table}");
        assert_eq!(report.warning(), None);
        report.results[0].late_ms.p99 = 9.0;
        assert!(report.warning().is_some_and(|warning| warning.contains("p99 9.0 ms")));
    }
}
