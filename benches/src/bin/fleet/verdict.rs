//! What the rows come to: lines of the table, and whether the figures of the design hold.

use sortie_benches::report::{cell, failures};
use sortie_lab::bench::StrategyRow;

use super::scenario::FaultScenario;

/// Past this (p99, milliseconds) the machine, not the fleet, was measured.
const LATE_MS: f64 = 5.0;

/// The row of a strategy in a scenario.
pub(super) fn find<'a>(
    all: &'a [(FaultScenario, StrategyRow)],
    scenario: FaultScenario,
    strategy: &str,
) -> Option<&'a StrategyRow> {
    all.iter().find(|(s, row)| *s == scenario && row.strategy == strategy).map(|(_, row)| row)
}

/// A line of the table.
pub(super) fn line(scenario: FaultScenario, row: &StrategyRow, quiet: Option<&StrategyRow>) -> String {
    let percent = |share: f64| cell(share * 100.0, 2);
    let latency = &row.latency_ms;
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        scenario.name(),
        row.strategy,
        row.jobs,
        failures(row),
        cell(latency.p50, 1),
        cell(latency.p99, 1),
        cell(latency.p999, 1),
        cell(latency.p99 / quiet.map_or(f64::NAN, |q| q.latency_ms.p99), 2),
        cell(latency.p999 / quiet.map_or(f64::NAN, |q| q.latency_ms.p999), 2),
        percent(row.hedge_share),
        percent(row.retry_share),
        percent(row.free_share),
        cell(row.cpu_us_per_job, 0),
        cell(row.late_ms.p99, 2),
    )
}

/// Rows 7 and 7b of the design's figures, and that nothing failed.
pub(super) fn verdict(all: &[(FaultScenario, StrategyRow)]) -> String {
    let of = |scenario, strategy: &str, of: fn(&StrategyRow) -> f64| find(all, scenario, strategy).map_or(f64::NAN, of);
    let over_quiet = |scenario, strategy: &str, what: fn(&StrategyRow) -> f64| {
        of(scenario, strategy, what) / of(FaultScenario::Quiet, strategy, what)
    };
    let p99 = |row: &StrategyRow| row.latency_ms.p99;
    let p999 = |row: &StrategyRow| row.latency_ms.p999;
    let holds = |value: f64, test: &dyn Fn(f64) -> bool| match value {
        value if value.is_nan() => "not measured".to_owned(),
        value => format!("{value:.2} ({})", if test(value) { "holds" } else { "does not hold" }),
    };
    let extra = of(FaultScenario::Stalls, "sortie", |row| (row.hedge_share + row.retry_share) * 100.0);
    let all_p99 = |strategy| of(FaultScenario::Straggler, strategy, |row| row.all_ms.p99);
    let lost: Vec<String> = all
        .iter()
        .filter(|(_, row)| row.strategy == "sortie" && row.failed > 0)
        .map(|(scenario, row)| format!("{} {}", scenario.name(), failures(row)))
        .collect();
    let late = |row: &StrategyRow| row.late_ms.p99 > LATE_MS;
    let void: Vec<String> = all
        .iter()
        .filter(|(_, row)| late(row))
        .map(|(scenario, row)| format!("{} {}", scenario.name(), row.strategy))
        .collect();
    let control = over_quiet(FaultScenario::Stalls, "sortie-no-hedge", p99);
    [
        format!("- stalls, no hedges, p99 ÷ quiet, must be ≥ 3 or the run is void: {}", holds(control, &|x| x >= 3.0)),
        format!(
            "- stalls, sortie, p99 ÷ quiet ≤ 2: {}",
            holds(over_quiet(FaultScenario::Stalls, "sortie", p99), &|x| x <= 2.0)
        ),
        format!(
            "- stalls, sortie, p99.9 ÷ quiet ≤ 3: {}",
            holds(over_quiet(FaultScenario::Stalls, "sortie", p999), &|x| x <= 3.0)
        ),
        format!("- stalls, sortie, extra tokens ≤ 3%: {}", holds(extra, &|x| x <= 3.0)),
        format!(
            "- straggler, naive ÷ sortie on p99 of all jobs ≥ 10: {}",
            holds(all_p99("naive") / all_p99("sortie"), &|x| x >= 10.0)
        ),
        format!("- failed jobs of sortie: {}", if lost.is_empty() { "none".to_owned() } else { lost.join("; ") }),
        format!(
            "- jobs sent later than {LATE_MS} ms (p99), which makes a row void: {}",
            if void.is_empty() { "none".to_owned() } else { void.join("; ") }
        ),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use sortie_lab::bench::{Failures, Latency};

    use super::*;

    fn row(strategy: &str, p99: f64, failed: u64) -> StrategyRow {
        let latency = Latency { p50: 1.0, p99, p999: p99, ..Latency::default() };
        let after_ms = Latency::default();
        StrategyRow {
            strategy: strategy.to_owned(),
            jobs: 9,
            failed,
            reasons: [("UNAVAILABLE".to_owned(), Failures { jobs: failed, after_ms })].into(),
            latency_ms: latency.clone(),
            all_ms: latency,
            hedge_share: 0.01,
            late_ms: Latency { p99: if failed > 0 { 7.0 } else { 1.0 }, ..Latency::default() },
            ..StrategyRow::default()
        }
    }

    #[test]
    fn the_verdict_says_what_holds() {
        let all = [
            (FaultScenario::Quiet, row("sortie", 10.0, 0)),
            (FaultScenario::Quiet, row("sortie-no-hedge", 10.0, 0)),
            (FaultScenario::Stalls, row("sortie", 25.0, 2)),
            (FaultScenario::Stalls, row("sortie-no-hedge", 50.0, 0)),
        ];
        let text = verdict(&all);
        for part in [
            "run is void: 5.00 (holds)",
            "p99 ÷ quiet ≤ 2: 2.50 (does not hold)",
            "p99.9 ÷ quiet ≤ 3: 2.50 (holds)",
            "extra tokens ≤ 3%: 1.00 (holds)",
            "≥ 10: not measured",
            "sortie: stalls UNAVAILABLE 2",
            "row void: stalls sortie",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn lines_compare_with_the_quiet_fleet() {
        let quiet = row("sortie", 10.0, 0);
        let text = line(FaultScenario::Stalls, &row("sortie", 15.0, 0), Some(&quiet));
        assert!(text.starts_with("| stalls | sortie | 9 | 0 | 1.0 | 15.0 | 15.0 | 1.50 | 1.50 | 1.00 |"), "{text}");
    }
}
