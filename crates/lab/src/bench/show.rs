//! A benchmark as lines of JSON, a table in Markdown, and one page that needs no other file.

use std::path::Path;

use askama::Template as _;
use serde::Serialize;

use super::{
    report::{BenchReport, Setting, StrategyRow},
    target::BenchError,
};
use crate::table::markdown;

/// Columns of the tables.
const HEADER: [&str; 12] = [
    "strategy", "jobs", "failed", "p50 ms", "p90", "p99", "p99.9", "all p99", "jobs/s", "hedges %", "wrong", "reasons",
];

/// The page: everything in it is escaped but the picture, which is ours.
#[derive(askama::Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{ label }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; color: #1b1b1b; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #ccc; text-align: right; }
th:first-child, td:first-child, td:last-child { text-align: left; }
svg { max-width: 100%; height: auto; }
</style>
<h1>{{ label }}</h1>
<p>{{ title }}. Protocol {{ protocol }}, task {{ task }}, arrivals {{ arrivals }}, deadline {{ deadline }} ms, seed {{ seed }}.</p>
<p>Latencies count from the moment a job was meant to start, in milliseconds; those of "all p99" count a failed job as late
as its deadline. "Wrong" counts documents that were left out, scored twice, given no number, another score than before or
the reference's, or another order.</p>
<table>
<tr>{% for name in header %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{{ picture|safe }}
</html>
"#
)]
struct ResultPage<'a> {
    label: &'a str,
    title: String,
    protocol: &'a str,
    task: &'a str,
    arrivals: &'a str,
    deadline: f64,
    seed: u64,
    header: &'a [&'a str],
    rows: Vec<Vec<String>>,
    picture: String,
}

/// A strategy with all that its numbers mean.
#[derive(Serialize)]
struct ResultLine<'a> {
    setting: &'a Setting,
    result: &'a StrategyRow,
}

impl BenchReport {
    /// One JSON value a strategy and line, each with what was asked for.
    ///
    /// # Errors
    ///
    /// If a number has no form in JSON.
    pub fn lines(&self) -> Result<String, BenchError> {
        let line = |result| serde_json::to_string(&ResultLine { setting: &self.setting, result });
        let lines: Result<Vec<String>, _> = self.results.iter().map(line).collect();
        let lines = lines.map_err(|error| BenchError::Internal(format!("no JSON: {error}")))?;
        Ok(lines.into_iter().map(|line| line + "\n").collect())
    }

    /// Adds those lines to a file.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn append(&self, path: &Path) -> Result<(), BenchError> {
        use std::io::Write as _;
        let file = std::fs::File::options().create(true).append(true).open(path);
        let lines = self.lines()?;
        file.and_then(|mut file| file.write_all(lines.as_bytes()))
            .map_err(|error| BenchError::unwritten("--results", path, error))
    }

    /// A table of it.
    #[must_use]
    pub fn markdown(&self) -> String {
        format!("{}: {}\n\n{}\n", self.setting.label, self.title(), markdown(&HEADER, self.cells()))
    }

    /// One page with the table and the picture.
    ///
    /// # Errors
    ///
    /// If it cannot be drawn.
    pub fn html(&self) -> Result<String, BenchError> {
        let s = &self.setting;
        // Where nothing was answered there is no picture, and the table says why.
        let answered = self.results.iter().any(|row| !row.curve.is_empty());
        let page = ResultPage {
            label: &s.label,
            title: self.title(),
            protocol: s.protocol.name(),
            task: s.task.name(),
            arrivals: &s.arrivals,
            deadline: s.deadline_ms,
            seed: s.seed,
            header: &HEADER,
            rows: self.cells().collect(),
            picture: if answered { self.svg()? } else { String::new() },
        };
        page.render().map_err(|error| BenchError::Internal(format!("no page: {error}")))
    }

    fn cells(&self) -> impl Iterator<Item = Vec<String>> {
        let number = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{value:.1}") };
        self.results.iter().map(move |row| {
            let reasons: Vec<String> =
                row.reasons.iter().map(|(reason, failures)| format!("{reason} {}", failures.jobs)).collect();
            let truths = &row.truths;
            let wrong = truths.missing + truths.twice + truths.not_finite + truths.wrong + truths.misplaced;
            vec![
                row.strategy.clone(),
                row.jobs.to_string(),
                row.failed.to_string(),
                number(row.latency_ms.p50),
                number(row.latency_ms.p90),
                number(row.latency_ms.p99),
                number(row.latency_ms.p999),
                number(row.all_ms.p99),
                format!("{:.2}", row.answered_per_second),
                number(100.0 * row.hedge_share),
                wrong.to_string(),
                reasons.join(", "),
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Latency;

    fn report() -> BenchReport {
        let latency_ms = Latency { mean: 5.5, p50: 5.0, p90: 7.0, p99: 9.0, p999: f64::NAN, max: 9.5 };
        let row = StrategyRow {
            strategy: "whole".to_owned(),
            jobs: 7,
            latency_ms,
            curve: vec![(0.5, 5.0), (0.99, 9.0)],
            ..StrategyRow::default()
        };
        let setting = Setting { label: "a <b> & c".to_owned(), rate: 2.0, endpoints: 3, ..Setting::default() };
        BenchReport { setting, results: vec![row.clone(), StrategyRow { strategy: "naive".to_owned(), ..row }] }
    }

    #[test]
    fn a_line_holds_all_that_its_numbers_mean() {
        let lines = report().lines().unwrap();
        let values: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            (values.len(), &values[1]["result"]["strategy"], &values[1]["setting"]["rate"]),
            (2, &"naive".into(), &2.0.into())
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        report().append(&path).unwrap();
        report().append(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
    }

    #[test]
    fn a_page_needs_nothing_else_and_escapes_what_it_is_given() {
        let page = report().html().unwrap();
        assert!(page.contains("a &#60;b&#62; &#38; c") && page.contains("<svg"), "{page}");
        assert!(["src=", "href=", "url("].iter().all(|link| !page.contains(link)), "{page}");
        assert!(report().markdown().contains("| whole"));
        let none = BenchReport { results: vec![StrategyRow::default()], ..report() };
        assert!(!none.html().unwrap().contains("<svg"), "nothing was answered");
    }
}
