//! What the demo prints, from the JSON of `sortie rerank --json --timings`.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::corpus::Document;

/// Characters of a text shown beside its score.
const GLIMPSE: usize = 76;

/// An answer and the documents it is about.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    report: Report,
    documents: &'a [Document],
}

/// The fields of the report that are shown.
#[derive(Debug, Deserialize)]
struct Report {
    results: Vec<Row>,
    errors: Vec<Failure>,
    timings: Timings,
}

#[derive(Debug, Deserialize)]
struct Row {
    rank: usize,
    score: f32,
    index: usize,
}

#[derive(Debug, Deserialize)]
struct Failure {
    index: usize,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Timings {
    total_us: u64,
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    replica: String,
    items: usize,
    tokens: u64,
    queue_us: u64,
    tokenize_us: u64,
    compute_us: u64,
    round_trip_us: u64,
}

impl<'a> Answer<'a> {
    /// Reads the report and checks that each document stands in it once.
    pub(super) fn read(json: &str, documents: &'a [Document]) -> anyhow::Result<Self> {
        let report: Report = serde_json::from_str(json).context("cannot read what sortie printed")?;
        let mut seen = vec![false; documents.len()];
        for index in report.results.iter().map(|r| r.index).chain(report.errors.iter().map(|e| e.index)) {
            match seen.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                _ => bail!("the answer names document {index} twice, or there is none"),
            }
        }
        if let Some(index) = seen.iter().position(|s| !s) {
            bail!("the answer leaves document {index} out");
        }
        Ok(Self { report, documents })
    }

    /// The best `count`, with the crate and its first words.
    pub(super) fn best(&self, count: usize) -> String {
        let mut out = String::from("\n    score  crate\n");
        for row in self.report.results.iter().take(count) {
            let Some(document) = self.documents.get(row.index) else { continue };
            let _ = writeln!(out, "{:>2}{:8.3}  {:24} {}", row.rank, row.score, document.name, glimpse(&document.text));
        }
        for failure in &self.report.errors {
            let name = self.documents.get(failure.index).map_or("", |d| &d.name);
            let _ = writeln!(out, "not scored: {name}: {}", failure.message);
        }
        out
    }

    /// Tokens a second that the servers did together.
    pub(super) fn tokens_s(&self) -> f64 {
        let Timings { total_us, parts } = &self.report.timings;
        let tokens: u64 = parts.iter().map(|p| p.tokens).sum();
        tokens as f64 / (*total_us as f64 / 1e6).max(f64::MIN_POSITIVE)
    }

    /// Where the time went. `wall` is the whole of the `sortie` process.
    pub(super) fn timings(&self, wall: Duration) -> String {
        let Timings { total_us, parts } = &self.report.timings;
        let mut out = String::from(
            "\nchunk  server   documents   tokens      queue   tokenize    compute       rest      total\n",
        );
        for (n, part) in parts.iter().enumerate() {
            // Time on the wire, and of what overlapped nothing else.
            let known = part.queue_us + part.tokenize_us + part.compute_us;
            let _ = writeln!(
                out,
                "{:>5}  {:8} {:>9} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}",
                n + 1,
                part.replica,
                part.items,
                part.tokens,
                time(part.queue_us),
                time(part.tokenize_us),
                time(part.compute_us),
                time(part.round_trip_us.saturating_sub(known)),
                time(part.round_trip_us),
            );
        }
        let tokens: u64 = parts.iter().map(|p| p.tokens).sum();
        let _ = writeln!(
            out,
            "\n{} documents, {tokens} tokens in {}: {:.0} tokens a second; the whole command took {}",
            self.documents.len(),
            time(*total_us),
            self.tokens_s(),
            time(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX)),
        );
        out
    }
}

/// Microseconds as people read them.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// The first words of a text.
fn glimpse(text: &str) -> String {
    match text.char_indices().nth(GLIMPSE) {
        None => text.to_owned(),
        Some((limit, _)) => {
            let head = text.get(..limit).unwrap_or(text);
            format!("{}…", head.rsplit_once(' ').map_or(head, |(words, _)| words))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<Document> {
        ["a", "b", "c"].map(|n| Document { name: n.to_owned(), text: format!("text of {n}") }).into()
    }

    const REPORT: &str = r#"{"model": "m", "results": [
        {"rank": 1, "score": 3.25, "index": 2, "tokens": 9, "truncated": false},
        {"rank": 2, "score": -1.0, "index": 0, "tokens": 9, "truncated": false}],
        "errors": [{"index": 1, "reason": "TOO_LONG", "message": "too long"}],
        "timings": {"total_us": 2000000, "attempts": 1, "parts": [
            {"endpoint": "e", "replica": "demo-1", "items": 3, "tokens": 18, "queue_us": 5, "tokenize_us": 1500,
             "compute_us": 1000000, "server_us": 1, "round_trip_us": 1100000}]}}"#;

    #[test]
    fn the_best_and_the_time() {
        let documents = documents();
        let answer = Answer::read(REPORT, &documents).unwrap();
        let best = answer.best(1);
        assert!(best.contains("3.250") && best.contains("text of c") && !best.contains("text of a"), "{best}");
        assert!(best.contains("not scored: b: too long"), "{best}");
        let timings = answer.timings(Duration::from_millis(2_500));
        for part in ["demo-1", "5 µs", "1.5 ms", "1.00 s", "1.10 s", "98.5 ms", "9 tokens a second", "2.50 s"] {
            assert!(timings.contains(part), "{part} in {timings}");
        }
    }

    #[test]
    fn a_lost_or_doubled_document_is_an_error() {
        let mut documents = documents();
        documents.push(documents[0].clone());
        assert!(Answer::read(REPORT, &documents).unwrap_err().to_string().contains("leaves document 3 out"));
        let doubled = REPORT.replace("\"index\": 0", "\"index\": 2");
        assert!(Answer::read(&doubled, &documents[..3]).unwrap_err().to_string().contains("document 2 twice"));
    }

    #[test]
    fn glimpses_end_with_a_word() {
        assert_eq!(glimpse("short"), "short");
        let long = glimpse(&"word ".repeat(50));
        assert!(long.ends_with("word…") && long.chars().count() <= GLIMPSE + 1, "{long}");
    }
}
