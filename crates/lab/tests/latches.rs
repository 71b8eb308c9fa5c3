//! Rules that could hold each other up for ever, or set one another off: each is to let go.

use std::time::Duration;

use sortie_lab::{
    Strategy,
    fault::{Fault, Incident, Stalls},
    sim::{Interval, JobSizes, RunOutcome, SLICE, Scenario, run},
};

fn secs(s: f64) -> Duration {
    Duration::from_secs_f64(s)
}

fn fleet(servers: usize, clients: usize, load: f64) -> Scenario {
    Scenario { servers, clients, load, warm_up: secs(1.0), end: secs(6.0), ..Scenario::default() }
}

/// Slices from one moment to another.
fn between(outcome: &RunOutcome, from: f64, to: f64) -> &[Interval] {
    let place = |s: f64| ((s / SLICE.as_secs_f64()).round() as usize).min(outcome.slices.len());
    &outcome.slices[place(from)..place(to)]
}

/// One stall must not brand a server: its share of the work comes back.
#[test]
fn a_stalled_server_gets_its_share_back() {
    let stall = |length| vec![Incident::one(secs(1.5), 0, Fault::Stall(secs(length)))];
    let attempts = |incidents| {
        let outcome = run(&Scenario { incidents, ..fleet(8, 2, 0.5) }).unwrap();
        assert_eq!((outcome.failed, outcome.overspent, outcome.in_flight), (0, 0, 0));
        let others = outcome.servers[1..].iter().map(|server| server.served_tokens).sum::<u64>() as f64 / 7.0;
        outcome.servers[0].served_tokens as f64 / others
    };
    let (without, with) = (attempts(Vec::new()), attempts(stall(0.4)));
    // 0.4 of 6 seconds are gone; no more than as much again may be.
    assert!(with > without * (1.0 - 2.0 * 0.4 / 6.0), "{without} {with}");
}

/// All servers at half their speed: nobody is better, so nobody is to be shunned for long.
#[test]
fn a_slowdown_of_the_whole_fleet_is_no_cascade() {
    let servers: Vec<usize> = (0..12).collect();
    let incidents = vec![Incident { at: secs(2.0), servers, fault: Fault::Pace(2.0) }];
    let outcome = run(&Scenario { incidents, ..fleet(12, 4, 0.35) }).unwrap();
    assert_eq!((outcome.failed, outcome.overspent, outcome.in_flight), (0, 0, 0));
    let late = outcome.servers.iter().map(|server| server.late_attempts);
    assert!(late.clone().max().unwrap() < 2 * late.min().unwrap(), "{:?}", outcome.servers);
    let settled = between(&outcome, 4.0, 6.0);
    assert!(settled.iter().all(|slice| slice.ejected == 0), "{settled:?}");
    let suspects = settled.iter().map(|slice| slice.suspects).sum::<usize>() as f64 / settled.len() as f64;
    assert!(suspects < 3.0, "{suspects} of 12 suspect on average");
    assert!(outcome.spent.extra() < 0.05, "{}", outcome.spent.extra());
    // Twice the service at twice the load (0.7): not ten times the wait.
    assert!(outcome.latencies.ms(0.99) < 150.0, "{}", outcome.latencies.ms(0.99));
}

/// A quarter of the work is lost at once; it is tried again at once, free, and nobody else is.
#[test]
fn retries_survive_one_of_four_servers_dying_under_full_load() {
    let mut free = 0;
    for seed in 1..=4 {
        let incidents = vec![Incident::one(secs(2.0), 3, Fault::Crash(None))];
        let outcome = run(&Scenario { seed, incidents, end: secs(4.0), ..fleet(4, 4, 0.65) }).unwrap();
        assert_eq!((outcome.failed, outcome.overspent, outcome.in_flight), (0, 0, 0));
        assert!(outcome.spent.retries < outcome.spent.first / 20, "{:?}", outcome.spent);
        free += outcome.spent.free;
    }
    assert!(free > 0, "nothing was lost, and so nothing shown");
}

/// Load depends on how jobs are cut, and how they are cut on load: the loop must not swing.
#[test]
fn the_number_of_chunks_does_not_swing_at_constant_load() {
    for load in [0.3, 0.5, 0.7, 0.8] {
        let outcome = run(&Scenario { end: secs(9.0), ..fleet(8, 4, load) }).unwrap();
        // Half a second a mean; jobs differ, so single slices do too.
        let means: Vec<f64> = between(&outcome, 3.0, 9.0)
            .chunks_exact(5)
            .map(|slices| {
                let sum = |of: fn(&Interval) -> u64| slices.iter().map(of).sum::<u64>() as f64;
                sum(|slice| slice.chunks) / sum(|slice| slice.jobs).max(1.0)
            })
            .collect();
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        let most = means.iter().fold(0.0, |most: f64, x| most.max((x - mean).abs()));
        assert!(most < 0.4 * mean, "load {load}: {mean} {means:?}");
    }
}

/// A new server that all clients see idle must get its share, and not everybody's work at once.
#[test]
fn a_new_server_is_neither_flooded_nor_starved() {
    let incidents = vec![Incident { at: secs(2.0), servers: vec![0], fault: Fault::Join }];
    let scenario = Scenario { incidents, end: secs(6.0), ..fleet(40, 10, 0.6) };
    let outcome = run(&scenario).unwrap();
    assert_eq!((outcome.failed, outcome.overspent), (0, 0));
    let (old, new) = outcome.servers.split_at(40);
    let most_old = old.iter().map(|server| server.most_queued).max().unwrap();
    assert!(new[0].most_queued <= 2 * most_old, "flooded: {} against {most_old}", new[0].most_queued);
    let usual = old.iter().map(|server| server.served_tokens).sum::<u64>() as f64 / 40.0;
    // It was there for two thirds of the time, the first seconds of them a newcomer.
    let share = new[0].served_tokens as f64 / usual;
    assert!((0.3..1.0).contains(&share), "{share} of another's work");
}

/// Many clients that see the same reports must not all go to the same best server.
#[test]
fn a_herd_is_bounded() {
    for servers in [16, 40] {
        let outcome = run(&Scenario { end: secs(2.0), ..fleet(servers, 50, 0.6) }).unwrap();
        let alone = run(&Scenario { end: secs(2.0), ..fleet(servers, 1, 0.6) }).unwrap();
        let most = |outcome: &RunOutcome| outcome.servers.iter().map(|server| server.most_queued).max().unwrap();
        // The one client that knows all there is to know is the measure.
        assert!(most(&outcome) < 4 * most(&alone), "{servers}: {} {}", most(&outcome), most(&alone));
    }
}

/// Stops of single processes cost little with suspicion and hedges, and much without.
#[test]
fn stalls_cost_little() {
    let stalls = Some(Stalls { every: secs(4.0), length: secs(0.15), together: 1 });
    let scenario = Scenario { stalls, end: secs(10.0), ..fleet(8, 2, 0.4) };
    let calm = run(&Scenario { stalls: None, ..scenario.clone() }).unwrap();
    let sortie = run(&scenario).unwrap();
    let rival = run(&Scenario { strategy: Strategy::P2c, fixed_chunks: 8, ..scenario }).unwrap();
    let p99 = |outcome: &RunOutcome| outcome.latencies.ms(0.99);
    assert!(p99(&sortie) < 2.5 * p99(&calm), "{} {}", p99(&sortie), p99(&calm));
    assert!(p99(&rival) > 2.0 * p99(&sortie), "{} {}", p99(&rival), p99(&sortie));
}

/// Share of a fleet's attempts that a server got in the last third of a run.
fn share(outcome: &RunOutcome, server: usize) -> f64 {
    let all: u64 = outcome.servers.iter().map(|server| server.late_attempts).sum();
    outcome.servers[server].late_attempts as f64 / all as f64
}

/// What was slow, failed or dead for a while and is not any more gets its part again.
#[test]
fn what_is_well_again_is_used_again() {
    let until = |fault, well| vec![Incident::one(secs(1.0), 1, fault), Incident::one(secs(4.0), 1, well)];
    let dead = vec![Incident::one(secs(2.0), 1, Fault::Crash(Some(secs(2.0))))];
    for (name, load, incidents) in [
        ("slow", 0.3, until(Fault::Pace(4.0), Fault::Pace(1.0))),
        ("failing", 0.3, until(Fault::Failing(true), Fault::Failing(false))),
        ("stalled", 0.5, vec![Incident::one(secs(2.0), 1, Fault::Stall(secs(0.5)))]),
        ("dead", 0.5, dead),
    ] {
        let outcome = run(&Scenario { incidents, end: secs(20.0), ..fleet(4, 1, load) }).unwrap();
        assert_eq!((outcome.failed, outcome.in_flight), (0, 0), "{name}");
        assert!((0.15..0.35).contains(&share(&outcome, 1)), "{name}: {:?}", outcome.servers);
    }
}

/// When all stop at once it is the network, and nobody is better.
#[test]
fn a_stop_of_the_whole_fleet_is_waited_out() {
    let stop = Incident { at: secs(3.0), servers: (0..8).collect(), fault: Fault::Stall(secs(0.4)) };
    let outcome = run(&Scenario { incidents: vec![stop], end: secs(8.0), ..fleet(8, 1, 0.4) }).unwrap();
    assert_eq!((outcome.failed, outcome.ejections), (0, 0));
    assert!(outcome.spent.extra() < 0.05, "{}", outcome.spent.extra());
    let late = outcome.servers.iter().map(|server| server.late_attempts);
    assert!(late.clone().max().unwrap() < 2 * late.min().unwrap(), "{:?}", outcome.servers);
}

/// Stops that never cease: hedges are sent, what lost is cancelled and counted no more, and the budget holds.
#[test]
fn a_bad_hour_stays_in_the_budget_and_cancelled_attempts_return_their_tokens() {
    let stalls = Some(Stalls { every: secs(0.7), length: secs(0.2), together: 1 });
    let outcome = run(&Scenario { stalls, end: secs(8.0), ..fleet(8, 3, 0.5) }).unwrap();
    assert!(outcome.spent.hedges > 0, "nothing was hedged");
    assert_eq!((outcome.failed, outcome.overspent, outcome.in_flight), (0, 0, 0));
}

/// A server that fails at once has nothing in flight and the shortest latencies (tower's PeakEwma,
/// linkerd2-proxy 4537).
#[test]
fn a_server_that_fails_fast_does_not_attract_traffic() {
    let incidents = vec![Incident::one(secs(1.0), 2, Fault::Failing(true))];
    let outcome = run(&Scenario { incidents, end: secs(4.0), ..fleet(4, 1, 0.4) }).unwrap();
    assert_eq!(outcome.failed, 0);
    let (bad, good) = (outcome.servers[2].attempts, outcome.servers[0].attempts);
    assert!(bad < good / 2, "{bad} and {good}");
}

/// Coordinators that see the same reports all send to the same fast replica (OpenSearch 19891).
#[test]
fn several_clients_do_not_herd_on_one_server() {
    let sizes = JobSizes::Even { job_tokens: 3_000, items: 8 };
    let outcome = run(&Scenario { sizes, end: secs(3.0), ..fleet(8, 20, 0.3) }).unwrap();
    let attempts = outcome.servers.iter().map(|server| server.attempts);
    let (most, all) = (attempts.clone().max().unwrap(), attempts.sum::<u64>());
    assert!(most * 8 < all * 2, "{:?}", outcome.servers);
}

/// An old server, or a proxy that strips trailers: no reports, no batches, no probes.
#[test]
fn without_any_report_everything_still_works() {
    let incidents =
        vec![Incident::one(secs(2.0), 1, Fault::Stall(secs(0.3))), Incident::one(secs(4.0), 3, Fault::Pace(4.0))];
    let outcome = run(&Scenario { reports: false, incidents, ..fleet(6, 2, 0.5) }).unwrap();
    assert_eq!((outcome.failed, outcome.in_flight), (0, 0));
    assert!(outcome.servers.iter().all(|server| server.attempts > 100), "{:?}", outcome.servers);
    assert!(outcome.latencies.ms(0.99) < 200.0, "{}", outcome.latencies.ms(0.99));
}
