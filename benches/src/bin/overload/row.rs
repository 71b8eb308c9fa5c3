//! A row: what came of a load, by the clients' own account and by the servers'.
//!
//! Jobs count by when they were to leave: after the warm-up and until the end; the load goes on for one deadline
//! longer. A job is *in time* if it was answered within its deadline of leaving. *Late* are those that had been
//! admitted and were not: a client sees its deadline pass; beside it stands what the servers lost of what they
//! admitted.

use std::time::Duration;

use sortie_benches::{report::cell, server_counters::ServerCounters};
use sortie_lab::stats::{JobEnd, Outcomes, quantile};

use crate::load::{JobResult, JobSample, LoadGenerator, LoadResult};

/// What a row was asked for.
#[derive(Clone, Debug)]
pub(super) struct LoadAsked {
    pub(super) device: &'static str,
    pub(super) timed: bool,
    pub(super) servers: usize,
    pub(super) by: LoadGenerator,
    /// Jobs offered over what the servers can do.
    pub(super) load: f64,
    /// Jobs a second that they can do.
    pub(super) capacity: f64,
    pub(super) deadline: Duration,
    /// Seconds before jobs count, and seconds in which they do.
    pub(super) window: (f64, f64),
}

/// What it came to.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct LoadRow {
    pub(super) device: &'static str,
    pub(super) timed: bool,
    pub(super) servers: usize,
    pub(super) by: &'static str,
    pub(super) load: f64,
    /// Jobs that counted, and the load that they really were.
    pub(super) jobs: usize,
    pub(super) result: f64,
    /// p99 of how late they left, ms; of ghz it is not known.
    pub(super) left_late_ms: f64,
    /// Jobs in time over what the servers could have done.
    pub(super) goodput: f64,
    /// Late over admitted ones, as clients saw it and as servers did.
    pub(super) late: f64,
    pub(super) late_at_servers: f64,
    /// Refused over all.
    pub(super) refused: f64,
    /// Of admitted jobs, over the deadline; a late one counts as all of it.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// From leaving to the refusal, ms.
    pub(super) refusal_p99_ms: f64,
    /// Calls that reached a server over jobs, and over first attempts of chunks where it is known how jobs were cut.
    pub(super) calls: f64,
    pub(super) calls_a_chunk: f64,
    /// Processor seconds of the generator, and jobs of all its run by how they ended: answered, not.
    pub(super) cpu: Option<f64>,
    pub(super) ended: (f64, f64),
    /// Most memory of any server, MiB.
    pub(super) memory: f64,
    /// What jobs ended with, in words, all of the run.
    pub(super) words: std::collections::BTreeMap<String, u64>,
}

impl LoadRow {
    pub(super) fn new(asked: &LoadAsked, result: LoadResult, counters: ServerCounters, memory: f64) -> Self {
        let (warm, seconds) = asked.window;
        let jobs: Vec<&JobSample> = result.jobs.iter().filter(|job| (warm..warm + seconds).contains(&job.at)).collect();
        let mut outcomes = Outcomes::new(asked.deadline);
        for job in &jobs {
            let took = Duration::try_from_secs_f64(job.took).unwrap_or_default();
            let end = match job.outcome {
                JobResult::Answered if took <= asked.deadline => JobEnd::InTime,
                JobResult::Answered | JobResult::Deadline => JobEnd::Late,
                JobResult::Refused => JobEnd::Refused,
            };
            outcomes.push(end, took);
        }
        let left: Vec<f64> = jobs.iter().map(|job| job.late).collect();
        let all = result.jobs.len() as f64;
        let answered: Vec<&JobSample> = result.jobs.iter().filter(|job| job.outcome == JobResult::Answered).collect();
        let calls = (counters.calls - asked.by.tasters()).max(0.0) / all.max(1.0);
        // How refused jobs were cut is not known: as the answered ones were.
        let chunks = answered.iter().map(|job| job.chunks).sum::<f64>() / (answered.len() as f64).max(1.0);
        Self {
            device: asked.device,
            timed: asked.timed,
            servers: asked.servers,
            by: asked.by.name(),
            load: asked.load,
            jobs: jobs.len(),
            result: jobs.len() as f64 / seconds / asked.capacity,
            left_late_ms: if asked.by == LoadGenerator::Ghz { f64::NAN } else { quantile(&left, 0.99) * 1e3 },
            goodput: outcomes.in_time() as f64 / seconds / asked.capacity,
            late: outcomes.late_share(),
            late_at_servers: counters.late(),
            refused: outcomes.refused_share(),
            p50: outcomes.admitted_over_deadline(0.5).unwrap_or(f64::NAN),
            p99: outcomes.admitted_over_deadline(0.99).unwrap_or(f64::NAN),
            refusal_p99_ms: outcomes.refused_after(0.99).map_or(f64::NAN, |after| after.as_secs_f64() * 1e3),
            calls,
            calls_a_chunk: calls / chunks.max(1.0),
            cpu: result.cpu,
            ended: (answered.len() as f64, all - answered.len() as f64),
            memory,
            words: result.words,
        }
    }

    /// The line of the table.
    pub(super) fn line(&self) -> String {
        format!(
            "| {}, N {}, {} | {} | {} | {} | {} | {} | {} ({}) | {} | {} | {} | {} | {} ({}) | {} |",
            self.device,
            self.servers,
            self.by,
            self.load,
            self.jobs,
            cell(self.result, 2),
            cell(self.left_late_ms, 1),
            cell(self.goodput, 3),
            cell(self.late * 100.0, 1),
            cell(self.late_at_servers * 100.0, 1),
            cell(self.refused * 100.0, 1),
            cell(self.p50, 2),
            cell(self.p99, 2),
            cell(self.refusal_p99_ms, 1),
            cell(self.calls, 2),
            cell(self.calls_a_chunk, 2),
            cell(self.memory, 0),
        )
    }
}

/// The head of the table.
pub(super) const HEADER: &str = "| | load | jobs | really result | left late p99 ms | goodput ÷ capacity | late % of admitted (servers') | refused % | \
    p50 ÷ deadline | p99 ÷ deadline | refusal p99 ms | calls a job (a chunk) | server MiB |\n\
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";

/// Processor milliseconds of an answered job and of another, from runs under different loads: the pair, neither below
/// zero, whose sums come nearest to what the runs took, each run counted by the share it is off. One process does both
/// at once, so they cannot be told apart within a run.
pub(super) fn processor(rows: &[&LoadRow]) -> Option<(f64, f64)> {
    let runs: Vec<(f64, f64)> = rows
        .iter()
        .filter_map(|row| row.cpu.filter(|cpu| *cpu > 0.0).map(|cpu| (row.ended.0 / cpu, row.ended.1 / cpu)))
        .collect();
    // Least squares of 1 = a·x + b·y.
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| runs.iter().map(of).sum::<f64>();
    let (xx, xy, yy) = (sum(&|r| r.0 * r.0), sum(&|r| r.0 * r.1), sum(&|r| r.1 * r.1));
    let (x, y) = (sum(&|r| r.0), sum(&|r| r.1));
    let det = xx * yy - xy * xy;
    if runs.len() < 2 || det <= 1e-6 * xx * yy {
        return None;
    }
    let (a, b) = ((x * yy - y * xy) / det, (y * xx - x * xy) / det);
    let (a, b) = match (a < 0.0, b < 0.0) {
        (true, _) => (0.0, y / yy),
        (_, true) => (x / xx, 0.0),
        _ => (a, b),
    };
    Some((a * 1e3, b * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(load: f64) -> LoadAsked {
        let (device, deadline) = ("slow", Duration::from_secs(1));
        LoadAsked {
            device,
            timed: true,
            servers: 1,
            by: LoadGenerator::Whole,
            load,
            capacity: 2.0,
            deadline,
            window: (1.0, 2.0),
        }
    }

    fn job(at: f64, took: f64, outcome: JobResult) -> JobSample {
        JobSample { at, late: 0.002, took, outcome, chunks: 1.0 }
    }

    #[test]
    fn what_counts_is_what_left_in_the_window_and_was_in_time() {
        let mut result = LoadResult { cpu: Some(0.5), ..LoadResult::default() };
        for (at, took, outcome) in [
            (0.5, 0.1, JobResult::Answered),
            (1.0, 0.2, JobResult::Answered),
            (1.5, 1.1, JobResult::Answered),
            (2.0, 1.0, JobResult::Deadline),
            (2.9, 0.01, JobResult::Refused),
            (3.0, 0.1, JobResult::Answered),
        ] {
            result.push(job(at, took, outcome), "x");
        }
        let counters = ServerCounters { calls: 9.0, admitted: 5.0, lost: 1.0, ..ServerCounters::default() };
        let row = LoadRow::new(&asked(2.0), result, counters, 50.0);
        assert_eq!((row.jobs, row.result, row.goodput), (4, 1.0, 0.25));
        assert!((row.late - 2.0 / 3.0).abs() < 1e-9 && (row.late_at_servers - 0.2).abs() < 1e-9, "{row:?}");
        assert_eq!((row.refused, row.p50, row.refusal_p99_ms), (0.25, 1.0, 10.0));
        assert_eq!((row.calls, row.ended), (1.0, (4.0, 2.0)), "three calls were tasters");
        assert!(
            row.line().starts_with("| slow, N 1, whole | 2 | 4 | 1.00 | 2.0 | 0.250 | 66.7 (20.0) | 25.0 |"),
            "{}",
            row.line()
        );
    }

    #[test]
    fn the_processor_of_both_kinds_is_told_apart_by_loads() {
        let row = |answered: f64, others: f64| {
            let mut row = LoadRow::new(&asked(1.0), LoadResult::default(), ServerCounters::default(), 0.0);
            row.cpu = Some(answered * 0.002 + others * 0.0005);
            row.ended = (answered, others);
            row
        };
        let rows = [row(100.0, 2.0), row(110.0, 90.0), row(105.0, 700.0)];
        let (answered, others) = processor(&rows.iter().collect::<Vec<_>>()).unwrap();
        assert!((answered - 2.0).abs() < 1e-6 && (others - 0.5).abs() < 1e-6, "{answered} {others}");
        assert!(processor(&[&rows[0]]).is_none());
    }
}
