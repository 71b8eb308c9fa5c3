//! States that must not be entered for good, in virtual time: what a rule learns from a bad
//! moment it must unlearn, and what it does must not feed what it saw.

use std::time::Duration;

use sortie_dispatch::Failure;

use crate::{
    scenario::{Fault, Outcome, Scenario},
    world::World,
};

fn run(scenario: Scenario, faults: &[(u64, usize, Fault)]) -> Outcome {
    let mut world = World::new(scenario);
    for &(ms, server, fault) in faults {
        world.fault(Duration::from_millis(ms), server, fault);
    }
    world.run()
}

fn seconds(end: u64) -> Scenario {
    Scenario { servers: 4, load: 0.5, end: Duration::from_secs(end), ..Scenario::default() }
}

/// Attempts that a server got in the last part of a run.
fn share(outcome: &Outcome, server: usize) -> f64 {
    outcome.reached_late[server] as f64 / outcome.reached_late.iter().sum::<u64>() as f64
}

#[test]
fn a_stalled_servers_rate_recovers() {
    let stall = (2_000, 1, Fault::Stall(Duration::from_millis(500)));
    let outcome = run(seconds(10), &[stall]);
    assert_eq!(outcome.failed, 0);
    assert!((0.2..0.3).contains(&share(&outcome, 1)), "{:?}", outcome.reached_late);
}

#[test]
fn a_server_that_was_slow_is_used_again_once_it_is_not() {
    let faults = [(1_000, 1, Fault::Slow(4.0)), (4_000, 1, Fault::Slow(1.0))];
    let outcome = run(Scenario { load: 0.3, ..seconds(20) }, &faults);
    assert_eq!(outcome.failed, 0);
    assert!((0.15..0.35).contains(&share(&outcome, 1)), "{:?}", outcome.reached_late);
}

#[test]
fn a_server_that_refused_is_used_again_once_it_does_not() {
    let faults = [(1_000, 1, Fault::Refuse(Some(Failure::Internal))), (4_000, 1, Fault::Refuse(None))];
    let outcome = run(Scenario { load: 0.3, ..seconds(20) }, &faults);
    assert_eq!(outcome.failed, 0);
    assert!((0.15..0.35).contains(&share(&outcome, 1)), "{:?}", outcome.reached_late);
}

#[test]
fn cancelled_attempts_return_their_tokens() {
    let stalls = Some((Duration::from_secs(1), Duration::from_millis(150)));
    let outcome = run(Scenario { stalls, servers: 8, ..seconds(6) }, &[]);
    assert!(outcome.tokens[1] > 0, "nothing was hedged");
    assert_eq!(outcome.in_flight, 0);
    assert_eq!(outcome.failed, 0);
}

/// Load depends on how jobs are cut and cuts depend on load: with the busy share for load this loop
/// flips for ever.
#[test]
fn adaptive_k_does_not_oscillate_at_constant_load() {
    for load in [0.4, 0.6, 0.7, 0.8] {
        let outcome = run(Scenario { servers: 8, clients: 4, load, ..seconds(12) }, &[]);
        // Means over half seconds, once warm.
        let mut means = Vec::new();
        for half in 4..24 {
            let span = f64::from(half) * 0.5..f64::from(half + 1) * 0.5;
            let chunks: Vec<f64> =
                outcome.chunks.iter().filter(|(at, _)| span.contains(at)).map(|(_, k)| *k as f64).collect();
            means.push(chunks.iter().sum::<f64>() / chunks.len() as f64);
        }
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        let far = means.iter().map(|m| (m / mean - 1.0).abs()).fold(0.0, f64::max);
        assert!(far < 0.35, "load {load}: {means:.1?}");
        assert_eq!(outcome.failed, 0);
    }
}

#[test]
fn a_fleet_wide_slowdown_becomes_no_cascade() {
    let slow: Vec<_> = (0..8).map(|server| (2_000, server, Fault::Slow(2.0))).collect();
    let outcome = run(Scenario { servers: 8, clients: 2, load: 0.35, ..seconds(12) }, &slow);
    assert_eq!(outcome.failed, 0);
    assert_eq!(outcome.most_ejected, 0);
    assert!(outcome.reached_late.iter().all(|&count| count > 0));
    let (most, least) = (outcome.reached_late.iter().max(), outcome.reached_late.iter().min());
    assert!(*most.unwrap() < 2 * *least.unwrap(), "{:?}", outcome.reached_late);
    assert!(outcome.extra() < 0.05, "{}", outcome.extra());
    // Seventy per cent of a fleet half as fast, and still nobody waits for long.
    assert!(outcome.quantile(0.99) < 400.0, "{}", outcome.quantile(0.99));
}

#[test]
fn a_stop_of_the_whole_fleet_is_waited_out() {
    let stop: Vec<_> = (0..8).map(|server| (3_000, server, Fault::Stall(Duration::from_millis(400)))).collect();
    let outcome = run(Scenario { servers: 8, load: 0.4, ..seconds(8) }, &stop);
    assert_eq!(outcome.failed, 0);
    assert_eq!(outcome.most_ejected, 0);
    assert!(outcome.extra() < 0.05, "{}", outcome.extra());
    let (most, least) = (outcome.reached_late.iter().max(), outcome.reached_late.iter().min());
    assert!(*most.unwrap() < 2 * *least.unwrap(), "{:?}", outcome.reached_late);
}

#[test]
fn retries_survive_one_of_four_servers_dying_under_full_load() {
    for seed in 1..4 {
        let scenario = Scenario { load: 0.7, seed, clients: 2, ..seconds(8) };
        let outcome = run(scenario, &[(3_000, 2, Fault::Die)]);
        assert_eq!(outcome.failed, 0, "seed {seed}");
        assert!(outcome.tokens[3] > 0, "nothing was free");
    }
}

#[test]
fn a_server_that_comes_back_gets_its_share() {
    let outcome = run(seconds(20), &[(2_000, 2, Fault::Die), (4_000, 2, Fault::Live)]);
    assert_eq!(outcome.failed, 0);
    assert!((0.18..0.32).contains(&share(&outcome, 2)), "{:?}", outcome.reached_late);
}

/// Extra tokens stay in the budget whatever happens.
#[test]
fn extra_tokens_stay_in_the_budget_in_a_bad_hour() {
    let stalls = Some((Duration::from_millis(700), Duration::from_millis(200)));
    let outcome = run(Scenario { stalls, servers: 8, clients: 3, load: 0.5, ..seconds(8) }, &[]);
    assert_eq!(outcome.failed, 0);
    let burst = 3.0 * 10.0 * 32_000.0;
    let (hedges, retries) = (outcome.tokens[1] as f64, outcome.tokens[2] as f64);
    let first = outcome.tokens[0] as f64;
    assert!(hedges <= burst / 2.0 + 0.05 * first, "{:?}", outcome.tokens);
    assert!(hedges + retries <= burst + 0.10 * first, "{:?}", outcome.tokens);
}
