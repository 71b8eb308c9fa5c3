//! What the rows come to: lines of the table, and whether the figures of the design hold.

use super::scenario::FaultScenario;
use crate::bench::loader::{StrategyFigures, cell, ratio};

/// Past this (p99, milliseconds) the machine, not the fleet, was measured.
const LATE_MS: f64 = 5.0;

/// The row of a strategy in a scenario.
pub(super) fn find<'a>(
    all: &'a [(FaultScenario, StrategyFigures)],
    scenario: FaultScenario,
    strategy: &str,
) -> Option<&'a StrategyFigures> {
    all.iter().find(|(s, row)| *s == scenario && row.strategy == strategy).map(|(_, row)| row)
}

/// A line of the table.
pub(super) fn line(scenario: FaultScenario, row: &StrategyFigures, quiet: Option<&StrategyFigures>) -> String {
    let percent = |share: Option<f64>| cell(share.map(|share| share * 100.0), 2);
    let latency = &row.latency_ms;
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        scenario.name(),
        row.strategy,
        row.jobs,
        row.failures(),
        cell(latency.p50, 1),
        cell(latency.p99, 1),
        cell(latency.p999, 1),
        cell(ratio(latency.p99, quiet.and_then(|q| q.latency_ms.p99)), 2),
        cell(ratio(latency.p999, quiet.and_then(|q| q.latency_ms.p999)), 2),
        percent(row.hedge_share),
        percent(row.retry_share),
        percent(row.free_share),
        cell(row.cpu_us_per_job, 0),
        cell(row.late_ms.p99, 2),
    )
}

/// Rows 7 and 7b of the design's figures, and that nothing failed.
pub(super) fn verdict(all: &[(FaultScenario, StrategyFigures)]) -> String {
    let over_quiet = |scenario, strategy: &str, of: fn(&StrategyFigures) -> Option<f64>| {
        ratio(find(all, scenario, strategy).and_then(of), find(all, FaultScenario::Quiet, strategy).and_then(of))
    };
    let p99 = |row: &StrategyFigures| row.latency_ms.p99;
    let p999 = |row: &StrategyFigures| row.latency_ms.p999;
    let holds = |value: Option<f64>, test: &dyn Fn(f64) -> bool| match value {
        Some(value) => format!("{value:.2} ({})", if test(value) { "holds" } else { "does not hold" }),
        None => "not measured".to_owned(),
    };
    let extra = find(all, FaultScenario::Stalls, "sortie")
        .and_then(|row| row.hedge_share.zip(row.retry_share))
        .map(|(hedges, retries)| (hedges + retries) * 100.0);
    let all_p99 = |strategy| find(all, FaultScenario::Straggler, strategy).and_then(|row| row.all_ms.p99);
    let lost: Vec<String> = all
        .iter()
        .filter(|(_, row)| row.strategy == "sortie" && row.failed > 0)
        .map(|(scenario, row)| format!("{} {}", scenario.name(), row.failures()))
        .collect();
    let late = |row: &StrategyFigures| row.late_ms.p99.is_some_and(|late| late > LATE_MS);
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
            holds(ratio(all_p99("naive"), all_p99("sortie")), &|x| x >= 10.0)
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
    use super::*;

    fn row(strategy: &str, p99: f64, failed: u64) -> StrategyFigures {
        let json = format!(
            r#"{{"strategy":"{strategy}","jobs":9,"failed":{failed},"cancelled":0,
                "reasons":{{"UNAVAILABLE":{{"jobs":{failed},"after_ms":{{}}}}}},
                "latency_ms":{{"p50":1,"p99":{p99},"p999":{p99}}},"all_ms":{{"p99":{p99}}},"goodput_tokens_per_second":1,
                "hedge_share":0.01,"retry_share":0.0,"free_share":0.0,"cpu_us_per_job":null,
                "late_ms":{{"p99":{}}}}}"#,
            if failed > 0 { 7 } else { 1 }
        );
        serde_json::from_str(&json).unwrap()
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
