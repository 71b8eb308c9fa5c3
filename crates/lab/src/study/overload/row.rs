//! What a cell of the sweep comes to.

use std::time::Duration;

use super::shape::Callers;
use crate::{
    Strategy,
    sim::FinishedJob,
    stats::{JobEnd, Outcomes},
    study::Measured,
};

/// One row: a cell, or the clients of one kind in it.
#[derive(Clone, Debug)]
pub struct OverloadRow {
    /// Everything but the load and the callers: rows of one group are compared.
    pub group: String,
    /// Who asks.
    pub callers: &'static str,
    /// Of whom it is; none: of all.
    pub of: Option<Strategy>,
    /// The load that all ask for together.
    pub load: f64,
    /// The share of it that these ask for.
    pub share: f64,
    /// Tokens answered in time over capacity.
    pub goodput: f64,
    /// Late jobs over admitted ones.
    pub late: f64,
    /// Refused jobs over all.
    pub refused: f64,
    /// p50 and p99 of admitted jobs over the deadline, a late one as if it had taken it all.
    pub took: [f64; 2],
    /// p99 of the time until a refusal, over the deadline.
    pub refused_after: f64,
    /// Calls a job.
    pub calls: f64,
    /// Calls over first attempts of chunks: what retries and hedges add.
    pub again: f64,
}

/// What a row needs to know of its cell.
pub(super) struct CellKey {
    pub(super) group: String,
    pub(super) callers: Callers,
    pub(super) load: f64,
    pub(super) capacity: f64,
    pub(super) deadline: Duration,
    pub(super) warm_up: Duration,
    pub(super) counted: Duration,
}

impl CellKey {
    pub(super) fn rows(&self, cell: &Measured) -> Vec<OverloadRow> {
        let counted = |ended: &&FinishedJob| (self.warm_up..self.warm_up + self.counted).contains(&ended.began);
        let all: Vec<&FinishedJob> = cell.runs.iter().flat_map(|run| &run.ended).filter(counted).collect();
        let strategy =
            |ended: &FinishedJob| self.callers.mix.get(ended.client as usize % self.callers.mix.len()).copied();
        let mut kinds: Vec<Strategy> = Vec::new();
        for &kind in self.callers.mix {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let mut rows = vec![self.row(None, 1.0, &all, cell.runs.len())];
        for kind in kinds.iter().copied().filter(|_| kinds.len() > 1) {
            let share =
                self.callers.mix.iter().filter(|&&one| one == kind).count() as f64 / self.callers.mix.len() as f64;
            let of: Vec<&FinishedJob> = all.iter().copied().filter(|ended| strategy(ended) == Some(kind)).collect();
            rows.push(self.row(Some(kind), share, &of, cell.runs.len()));
        }
        rows
    }

    fn row(&self, of: Option<Strategy>, share: f64, jobs: &[&FinishedJob], runs: usize) -> OverloadRow {
        let tokens: u64 = jobs.iter().filter(|ended| ended.end == JobEnd::InTime).map(|ended| ended.tokens).sum();
        let mut outcomes = Outcomes::new(self.deadline);
        jobs.iter().for_each(|ended| outcomes.push(ended.end, ended.took));
        let sum = |of: fn(&FinishedJob) -> u32| jobs.iter().map(|ended| f64::from(of(ended))).sum::<f64>();
        let calls = sum(|ended| ended.calls);
        let seconds = self.counted.as_secs_f64() * runs.max(1) as f64;
        OverloadRow {
            group: self.group.clone(),
            callers: self.callers.name,
            of,
            load: self.load,
            share,
            goodput: tokens as f64 / (self.capacity * seconds),
            late: outcomes.late_share(),
            refused: outcomes.refused_share(),
            took: [0.5, 0.99].map(|q| outcomes.admitted_over_deadline(q).unwrap_or_default()),
            refused_after: outcomes.refused_after(0.99).map_or(0.0, |after| outcomes.over_deadline(after)),
            calls: calls / (jobs.len() as f64).max(1.0),
            again: calls / sum(|ended| ended.chunks).max(1.0),
        }
    }
}
