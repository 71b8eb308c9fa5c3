//! What the table should show, line by line: whether it does, and the cell that is worst.

use std::collections::BTreeMap;

use super::{
    load::LoadGenerator,
    mixed_clients::{MixedClients, Recovery},
    row::{LoadRow, processor},
};

/// Least goodput of any load, over the best of them or over the load where that is less: timed devices, the real model.
const GOODPUT: [f64; 2] = [0.95, 0.90];

/// Most late of the admitted.
const LATE: [f64; 2] = [0.01, 0.03];

/// Most of p50 over the deadline.
const P50: f64 = 0.5;

/// Most of the p99 of refusals, ms.
const REFUSAL_MS: [f64; 2] = [5.0, 25.0];

/// Most calls of our client over its first attempts.
const CALLS: f64 = 1.2;

/// Goodput of our client over that of any other: all but what two runs of ten seconds differ by.
const RIVAL: f64 = 0.97;

/// Goodput of ours over their fair part beside others.
const FAIR: f64 = 0.95;

/// p99 after the load fell over that of the same load without a surge: what seconds of few jobs differ by.
const RECOVERED: f64 = 1.5;

/// Seconds after which it is so.
const RECOVERED_AFTER: usize = 2;

/// A line of the verdict.
#[derive(Debug)]
struct VerdictLine {
    what: String,
    /// How far the worst cell is over its limit: 1 is at it.
    worst: Option<(f64, String)>,
    cells: usize,
    missed: usize,
}

impl VerdictLine {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), worst: None, cells: 0, missed: 0 }
    }

    /// Takes a cell in: `strain` above 1 misses.
    fn take(&mut self, strain: f64, cell: impl Into<String>) {
        if strain.is_nan() {
            return;
        }
        self.cells += 1;
        self.missed += usize::from(strain > 1.0);
        if self.worst.as_ref().is_none_or(|(worst, _)| strain > *worst) {
            self.worst = Some((strain, cell.into()));
        }
    }

    fn say(&self) -> String {
        let word = match (self.cells, self.missed) {
            (0, _) => "NOT MEASURED".to_owned(),
            (cells, 0) => format!("pass ({cells} cells)"),
            (cells, missed) => format!("FAIL ({missed} of {cells} cells)"),
        };
        let worst = self.worst.as_ref().map_or("–", |(_, cell)| cell.as_str());
        format!("| {} | {word} | {worst} |", self.what)
    }
}

fn name(row: &LoadRow) -> String {
    format!("{}, N {}, {} at {}", row.device, row.servers, row.by, row.load)
}

/// The whole verdict, a Markdown table.
pub(super) fn verdict(rows: &[LoadRow], mixed_clients: &[MixedClients], recoveries: &[Recovery]) -> String {
    let limit = |row: &LoadRow, limits: [f64; 2]| limits[usize::from(!row.timed)];
    let mut groups: BTreeMap<(&str, usize, &str), Vec<&LoadRow>> = BTreeMap::new();
    for row in rows {
        groups.entry((row.device, row.servers, row.by)).or_default().push(row);
    }
    let mut goodput = VerdictLine::new("goodput ≥ 95% of its peak at every load (real model 90%)");
    let mut late = VerdictLine::new("late ≤ 1% of the admitted (real model 3%)");
    let mut p50 = VerdictLine::new("accepted p50 ≤ half the deadline");
    let mut refusal = VerdictLine::new("refusals ≤ 5 ms p99 (real model 25)");
    let mut calls = VerdictLine::new("at most 1.2 calls a first attempt of ours");
    let mut cpu = VerdictLine::new("client processor of a refused job ≤ an answered one's");
    let mut rival = VerdictLine::new("sortie's goodput ≥ every other's, each row (less 3% for chance)");
    for rows in groups.values() {
        let peak = rows.iter().map(|row| row.goodput).fold(0.0, f64::max);
        for row in rows {
            let most = peak.min(row.result).max(1e-9);
            let share = row.goodput / most;
            goodput
                .take(limit(row, GOODPUT) / share.max(1e-9), format!("{}: {:.3} of {most:.3}", name(row), row.goodput));
            late.take(row.late / limit(row, LATE), format!("{}: {:.1}%", name(row), row.late * 100.0));
            p50.take(row.p50 / P50, format!("{}: {:.2}", name(row), row.p50));
            refusal.take(
                row.refusal_p99_ms / limit(row, REFUSAL_MS),
                format!("{}: {:.1} ms", name(row), row.refusal_p99_ms),
            );
            if row.by == LoadGenerator::Sortie.name() {
                calls.take(row.calls_a_chunk / CALLS, format!("{}: {:.2}", name(row), row.calls_a_chunk));
                for other in same(rows_of(&groups), row) {
                    let strain = RIVAL * other.goodput / row.goodput.max(1e-9);
                    rival.take(strain, format!("{}: {:.3}, {} {:.3}", name(row), row.goodput, other.by, other.goodput));
                }
            }
        }
        if let Some((answered, other)) = processor(rows).filter(|_| rows[0].by == LoadGenerator::Sortie.name()) {
            let row = rows[0];
            cpu.take(
                other / answered.max(1e-9),
                format!("{}, N {}: answered {answered:.2} ms, not answered {other:.2} ms", row.device, row.servers),
            );
        }
    }
    let mut fair = VerdictLine::new("beside 30% of foreign retriers ours keep their fair part (95%)");
    for cell in mixed_clients {
        let strain = FAIR * cell.fair / cell.ours.max(1e-9);
        fair.take(
            strain,
            format!("{}, N {} at {}: {:.3} of {:.3}", cell.device, cell.servers, cell.load, cell.ours, cell.fair),
        );
    }
    let mut back = VerdictLine::new("after 30 s at 8x p99 is that of 0.5 within 2 s");
    for cell in recoveries {
        for (second, (after, plain)) in cell.seconds.iter().enumerate().skip(RECOVERED_AFTER) {
            let told =
                format!("{}, N {}, second {}: {after:.0} ms, plain {plain:.0}", cell.device, cell.servers, second + 1);
            back.take(after / (RECOVERED * cell.plain_ms()), told);
        }
    }
    let lines = [goodput, late, p50, refusal, calls, cpu, rival, fair, back];
    let body: Vec<String> = lines.iter().map(VerdictLine::say).collect();
    format!("| shows | | worst cell |\n| --- | --- | --- |\n{}", body.join("\n"))
}

fn rows_of<'a>(groups: &BTreeMap<(&str, usize, &str), Vec<&'a LoadRow>>) -> Vec<&'a LoadRow> {
    groups.values().flatten().copied().collect()
}

/// Rows of other clients before the same servers under the same load.
fn same<'a>(rows: Vec<&'a LoadRow>, row: &LoadRow) -> Vec<&'a LoadRow> {
    let same = |other: &&LoadRow| {
        other.by != row.by
            && other.device == row.device
            && other.servers == row.servers
            && (other.load - row.load).abs() < 1e-9
    };
    rows.into_iter().filter(same).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_cell_is_named_and_what_was_not_measured_is_not_passed() {
        let mut line = VerdictLine::new("x");
        assert!(line.say().contains("NOT MEASURED"), "{}", line.say());
        line.take(0.5, "good");
        line.take(f64::NAN, "none");
        assert!(line.say().contains("pass (1 cells)") && line.say().contains("good"), "{}", line.say());
        line.take(1.5, "bad");
        line.take(1.2, "less bad");
        assert!(line.say().contains("FAIL (2 of 3 cells) | bad"), "{}", line.say());
    }
}
