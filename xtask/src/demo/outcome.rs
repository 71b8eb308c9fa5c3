//! What came of the stream of jobs, before and after a server got slow, from the log of `sortie bench`.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context as _;
use serde::Deserialize;

use super::bench::StrategyFigures;

/// One job, as `sortie bench --log` writes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DemoJob {
    strategy: String,
    at_ms: f64,
    latency_ms: f64,
    outcome: String,
    hedges: u64,
    hedges_won: u64,
    /// Tokens by server.
    servers: BTreeMap<String, u64>,
}

/// Reads the log.
pub(super) fn read(log: &str) -> anyhow::Result<Vec<DemoJob>> {
    let line = |text| serde_json::from_str(text).context("cannot read the log of sortie bench");
    log.lines().map(line).collect()
}

/// Jobs of one strategy in one half.
#[derive(Debug, Default)]
struct PhaseResult {
    /// In order; a failed job took as long as its deadline at least.
    latencies: Vec<f64>,
    failed: usize,
    hedges: u64,
    won: u64,
    tokens: u64,
    slow_tokens: u64,
}

impl PhaseResult {
    fn of<'a>(jobs: impl Iterator<Item = &'a DemoJob>, slow: &str, deadline_ms: u32) -> Self {
        let mut phase = Self::default();
        for job in jobs {
            let failed = job.outcome != "OK";
            phase.failed += usize::from(failed);
            phase.latencies.push(if failed { job.latency_ms.max(deadline_ms.into()) } else { job.latency_ms });
            phase.hedges += job.hedges;
            phase.won += job.hedges_won;
            phase.tokens += job.servers.values().sum::<u64>();
            phase.slow_tokens +=
                job.servers.iter().filter(|(name, _)| name.ends_with(slow)).map(|(_, n)| n).sum::<u64>();
        }
        phase.latencies.sort_by(f64::total_cmp);
        phase
    }

    /// The least latency that this share of jobs did not exceed.
    fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (self.latencies.len() as f64 * share).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied()
    }
}

/// A line for each strategy and half, then the tokens sent twice, and what the p99s come to. `half_ms` is when the
/// server at the address `slow`, called `name`, got slow.
pub(super) fn table(
    jobs: &[DemoJob],
    rows: &[StrategyFigures],
    half_ms: f64,
    name: &str,
    slow: &str,
    deadline_ms: u32,
) -> String {
    let mut out = format!(
        "\nstrategy  servers        jobs  failed     p50 ms     p99 ms  {:>14}  hedges (won)\n",
        format!("work on {name}")
    );
    let mut late = Vec::new();
    for row in rows {
        for (what, after) in [("all well", false), ("one slow", true)] {
            let mine = jobs.iter().filter(|job| job.strategy == row.strategy && (job.at_ms >= half_ms) == after);
            let phase = PhaseResult::of(mine, slow, deadline_ms);
            let share = (phase.tokens > 0).then(|| phase.slow_tokens as f64 * 100.0 / phase.tokens as f64);
            let _ = writeln!(
                out,
                "{:9} {:12} {:>6} {:>7} {:>10} {:>10}  {:>12} %  {:>12}",
                if after { "" } else { row.strategy.as_str() },
                what,
                phase.latencies.len(),
                phase.failed,
                cell(phase.quantile(0.5), 0),
                cell(phase.quantile(0.99), 0),
                cell(share, 0),
                format!("{} ({})", phase.hedges, phase.won),
            );
            if after {
                late.push((row.strategy.as_str(), phase.quantile(0.99)));
            }
        }
    }
    let extra = |row: &StrategyFigures| {
        let share =
            [row.hedge_share, row.retry_share, row.free_share].into_iter().flatten().fold(0.0, |sum, part| sum + part);
        format!("{} {:.1} %", row.strategy, share * 100.0)
    };
    let extra: Vec<String> = rows.iter().map(extra).collect();
    let _ = writeln!(out, "\nextra tokens, both halves: {}", extra.join(", "));
    if let [(first, of), .., (last, to)] = late[..] {
        let ratio = of.zip(to).map(|(of, to)| of / to);
        let _ = writeln!(out, "with one server slow, p99 of {first} ÷ p99 of {last}: {}", cell(ratio, 1));
    }
    out
}

/// A number of the table; a dash where there is none.
fn cell(value: Option<f64>, digits: usize) -> String {
    value.filter(|v| v.is_finite()).map_or_else(|| "–".to_owned(), |v| format!("{v:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(strategy: &str) -> StrategyFigures {
        let json =
            format!(r#"{{"strategy":"{strategy}","jobs":4,"hedge_share":0.04,"retry_share":0.01,"free_share":null}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn job(strategy: &str, at_ms: u32, latency_ms: u32, outcome: &str) -> String {
        format!(
            r#"{{"strategy":"{strategy}","round":1,"at_ms":{at_ms},"latency_ms":{latency_ms},"outcome":"{outcome}",
                "hedges":1,"hedges_won":1,"servers":{{"http://127.0.0.1:1":25,"http://127.0.0.1:2":75}}}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn halves_are_told_apart_and_a_failed_job_is_a_late_one() {
        let log = [
            job("naive", 10, 100, "OK"),
            job("naive", 600, 200, "UNAVAILABLE"),
            job("sortie", 10, 100, "OK"),
            job("sortie", 500, 250, "OK"),
        ]
        .join("\n");
        let text = table(&read(&log).unwrap(), &[row("naive"), row("sortie")], 500.0, "demo-1", "127.0.0.1:1", 1_000);
        let lines: Vec<Vec<&str>> = text.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["naive", "all", "well", "1", "0", "100", "100", "25", "%", "1", "(1)"], "{text}");
        assert_eq!(lines[1], ["one", "slow", "1", "1", "1000", "1000", "25", "%", "1", "(1)"], "{text}");
        assert_eq!(lines[3][4], "250", "{text}");
        assert!(text.contains("extra tokens, both halves: naive 5.0 %, sortie 5.0 %\n"), "{text}");
        assert!(text.ends_with("p99 of naive ÷ p99 of sortie: 4.0\n"), "{text}");
    }

    #[test]
    fn quantiles_are_by_rank() {
        let phase = PhaseResult { latencies: (1..=200).map(f64::from).collect(), ..PhaseResult::default() };
        assert_eq!((phase.quantile(0.5), phase.quantile(0.99)), (Some(100.0), Some(198.0)));
        assert_eq!(PhaseResult::default().quantile(0.5), None);
    }
}
