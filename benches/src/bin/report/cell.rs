//! From what was measured to cells of the report.

use std::collections::BTreeMap;

use sortie_lab::bench::StrategyRow;
use xtask::report::data::{ReportCell, ReportTimes};

use crate::plan::PlannedCell;

/// A cell before anything was measured.
pub(crate) fn blank(cell: &PlannedCell) -> ReportCell {
    ReportCell {
        part: cell.part,
        scenario: cell.work.name().to_owned(),
        fault: cell.trouble.name().to_owned(),
        load: cell.load.name(),
        system: cell.system(),
        jobs: 0,
        failed: 0,
        reasons: BTreeMap::new(),
        ms: ReportTimes { mean: f64::NAN, p50: f64::NAN, p99: f64::NAN, p999: f64::NAN, all_p99: f64::NAN },
        per_second: 0.0,
        extra_percent: f64::NAN,
        wrong_documents: 0,
        worst_error: f64::NAN,
        late_p99_ms: f64::NAN,
        curve: Vec::new(),
        note: String::new(),
        took_s: 0.0,
    }
}

/// The cell with what `sortie bench` found.
pub(crate) fn of_row(cell: ReportCell, row: &StrategyRow) -> ReportCell {
    let truths = &row.truths;
    let latency = &row.latency_ms;
    // Microseconds are more than anybody reads, and a hundred times what is kept.
    let short = |ms: f64| (ms * 1e3).round() / 1e3;
    ReportCell {
        jobs: row.jobs,
        failed: row.failed,
        reasons: row.reasons.iter().map(|(reason, failures)| (reason.clone(), failures.jobs)).collect(),
        ms: ReportTimes {
            mean: short(latency.mean),
            p50: short(latency.p50),
            p99: short(latency.p99),
            p999: short(latency.p999),
            all_p99: short(row.all_ms.p99),
        },
        per_second: short(row.answered_per_second),
        extra_percent: short(100.0 * (row.hedge_share + row.retry_share)),
        wrong_documents: truths.missing + truths.twice + truths.not_finite + truths.wrong + truths.misplaced,
        late_p99_ms: short(row.late_ms.p99),
        curve: row.curve.iter().map(|&(share, ms)| (share, short(ms))).collect(),
        ..cell
    }
}
