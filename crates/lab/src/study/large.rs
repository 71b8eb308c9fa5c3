//! 1,000 servers, 50 clients, load 0.7, one server in a hundred four times slow, every process stopped now and
//! then: design's row 6, and what becomes of it when one rule or one assumption is taken away.

use std::time::Duration;

use sortie_dispatch::Cost;

use super::{Cell, Measured, RunBudget, StudyError, measure};
use crate::{
    Strategy,
    fault::{Fault, Incident, Stalls},
    sim::{JobSizes, Scenario},
};

/// One server in so many is slow.
const SLOW_EVERY: usize = 100;

/// And so many times slower.
const SLOW_PACE: f64 = 4.0;

/// Tokens of a job: 200 passages of 256.
const JOB_TOKENS: u64 = 51_200;

/// Virtual time before jobs are counted: dispatch has learnt what servers cost.
const WARM_UP: Duration = Duration::from_secs(2);

/// Fleet of the row.
const SERVERS: usize = 1_000;

/// Clients of the row.
const CLIENTS: usize = 50;

/// A fleet as large as any that is known to serve encoders.
const VAST_SERVERS: usize = 10_000;

/// Its clients.
const VAST_CLIENTS: usize = 1_000;

/// The scenario of the row, so many virtual seconds of it.
#[must_use]
pub fn large_fleet(run_budget: RunBudget) -> Scenario {
    let scenario = Scenario {
        clients: CLIENTS,
        load: 0.7,
        cost: Cost { a_us: 3_000.0, b_us: 5.0 },
        budget: 8_192,
        sizes: JobSizes::LogNormal { job_tokens: JOB_TOKENS, items: 200 },
        stalls: Some(Stalls { every: Duration::from_secs(20), length: Duration::from_millis(150), together: 1 }),
        warm_up: WARM_UP,
        end: WARM_UP + Duration::from_secs_f64(run_budget.seconds.max(0.1)),
        ..Scenario::default()
    };
    of(scenario, SERVERS)
}

/// Ten times the servers and twenty times the clients of the row; counted from a virtual second on, since each costs
/// minutes.
#[must_use]
pub fn vast_fleet(run_budget: RunBudget) -> Scenario {
    let warm_up = WARM_UP / 2;
    let end = warm_up + Duration::from_secs_f64(run_budget.seconds.max(0.1));
    of(Scenario { clients: VAST_CLIENTS, warm_up, end, ..large_fleet(run_budget) }, VAST_SERVERS)
}

/// Our client on that fleet.
///
/// # Errors
///
/// As [`measure`].
pub fn vast(run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    measure(vec![Cell::new(Strategy::Sortie.name(), vast_fleet(run_budget))], run_budget)
}

/// The same with so many servers.
fn of(scenario: Scenario, servers: usize) -> Scenario {
    let slow = (0..servers).skip(SLOW_EVERY / 2).step_by(SLOW_EVERY).collect();
    let incident = Incident { at: Duration::ZERO, servers: slow, fault: Fault::Pace(SLOW_PACE) };
    Scenario { servers, incidents: vec![incident], ..scenario }
}

fn with(base: &Scenario, change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut scenario = base.clone();
    change(&mut scenario);
    scenario
}

/// Ways to send, on the fleet of the row.
///
/// # Errors
///
/// As [`measure`].
pub fn strategies(run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    every_way(&large_fleet(run_budget), run_budget)
}

/// Every way to send, on one fleet.
///
/// # Errors
///
/// As [`measure`].
pub fn every_way(base: &Scenario, run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    let all = [Strategy::Random, Strategy::P2c, Strategy::P2cHedge, Strategy::WholeJob, Strategy::Sortie];
    let cell = |strategy: Strategy| Cell::new(strategy.name(), Scenario { strategy, ..base.clone() });
    measure(all.map(cell).into(), run_budget)
}

/// One rule less at a time.
///
/// # Errors
///
/// As [`measure`].
pub fn ablations(run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    let base = large_fleet(run_budget);
    let without = |name: &str, change: fn(&mut Scenario)| Cell::new(name, with(&base, change));
    measure(
        vec![
            without("sortie", |_| {}),
            without("− probes", |s| s.dispatch.place.probing = false),
            without("− hedge", |s| s.dispatch.hedge.enabled = false),
            without("− suspicion", |s| s.dispatch.health.suspicion = false),
            without("− ejection", |s| s.dispatch.health.ejecting = false),
            without("− suspicion, − ejection", |s| {
                s.dispatch.health.suspicion = false;
                s.dispatch.health.ejecting = false;
            }),
            without("− budget", |s| {
                s.dispatch.budget.hedge_share = 1.0;
                s.dispatch.budget.burst_jobs = 10_000.0;
            }),
            without("− exclusion", |s| s.dispatch.place.exclusion = false),
            without("− exclusion, − suspicion", |s| {
                s.dispatch.place.exclusion = false;
                s.dispatch.health.suspicion = false;
            }),
            without("− adaptive chunks (always 16)", |s| {
                s.dispatch.plan.max_chunks = s.fixed_chunks;
                s.dispatch.plan.min_gain = 0.0;
                s.dispatch.plan.service_noise = 0.0;
                s.dispatch.load.target = 1.0;
                s.dispatch.load.calm = 1.0;
                s.dispatch.plan.busy = 1.0;
            }),
            without("− reserving by probes", |s| s.reserve = Duration::ZERO),
            without("p2c + hedge", |s| s.strategy = Strategy::P2cHedge),
            without("p2c + hedge − exclusion", |s| {
                s.strategy = Strategy::P2cHedge;
                s.exclusion = false;
            }),
        ],
        run_budget,
    )
}

/// One assumption changed at a time, for dispatch and for its nearest rival.
///
/// # Errors
///
/// As [`measure`].
pub fn sensitivity(run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    let base = large_fleet(run_budget);
    let mixed = [(1_600, 10), (JOB_TOKENS, 200), (204_800, 800)];
    let mixed = mixed.map(|(job_tokens, items)| JobSizes::LogNormal { job_tokens, items });
    let changed = [
        ("as it is", base.clone()),
        ("noise 25%", with(&base, |s| s.noise = 0.25)),
        ("load 0.8", with(&base, |s| s.load = 0.8)),
        (
            "20 servers stall together",
            with(&base, |s| {
                s.stalls = s.stalls.map(|stalls| Stalls { together: 20, ..stalls });
            }),
        ),
        ("5% of probes lost", with(&base, |s| s.network.probe_loss = 0.05)),
        ("30% of probes lost", with(&base, |s| s.network.probe_loss = 0.30)),
        ("jobs of 1.6, 51 and 205 k tokens", with(&base, |s| s.sizes = JobSizes::Mixed(mixed.into()))),
        ("network tail 0.5 ms", with(&base, |s| s.network.tail = Duration::from_micros(500))),
        ("knee at 1,024 tokens", with(&base, |s| s.knee = 1_024)),
    ];
    let cells = changed.into_iter().flat_map(|(name, scenario)| {
        [Strategy::P2cHedge, Strategy::Sortie].map(|strategy| {
            Cell::new(format!("{name}: {}", strategy.name()), Scenario { strategy, ..scenario.clone() })
        })
    });
    measure(cells.collect(), run_budget)
}

/// Loads at which the fleet is swept.
pub(super) const LOADS: [f64; 7] = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];

/// The fleet at each of `LOADS`.
///
/// # Errors
///
/// As [`measure`].
pub fn loads(run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    let base = large_fleet(run_budget);
    let cells = [Strategy::P2cHedge, Strategy::Sortie].into_iter().flat_map(|strategy| {
        let base = &base;
        LOADS.map(move |load| {
            Cell::new(format!("{} at {load}", strategy.name()), Scenario { strategy, load, ..base.clone() })
        })
    });
    measure(cells.collect(), run_budget)
}

/// The fleet with 1 to 200 clients.
///
/// # Errors
///
/// As [`measure`].
pub fn clients(run_budget: RunBudget) -> Result<Vec<Measured>, StudyError> {
    let base = large_fleet(run_budget);
    let cells = [1, 4, 16, 50, 200].into_iter().flat_map(|clients| {
        [Strategy::P2cHedge, Strategy::Sortie].map(|strategy| {
            let scenario = Scenario { strategy, clients, ..base.clone() };
            Cell::new(format!("{clients} clients: {}", strategy.name()), scenario)
        })
    });
    measure(cells.collect(), run_budget)
}
