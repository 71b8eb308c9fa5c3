//! Small jobs in a stream, spread by hand and by the client library, while one server gets slow half-way.
//!
//! The slow server is stopped and continued again and again (SIGSTOP, SIGCONT), as an overcommitted machine does to its
//! guests: nothing in the server knows of it.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;

use super::{bench, corpus::Document, outcome};
use crate::fleet::servers::LocalFleet;

/// Seconds each strategy is measured: dozens of jobs on two cores, and a demo within a minute.
pub(super) const SECONDS: u64 = 20;

/// Who is measured: the usual way by hand, and the client library.
const STRATEGIES: &str = "naive,sortie";

/// Documents of a job: a chunk for each server by hand.
const DOCUMENTS: u32 = 96;

/// Characters of a document: a title's length, so that one core has a job done in a fraction of a second.
const LENGTH: usize = 40;

/// Offered work over what the servers just did together: more would queue at the slow one for ever, whoever sends it.
const LOAD: f64 = 0.25;

/// Bytes of text that a pair costs beside its document's: a short query and the specials, eight tokens of English.
const FIXED_BYTES: f64 = 36.0;

/// Before that: the client library learns what servers cost, and cuts a job in two at most until it knows.
const WARM_UP: &str = "4s";

/// The slow server stands still so many milliseconds …
const STOPPED_MS: u64 = 300;

/// … of every so many: a quarter of its speed is left.
const PERIOD_MS: u64 = 400;

/// Jobs of a strategy below which nothing can be read off them: one late one in each half decides.
const FEW_JOBS: f64 = 20.0;

/// Time a job has: dozens of times what it needs.
const DEADLINE_MS: u32 = 10_000;

/// One comparison.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    /// The command-line tool.
    pub cli: &'a Path,
    /// What is asked.
    pub query: &'a str,
    /// Seconds each strategy is measured.
    pub seconds: u64,
    /// Bytes of text a second that the servers did together.
    pub bytes_s: f64,
}

impl Comparison<'_> {
    /// Runs it; the table it makes.
    pub(super) fn run(&self, fleet: &LocalFleet, documents: &[Document], scratch: &Path) -> anyhow::Result<String> {
        let (slow, address, pid) = fleet.first().context("there is no server")?;
        let times = PERIOD_MS as f64 / (PERIOD_MS - STOPPED_MS) as f64;
        println!(
            "\nnow jobs of {DOCUMENTS} shorter texts in a stream, {} s by each way to spread them; after {} s {slow} \
             gets {times} times slower: it is stopped for {STOPPED_MS} of every {PERIOD_MS} ms",
            self.seconds,
            self.seconds as f64 / 2.0,
        );
        let (texts, log) = (scratch.join("texts.txt"), scratch.join("jobs.jsonl"));
        let lines: String = documents.iter().map(|d| format!("{}\n", line(&d.text))).collect();
        let bytes = lines.len() as f64 / documents.len().max(1) as f64;
        let rate = LOAD * self.bytes_s / (f64::from(DOCUMENTS) * (FIXED_BYTES + bytes));
        fs::write(&texts, lines).with_context(|| format!("cannot write {}", texts.display()))?;
        let half_ms = self.seconds * 500;
        let fault = format!("from={half_ms}ms,every={PERIOD_MS}ms,for={STOPPED_MS}ms,signal=STOP,pid={pid}");
        let endpoints: Vec<String> = fleet.addresses().map(|(_, address)| format!("http://{address}")).collect();
        let arguments = [
            ["--model", super::MODEL],
            ["--query", self.query],
            ["--texts", &texts.display().to_string()],
            ["--documents", &DOCUMENTS.to_string()],
            ["--rate", &format!("{rate:.3}")],
            ["--strategies", STRATEGIES],
            ["--warm-up", WARM_UP],
            ["--duration", &format!("{}s", self.seconds)],
            ["--deadline", &format!("{DEADLINE_MS}ms")],
            ["--fault", &fault],
            ["--log", &log.display().to_string()],
            ["--endpoint", &endpoints.join(",")],
        ];
        let arguments: Vec<String> = arguments.concat().into_iter().map(str::to_owned).collect();
        let report = bench::bench(self.cli, &arguments)?;
        let jobs = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let jobs = outcome::read(&jobs)?;
        let mut out = outcome::table(&jobs, &report.results, half_ms as f64, slow, address, DEADLINE_MS);
        let _ = writeln!(
            out,
            "\n{:.1} jobs a second at random moments, the same for both; times are from the moment a job was meant to \
             start.\nOf fewer than a hundred jobs the p99 is the slowest one. Extra tokens are those sent twice: hedges may \
             take\na twentieth of all, and ten jobs' worth to begin with.",
            report.setting.rate,
        );
        if report.setting.rate * (self.seconds as f64) < FEW_JOBS {
            out += "So few jobs say little: this machine is slow or has other work. Try --seconds 120.\n";
        }
        Ok(out)
    }
}

/// The first words of a text as one line.
fn line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LENGTH) {
        None => text,
        Some((end, _)) => {
            let head = text.get(..end).unwrap_or(&text);
            head.rsplit_once(' ').map_or(head, |(words, _)| words).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_short_line() {
        assert_eq!(line("a\n b\tc"), "a b c");
        let long = line(&"word ".repeat(50));
        assert!(long.ends_with("word") && long.chars().count() <= LENGTH, "{long}");
        assert_eq!(line(&"x".repeat(90)).len(), LENGTH, "a word longer than all is cut");
    }
}
