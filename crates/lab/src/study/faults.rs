//! Each fault on fleets of several sizes: latencies, failed jobs, tokens.

use std::time::Duration;

use sortie_dispatch::Cost;

use super::{Cell, Measured, RunBudget, StudyError, measure};
use crate::{
    Strategy,
    fault::{Fault, Incident, Stalls},
    sim::{JobSizes, Scenario},
};

/// Fleets.
const FLEETS: [usize; 3] = [4, 16, 100];

/// When a fault begins.
const AT: Duration = Duration::from_secs(3);

/// Pause between two steps of a rolling restart: replacements are there, and those that went are gone.
const STEP: Duration = Duration::from_secs(4);

/// A fleet of mid-sized encoders at load 0.5, four clients.
fn base(servers: usize, run_budget: RunBudget) -> Scenario {
    Scenario {
        servers,
        clients: 4,
        load: 0.5,
        cost: Cost { a_us: 1_000.0, b_us: 0.46 },
        sizes: JobSizes::LogNormal { job_tokens: 32_000, items: 200 },
        warm_up: Duration::from_secs(2),
        end: AT + Duration::from_secs_f64(run_budget.seconds.max(1.0)),
        ..Scenario::default()
    }
}

fn every(servers: usize, run_budget: RunBudget) -> Vec<(&'static str, Scenario)> {
    let base = base(servers, run_budget);
    let hit = |fault: Fault| Scenario { incidents: vec![Incident::one(AT, 0, fault)], ..base.clone() };
    let stalls = Stalls { every: Duration::from_secs(4), length: Duration::from_millis(150), together: 1 };
    vec![
        ("none", base.clone()),
        ("processes stop for 150 ms", Scenario { stalls: Some(stalls), ..base.clone() }),
        ("one 4× slow", hit(Fault::Pace(4.0))),
        ("one dies, back after 2 s", hit(Fault::Crash(Some(Duration::from_secs(2))))),
        ("one dies for good", hit(Fault::Crash(None))),
        ("one is a black hole", hit(Fault::BlackHole(None))),
        ("one fails everything at once", hit(Fault::Failing(true))),
        ("rolling restart, a quarter at a time", rolling(&base)),
        (
            "a quarter more servers join",
            Scenario {
                incidents: vec![Incident { at: AT, servers: (0..servers.div_ceil(4)).collect(), fault: Fault::Join }],
                ..base.clone()
            },
        ),
    ]
}

/// Every server is replaced, a quarter of them at a time.
fn rolling(base: &Scenario) -> Scenario {
    let quarter = base.servers.div_ceil(4);
    let servers: Vec<usize> = (0..base.servers).collect();
    let step = |(number, servers): (u32, &[usize])| Incident {
        at: AT + STEP * number,
        servers: servers.to_vec(),
        fault: Fault::Replace,
    };
    let incidents: Vec<Incident> = (0..).zip(servers.chunks(quarter)).map(step).collect();
    let end = AT + STEP * u32::try_from(incidents.len() + 1).unwrap_or(1);
    Scenario { incidents, end: end.max(base.end), ..base.clone() }
}

/// Every fault, on every fleet, for dispatch and for its nearest rival.
///
/// # Errors
///
/// As [`measure`].
pub fn faults(run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    let mut cells = Vec::new();
    for servers in FLEETS {
        for (name, scenario) in every(servers, run_budget) {
            for strategy in [Strategy::P2cHedge, Strategy::Sortie] {
                let fixed_chunks = scenario.fixed_chunks.min(servers);
                let name = format!("N {servers}, {name}: {}", strategy.name());
                cells.push(Cell::new(name, Scenario { strategy, fixed_chunks, ..scenario.clone() }));
            }
        }
    }
    measure(cells, run_budget)
}
