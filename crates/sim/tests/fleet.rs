//! Whole runs: seeds decide them, nothing is lost, and an idle fleet keeps its formula.

use std::time::Duration;

use sortie_dispatch::Cost;
use sortie_sim::{Scenario, Strategy, run};

const EVERY: [Strategy; 2] = [Strategy::WholeJob, Strategy::Chunks];

fn busy() -> Scenario {
    Scenario { servers: 4, clients: 3, load: 0.7, jobs: 300, ..Scenario::default() }
}

#[test]
fn the_seed_decides_everything() {
    for strategy in EVERY {
        let once = run(&busy(), strategy).unwrap();
        assert_eq!(once, run(&busy(), strategy).unwrap());
        let other = run(&Scenario { seed: 2, ..busy() }, strategy).unwrap();
        assert_ne!(once.latencies, other.latencies);
    }
}

#[test]
fn every_chunk_is_answered_once_and_no_token_is_lost() {
    let mut scenario = busy();
    scenario.dispatch.hedge.enabled = false;
    for strategy in EVERY {
        let outcome = run(&scenario, strategy).unwrap();
        assert_eq!(outcome.latencies.len(), 300);
        assert_eq!(outcome.failed, 0);
        assert_eq!(outcome.sent, outcome.answered);
        assert_eq!(outcome.served_tokens, outcome.job_tokens);
        assert_eq!(outcome.in_flight, 0);
        match strategy {
            Strategy::WholeJob => assert_eq!(outcome.sent, 330),
            Strategy::Chunks => assert!(outcome.sent > 330, "{}", outcome.sent),
        }
    }
}

#[test]
fn an_idle_fleet_keeps_its_formula() {
    // Jobs so rare that none meets another; items of one size, so that four chunks are equal.
    let cost = Cost { a_us: 1_000.0, b_us: 0.5 };
    let scenario = Scenario {
        servers: 4,
        load: 1e-6,
        cost,
        job_tokens: 32,
        items: 32,
        jobs: 20,
        round_trip: Duration::from_micros(300),
        ..Scenario::default()
    };
    let net_us = 300.0;
    // 32 tokens are not worth cutting: a + b · 32 + net.
    let small = run(&scenario, Strategy::Chunks).unwrap();
    assert_eq!(small.sent, 22);
    assert_eq!(small.latencies.quantile(1.0), Duration::from_nanos(((1_000.0 + 16.0 + net_us) * 1e3) as u64));

    let outcome = run(&Scenario { job_tokens: 32_000, items: 32_000, ..scenario }, Strategy::Chunks).unwrap();
    assert_eq!(outcome.sent, 22 * 4);
    let expect = Duration::from_nanos(((1_000.0 + 0.5 * 8_000.0 + net_us) * 1e3) as u64);
    assert_eq!([0.0, 0.5, 1.0].map(|q| outcome.latencies.quantile(q)), [expect; 3]);
}

#[test]
fn chunks_beat_whole_jobs_at_half_load() {
    let scenario = Scenario { jobs: 1_000, ..Scenario::default() };
    let [whole, chunks] = EVERY.map(|strategy| run(&scenario, strategy).unwrap().latencies);
    assert!(chunks.quantile(0.5) * 14 < whole.quantile(0.5) * 10, "p50 {:?} {:?}", chunks, whole.quantile(0.5));
    assert!(chunks.quantile(0.99) < whole.quantile(0.99));
}

#[test]
fn nonsense_is_refused() {
    let scenario = Scenario { servers: 0, ..Scenario::default() };
    assert_eq!(run(&scenario, Strategy::Chunks).unwrap_err().field, "servers");
}
