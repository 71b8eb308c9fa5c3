//! Texts of 8,192 tokens among passages: what it is worth to know that they take longer than their tokens say.

use std::time::Duration;

use sortie_dispatch::{WorkCurve, config::PRIOR};

use super::{Cell, Measured, RunBudget, StudyError, measure};
use crate::sim::{JobSizes, Scenario};

/// Length at which a token is twice as dear: a base model on a data-centre GPU, as it was measured for GTE.
const DOUBLING_LENGTH: u32 = 2_820;

/// Tokens of a job's passages: 200 of 160.
const JOB_TOKENS: u64 = 32_000;

/// Passages of a job.
const ITEMS: usize = 200;

/// One job in so many has long texts.
const ONE_IN: usize = 4;

/// How many it has, and their tokens.
const LONG: (usize, u64) = (3, 8_192);

/// Virtual time before jobs are counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// A fleet whose jobs now and then have long texts.
#[must_use]
pub fn long_fleet(servers: usize, load: f64, curve_is_known: bool, run_budget: RunBudget) -> Scenario {
    let mut sizes = vec![JobSizes::LogNormal { job_tokens: JOB_TOKENS, items: ITEMS }; ONE_IN - 1];
    let (long, long_tokens) = LONG;
    sizes.push(JobSizes::WithLong { job_tokens: JOB_TOKENS, items: ITEMS, long, long_tokens });
    Scenario {
        servers,
        clients: 4,
        load,
        cost: PRIOR,
        curve: WorkCurve::new(DOUBLING_LENGTH),
        curve_is_known,
        sizes: JobSizes::Mixed(sizes),
        warm_up: WARM_UP,
        end: WARM_UP + Duration::from_secs_f64(run_budget.seconds.max(0.1)),
        ..Scenario::default()
    }
}

/// Fleets of 4, 16 and 64 at three loads, reckoning in tokens and in work.
///
/// # Errors
///
/// As [`measure`].
pub fn long_texts(run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    let mut cells = Vec::new();
    for servers in [4, 16, 64] {
        for load in [0.3, 0.6, 0.75] {
            for (known, name) in [(false, "by tokens"), (true, "by work")] {
                let scenario = long_fleet(servers, load, known, run_budget);
                cells.push(Cell::new(format!("{servers} servers, load {load}, {name}"), scenario));
            }
        }
    }
    measure(cells, run_budget)
}
