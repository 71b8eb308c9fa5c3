//! What a fleet does when more is asked of it than it can do, by who asks: deadlines, a load sweep, clients of every
//! kind.
//!
//! Load is a share of what the fleet runs in full batches, `B ÷ (a + b·B)` tokens a second a server. *Goodput* is the
//! tokens of jobs that are answered by their deadline over the same. A job is *late* if a server had admitted work of
//! it when its deadline came, and *refused* if it fails in any other way.
//!
//! Invariant: jobs are counted by when they came in, after a warm-up and while others still come.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sortie_dispatch::Cost;

use super::{Cell, Measured, RunBudget, StudyError, measure};
use crate::{
    Strategy,
    sim::{FinishedJob, JobEnd, JobSizes, Scenario},
    stats::LatencySamples,
};

/// Loads of the sweep.
pub const LOADS: [f64; 6] = [0.8, 1.0, 1.2, 2.0, 4.0, 8.0];

/// Fleets of the sweep.
pub const FLEETS: [usize; 3] = [1, 4, 16];

/// Relative standard deviation of service times: that of a processor shared with others.
const NOISE: f64 = 0.15;

/// Clients of a run: enough that none knows what the others do, and a share of 30% can be told.
const CLIENTS: usize = 10;

/// Deadlines that pass before jobs are counted: queues have found their length by then.
const WARM_UP: u32 = 8;

/// Deadlines that are counted at least, however few jobs that takes.
const LEAST: u32 = 30;

/// A device and what is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// What a batch costs.
    pub cost: Cost,
    /// Tokens in a batch.
    pub budget: u64,
    /// Longest a job may take.
    pub deadline: Duration,
    /// Time that a call takes from the device.
    pub call_cost: Duration,
    /// Tokens and items of its jobs, by name.
    pub jobs: [(&'static str, u64, usize); 2],
}

impl Shape {
    /// The shapes that are known: `fast` and `slow` of `cargo xtask bench overload`, `slow` whose processor also reads
    /// the calls, and the demo's reranker on one core.
    #[must_use]
    pub fn all() -> [Self; 4] {
        let slow = Self {
            name: "slow",
            cost: Cost { a_us: 1_000.0, b_us: 160.0 },
            budget: 1_024,
            deadline: Duration::from_secs(1),
            call_cost: Duration::ZERO,
            jobs: [("small", 440, 4), ("large", 1_760, 16)],
        };
        let fast = Self {
            name: "fast",
            cost: Cost { a_us: 1_000.0, b_us: 4.6 },
            budget: 4_096,
            deadline: Duration::from_millis(300),
            call_cost: Duration::ZERO,
            jobs: [("small", 2_100, 14), ("large", 16_000, 100)],
        };
        let shared = Self { name: "shared", call_cost: Duration::from_micros(300), ..slow.clone() };
        let heavy = Self { name: "heavy", cost: Cost { a_us: 2_000.0, b_us: 350.0 }, ..slow.clone() };
        [fast, slow, shared, heavy]
    }

    /// Tokens a second of one server in full batches.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        self.budget as f64 * 1e6 / self.cost.batch_us(self.budget as f64)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callers {
    /// Their name.
    pub name: &'static str,
    /// One client each, over and over.
    pub mix: &'static [Strategy],
    /// Whether each kind is a tenant of its own.
    pub apart: bool,
}

impl Callers {
    /// All that are known.
    pub const ALL: [Self; 6] = {
        use Strategy::{NoRetry, RetryAtOnce, Sortie, WholeJob};
        const fn alone(name: &'static str, mix: &'static [Strategy]) -> Callers {
            Callers { name, mix, apart: false }
        }
        [
            alone("no-retry", &[NoRetry]),
            alone("retry-at-once", &[RetryAtOnce]),
            alone("whole-job", &[WholeJob]),
            alone("sortie", &[Sortie]),
            alone("mixed", &[Sortie, NoRetry, RetryAtOnce, Sortie, RetryAtOnce]),
            Self {
                name: "foreign",
                mix: &[Sortie, Sortie, RetryAtOnce, Sortie, Sortie, RetryAtOnce, Sortie, Sortie, RetryAtOnce, Sortie],
                apart: true,
            },
        ]
    };
}

/// What is swept.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Devices.
    pub shapes: Vec<Shape>,
    /// Which of their jobs, by name; all if empty.
    pub jobs: Vec<&'static str>,
    /// Fleets.
    pub fleets: Vec<usize>,
    /// Who asks.
    pub callers: Vec<Callers>,
    /// Loads.
    pub loads: Vec<f64>,
}

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

impl Sweep {
    fn cells(&self, run_budget: RunBudget) -> Vec<(Cell, CellKey)> {
        let mut cells = Vec::new();
        for shape in &self.shapes {
            let wanted = |(name, ..): &&(&str, u64, usize)| self.jobs.is_empty() || self.jobs.contains(name);
            for &(job, tokens, items) in shape.jobs.iter().filter(wanted) {
                for &servers in &self.fleets {
                    for &callers in &self.callers {
                        for &load in &self.loads {
                            let capacity = shape.capacity() * servers as f64;
                            let group = format!("{}, {job} jobs, N {servers}", shape.name);
                            let lasting =
                                Duration::from_secs_f64(run_budget.jobs.max(1) as f64 * tokens as f64 / capacity);
                            let warm_up = shape.deadline * WARM_UP;
                            let counted = lasting.max(shape.deadline * LEAST);
                            let scenario = Scenario {
                                servers,
                                clients: CLIENTS,
                                load: load * shape.capacity() * shape.cost.b_us / 1e6,
                                cost: shape.cost,
                                budget: shape.budget,
                                noise: NOISE,
                                call_cost: shape.call_cost,
                                sizes: JobSizes::Even { job_tokens: tokens, items },
                                warm_up,
                                // Others still come while the last that counts is served.
                                end: warm_up + counted + shape.deadline,
                                deadline: shape.deadline,
                                mix: callers.mix.to_vec(),
                                apart: callers.apart,
                                ..Scenario::default()
                            };
                            let name = format!("{group}, {} at {load}", callers.name);
                            let key =
                                CellKey { group, callers, load, capacity, deadline: shape.deadline, warm_up, counted };
                            cells.push((Cell::new(name, scenario), key));
                        }
                    }
                }
            }
        }
        cells
    }
}

/// What a row needs to know of its cell.
struct CellKey {
    group: String,
    callers: Callers,
    load: f64,
    capacity: f64,
    deadline: Duration,
    warm_up: Duration,
    counted: Duration,
}

impl CellKey {
    fn rows(&self, cell: &Measured) -> Vec<OverloadRow> {
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
        let count = |fate| jobs.iter().filter(|ended| ended.end == fate).count() as f64;
        let (in_time, late, refused) = (count(JobEnd::InTime), count(JobEnd::Late), count(JobEnd::Refused));
        let tokens: u64 = jobs.iter().filter(|ended| ended.end == JobEnd::InTime).map(|ended| ended.tokens).sum();
        let (mut took, mut after) = (LatencySamples::default(), LatencySamples::default());
        for ended in jobs {
            match ended.end {
                JobEnd::InTime => took.push(ended.took),
                JobEnd::Late => took.push(ended.took.max(self.deadline)),
                JobEnd::Refused => after.push(ended.took),
            }
        }
        let over = |latencies: &LatencySamples, q| latencies.quantile(q).as_secs_f64() / self.deadline.as_secs_f64();
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
            late: late / (in_time + late).max(1.0),
            refused: refused / (jobs.len() as f64).max(1.0),
            took: [over(&took, 0.5), over(&took, 0.99)],
            refused_after: over(&after, 0.99),
            calls: calls / (jobs.len() as f64).max(1.0),
            again: calls / sum(|ended| ended.chunks).max(1.0),
        }
    }
}

/// Runs a sweep.
///
/// # Errors
///
/// As [`measure`].
pub fn overload(sweep: &Sweep, run_budget: RunBudget) -> Result<Vec<OverloadRow>, StudyError> {
    let (cells, keys): (Vec<Cell>, Vec<CellKey>) = sweep.cells(run_budget).into_iter().unzip();
    let measured = measure(cells, run_budget)?;
    Ok(measured.iter().zip(&keys).flat_map(|(cell, key)| key.rows(cell)).collect())
}

/// Columns of the table.
const COLUMNS: [&str; 9] = [
    "",
    "goodput ÷ capacity",
    "late of admitted",
    "refused",
    "p50 ÷ deadline",
    "p99 ÷ deadline",
    "refused after, p99 ÷ deadline",
    "calls a job",
    "calls a chunk",
];

/// The table of some rows.
#[must_use]
pub fn overload_table(rows: &[OverloadRow]) -> String {
    let line = |row: &OverloadRow| {
        let of = row.of.map_or(String::new(), |of| format!(", of which {} ({:.0}%)", of.name(), row.share * 100.0));
        vec![
            format!("{}: {}{of}, at {}", row.group, row.callers, row.load),
            format!("{:.3}", row.goodput),
            crate::table::percent(row.late),
            format!("{:.1}%", row.refused * 100.0),
            format!("{:.2}", row.took[0]),
            format!("{:.2}", row.took[1]),
            format!("{:.3}", row.refused_after),
            format!("{:.2}", row.calls),
            format!("{:.2}", row.again),
        ]
    };
    crate::table::markdown(&COLUMNS, rows.iter().map(line))
}

/// What a good server and a good client hold under any load.
pub mod aims {
    /// Goodput over the best of any load, or over the load where that is less.
    pub const GOODPUT: f64 = 0.95;
    /// Late over admitted.
    pub const LATE: f64 = 0.01;
    /// p50 of admitted jobs over the deadline.
    pub const P50: f64 = 0.5;
    /// Calls a chunk of our client.
    pub const CALLS: f64 = 1.2;
    /// Goodput of our client over that of any other, sampling noise allowed for.
    pub const RIVAL: f64 = 0.99;
    /// Goodput of ours over their fair part beside others, sampling noise allowed for.
    pub const FAIR: f64 = 0.95;
}

/// Where the aims are missed, a line each.
#[must_use]
pub fn overload_missed(rows: &[OverloadRow]) -> Vec<String> {
    let mut missed = Vec::new();
    let mut best: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.of.is_none()) {
        let most = best.entry((&row.group, row.callers)).or_default();
        *most = most.max(row.goodput);
    }
    for row in rows {
        let name = format!("{}: {} at {}", row.group, row.callers, row.load);
        let mut check = |holds: bool, what: String| {
            if !holds {
                missed.push(format!("{name}: {what}"));
            }
        };
        if let Some(of) = row.of {
            // Others' shares are theirs to waste.
            if of == Strategy::Sortie && row.callers == "foreign" {
                let fair = fair(row.load, row.share);
                check(row.goodput >= aims::FAIR * fair, format!("ours get {:.3} of their {fair:.3}", row.goodput));
            }
            continue;
        }
        let peak = best.get(&(row.group.as_str(), row.callers)).copied().unwrap_or_default();
        let most = peak.min(row.load);
        check(row.goodput >= aims::GOODPUT * most, format!("goodput {:.3} of {most:.3}", row.goodput));
        check(row.late <= aims::LATE, format!("{:.1}% of the admitted late", row.late * 100.0));
        check(row.took[0] <= aims::P50, format!("p50 {:.2} of the deadline", row.took[0]));
        if row.callers == Strategy::Sortie.name() {
            check(row.again <= aims::CALLS, format!("{:.2} calls a chunk", row.again));
            let same = |other: &&OverloadRow| {
                other.group == row.group && (other.load - row.load).abs() < 1e-9 && other.of.is_none()
            };
            let rivals = rows.iter().filter(same).map(|other| other.goodput).fold(0.0, f64::max);
            check(row.goodput >= aims::RIVAL * rivals, format!("goodput {:.3}, others {rivals:.3}", row.goodput));
        }
    }
    // Each once, in order.
    let mut seen = BTreeSet::new();
    missed.retain(|line| seen.insert(line.clone()));
    missed
}

/// The fair part of a tenant that asks for `share` of `load` beside one other: all it asks for, or what the other
/// leaves, or half.
#[must_use]
pub fn fair(load: f64, share: f64) -> f64 {
    let (own, other) = (load * share, load * (1.0 - share));
    own.min((1.0 - other).max(0.5)).min(1.0)
}
