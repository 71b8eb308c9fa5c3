//! What a fleet does when more is asked of it than it can do, by who asks: deadlines, a load sweep, clients of every
//! kind.
//!
//! Load is a share of what the fleet runs in full batches, `B ÷ (a + b·B)` tokens a second a server. *Goodput* is the
//! tokens of jobs that are answered by their deadline over the same. A job is *late* if a server had admitted work of
//! it when its deadline came, and *refused* if it fails in any other way.
//!
//! Invariant: jobs are counted by when they came in, after a warm-up and while others still come.

mod row;
mod shape;
mod shown;

pub use row::OverloadRow;
pub use shape::{Callers, Shape};
pub use shown::{aims, fair, overload_missed, overload_table};

use std::time::Duration;

use super::{Cell, RunBudget, StudyError, measure};
use crate::sim::{JobSizes, Scenario};
use row::CellKey;

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
