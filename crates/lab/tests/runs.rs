//! Whole runs: seeds decide them, nothing is lost, an idle fleet keeps its formula, and no cell
//! of any fault passes its budget.

use std::time::Duration;

use sortie_dispatch::Cost;
use sortie_lab::{
    Strategy,
    fault::{Fault, Incident, Stalls},
    sim::{JobSizes, Network, RunOutcome, Scenario, run},
    study::{RunBudget, long_fleet},
};

const EVERY: [Strategy; 5] =
    [Strategy::Random, Strategy::P2c, Strategy::P2cHedge, Strategy::WholeJob, Strategy::Sortie];

fn busy() -> Scenario {
    Scenario {
        servers: 4,
        clients: 3,
        load: 0.6,
        fixed_chunks: 4,
        warm_up: Duration::from_millis(500),
        end: Duration::from_millis(2_500),
        ..Scenario::default()
    }
}

fn sane(name: &str, outcome: &RunOutcome) {
    assert_eq!(outcome.overspent, 0, "{name}: hedges and retries passed their budget");
    assert_eq!(outcome.in_flight, 0, "{name}: tokens are still in flight");
    assert!(outcome.latencies.len() > 50, "{name}: {}", outcome.latencies.len());
}

#[test]
fn the_seed_decides_everything() {
    let stalls = Stalls { every: Duration::from_secs(1), length: Duration::from_millis(50), together: 1 };
    for strategy in EVERY {
        let scenario = Scenario { strategy, stalls: Some(stalls), ..busy() };
        let once = run(&scenario).unwrap();
        assert_eq!(once, run(&scenario).unwrap(), "{strategy:?}");
        let other = run(&Scenario { seed: 2, ..scenario }).unwrap();
        assert_ne!(once.latencies, other.latencies);
    }
}

#[test]
fn strategies_meet_the_same_jobs() {
    let jobs: Vec<_> = EVERY.map(|strategy| run(&Scenario { strategy, ..busy() }).unwrap()).into();
    for outcome in &jobs {
        assert_eq!((outcome.jobs, outcome.job_tokens), (jobs[0].jobs, jobs[0].job_tokens));
    }
}

/// Every fourth job has three texts of 8,192 tokens: who knows what those take ends jobs sooner.
#[test]
fn long_texts_do_not_wreck_placement() {
    let budget = RunBudget { seeds: 1, seconds: 1.5, jobs: 0, threads: 1 };
    let outcome = |curve_is_known| {
        let outcome = run(&long_fleet(64, 0.3, curve_is_known, budget)).unwrap();
        sane("long texts", &outcome);
        assert_eq!(outcome.failed, 0);
        outcome
    };
    let (by_tokens, by_work) = (outcome(false), outcome(true));
    assert_eq!(by_tokens.job_tokens, by_work.job_tokens);
    for (share, most) in [(0.5, 0.7), (0.99, 0.95)] {
        let (before, after) = (by_tokens.latencies.ms(share), by_work.latencies.ms(share));
        assert!(after < most * before, "{share}: {before} ms by tokens, {after} by work");
    }
}

#[test]
fn without_hedges_every_token_runs_once() {
    let mut scenario = busy();
    scenario.dispatch.hedge.enabled = false;
    for strategy in [Strategy::Random, Strategy::P2c, Strategy::WholeJob, Strategy::Sortie] {
        let outcome = run(&Scenario { strategy, ..scenario.clone() }).unwrap();
        sane(strategy.name(), &outcome);
        assert_eq!(outcome.failed, 0);
        assert_eq!(outcome.served_tokens, outcome.job_tokens);
        assert_eq!(outcome.spent.first, outcome.job_tokens);
        match strategy {
            Strategy::WholeJob => assert!((outcome.chunks_per_job() - 1.0).abs() < 1e-9),
            Strategy::Sortie => assert!(outcome.chunks_per_job() > 1.2),
            _ => assert!((outcome.chunks_per_job() - 4.0).abs() < 1e-9),
        }
    }
}

#[test]
fn an_idle_fleet_keeps_its_formula() {
    // Jobs so rare that none meets another; items of one size, so that four chunks are equal.
    let scenario = Scenario {
        servers: 4,
        load: 1e-5,
        cost: Cost { a_us: 1_000.0, b_us: 0.5 },
        noise: 0.0,
        sizes: JobSizes::Even { job_tokens: 32, items: 32 },
        network: Network { one_way: Duration::from_micros(150), tail: Duration::ZERO, probe_loss: 0.0 },
        warm_up: Duration::from_micros(1),
        end: Duration::from_secs(20),
        ..Scenario::default()
    };
    let us = |us: u64| Duration::from_micros(us);
    let close = |outcome: &RunOutcome, expect: Duration| {
        for q in [0.0, 0.5, 1.0] {
            assert!(outcome.latencies.quantile(q).abs_diff(expect) < us(2), "{:?}", outcome.latencies.quantile(q));
        }
    };
    // 32 tokens are not worth cutting: a + b · 32 + net.
    let small = run(&scenario).unwrap();
    assert!((small.chunks_per_job() - 1.0).abs() < 1e-9);
    close(&small, us(1_000 + 16 + 300));
    let sizes = JobSizes::Even { job_tokens: 32_000, items: 32_000 };
    let large = run(&Scenario { sizes, load: 1e-3, ..scenario }).unwrap();
    assert!((large.chunks_per_job() - 4.0).abs() < 1e-9);
    close(&large, us(1_000 + 4_000 + 300));
}

#[test]
fn chunks_beat_whole_jobs_at_half_load() {
    let run = |strategy| run(&Scenario { strategy, ..Scenario::default() }).unwrap().latencies;
    let (whole, chunks) = (run(Strategy::WholeJob), run(Strategy::Sortie));
    assert!(chunks.quantile(0.5) * 14 < whole.quantile(0.5) * 10, "{} {}", chunks.ms(0.5), whole.ms(0.5));
    assert!(chunks.quantile(0.99) < whole.quantile(0.99), "{} {}", chunks.ms(0.99), whole.ms(0.99));
}

#[test]
fn every_fault_stays_within_its_budget_and_no_job_fails() {
    let at = Duration::from_secs(1);
    let faults = [
        Fault::Stall(Duration::from_millis(300)),
        Fault::Pace(4.0),
        Fault::Crash(Some(Duration::from_millis(500))),
        Fault::Crash(None),
        Fault::BlackHole(Some(Duration::from_millis(500))),
        Fault::BlackHole(None),
        Fault::Failing(true),
        Fault::Replace,
        Fault::Join,
    ];
    for servers in [4, 12] {
        for fault in faults {
            let incidents = vec![Incident::one(at, 1, fault)];
            let scenario = Scenario { servers, load: 0.5, incidents, ..busy() };
            let name = format!("{servers} servers, {fault:?}");
            let outcome = run(&scenario).unwrap();
            sane(&name, &outcome);
            assert_eq!(outcome.failed, 0, "{name}");
        }
    }
}

#[test]
fn lost_probes_and_noise_and_mixed_sizes_stay_within_the_budget() {
    let sizes = [(1_600, 10), (32_000, 200), (160_000, 1_000)];
    let sizes = JobSizes::Mixed(sizes.map(|(job_tokens, items)| JobSizes::Even { job_tokens, items }).into());
    let network = Network { probe_loss: 0.3, ..Network::default() };
    let stalls = Stalls { every: Duration::from_secs(2), length: Duration::from_millis(100), together: 5 };
    let scenario = Scenario { servers: 40, load: 0.5, sizes, network, noise: 0.25, stalls: Some(stalls), ..busy() };
    let outcome = run(&scenario).unwrap();
    sane("all at once", &outcome);
    assert_eq!(outcome.failed, 0);
}

/// A load generator that waits for answers before it asks again hides the tail (ghz's default): here who comes
/// during a stop is counted from when they came.
#[test]
fn a_stop_is_felt_by_all_who_come_meanwhile() {
    let stop = Duration::from_secs(1);
    let incidents = vec![Incident::one(Duration::from_secs(1), 0, Fault::Stall(stop))];
    let calm = Scenario { servers: 1, load: 0.3, end: Duration::from_secs(4), ..busy() };
    let stopped = run(&Scenario { incidents, ..calm.clone() }).unwrap();
    let jobs = stopped.latencies.len() as f64;
    assert_eq!(stopped.jobs, run(&calm).unwrap().jobs, "jobs come whether or not others are answered");
    // A second of 3.5 is stopped: half of those who come in it wait for half of it or more.
    let waited = (1..100).rev().find(|percent| stopped.latencies.quantile(f64::from(*percent) / 100.0) < stop / 2);
    let waited = jobs * (1.0 - f64::from(waited.unwrap_or(0)) / 100.0);
    assert!(waited > 0.5 * jobs / 3.5 * 0.6, "{waited} of {jobs} jobs");
}

/// A simulator whose work grows with the fleet cannot do a thousand servers (freenet 3126): the same jobs cost
/// the same events.
#[test]
fn the_work_of_a_run_does_not_grow_with_the_fleet() {
    let run = |servers: usize, load: f64| {
        let mut scenario = Scenario { servers, load, end: Duration::from_secs(2), ..busy() };
        scenario.dispatch.plan.max_chunks = 8;
        run(&scenario).unwrap()
    };
    let (small, large) = (run(50, 0.4), run(1_000, 0.02));
    assert_eq!(small.jobs, large.jobs);
    let ratio = large.events as f64 / small.events as f64;
    assert!((0.7..1.4).contains(&ratio), "{} {}", small.events, large.events);
}

/// Sizes of fleets, numbers of clients, loads and faults, each with each other at least once (a Latin square).
#[test]
fn fleets_clients_loads_and_faults_in_all_pairs() {
    let at = Duration::from_secs(1);
    let slow_start = Duration::from_millis(400);
    let faults = [Fault::Pace(4.0), Fault::Stall(Duration::from_millis(300)), Fault::Crash(Some(slow_start))];
    for (row, servers) in [4, 16, 100].into_iter().enumerate() {
        for (column, clients) in [1, 4, 50].into_iter().enumerate() {
            let load = [0.3, 0.5, 0.7][(row + column) % 3];
            let fault = faults[(row + 2 * column) % 3];
            let name = format!("{servers} servers, {clients} clients, load {load}, {fault:?}");
            let incidents = vec![Incident::one(at, 1, fault)];
            // Jobs of many tokens: few of them fill a large fleet.
            let sizes = JobSizes::Even { job_tokens: 2_000 * servers as u64, items: 40 * servers };
            let end = Duration::from_millis(1_800);
            let outcome = run(&Scenario { servers, clients, load, sizes, incidents, end, ..busy() }).unwrap();
            sane(&name, &outcome);
            assert_eq!(outcome.failed, 0, "{name}");
        }
    }
}

#[test]
fn nonsense_is_refused() {
    assert_eq!(run(&Scenario { servers: 0, ..Scenario::default() }).unwrap_err().field, "servers");
}
