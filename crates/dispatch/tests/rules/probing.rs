//! Servers asked before a job is cut.

use std::time::Duration;

use sortie_dispatch::{
    Cost, DispatchConfig, EndpointId, Event, Failure, Fleet, JobOptions, LoadReport, PlaceReason, ProbeId, Resource,
    Time,
};

use crate::bench::{Bench, DEADLINE, at, idle, probes, queue_wait_of, wake};

/// Slow enough that asking is worth it.
const SLOW: Cost = Cost { a_us: 3_000.0, b_us: 5.0 };

fn large(config: DispatchConfig) -> Bench {
    let mut fleet = Fleet::new(config, 200, 1);
    let model = fleet.model("m", Resource::Device);
    (0..200).for_each(|id| fleet.report(EndpointId(id), model, idle(SLOW), at(0)));
    Bench::on(fleet, model, 60, at(1_000), JobOptions::by(at(1_000) + DEADLINE))
}

fn started() -> (Bench, Vec<(ProbeId, EndpointId)>, Time) {
    let mut bench = large(DispatchConfig::default());
    let (sends, rest) = bench.handle(at(1_000), Event::Start);
    assert!(sends.is_empty());
    (bench, probes(&rest), wake(&rest))
}

fn report(queue_wait: u64) -> LoadReport {
    LoadReport { cost: SLOW, ..queue_wait_of(queue_wait) }
}

#[test]
fn two_servers_a_chunk_are_asked_and_the_job_is_cut_for_the_idle_ones() {
    let (mut bench, asked, until) = started();
    assert_eq!(asked.len(), 2 * bench.chunks);
    assert!(until <= at(1_003), "{until:?}");
    let mut sends = Vec::new();
    for (place, (probe, _)) in asked.iter().enumerate() {
        let queue_wait = if place % 2 == 0 { 0 } else { 200 };
        let event = Event::ProbeAnswered { probe: *probe, report: report(queue_wait) };
        sends.extend(bench.handle(at(1_001), event).0);
    }
    assert!(!sends.is_empty(), "sent with the last answer, not when the time is over");
    let idle: Vec<_> = asked.iter().step_by(2).map(|(_, endpoint)| *endpoint).collect();
    assert!(sends.iter().all(|send| idle.contains(&send.endpoint) && send.reason == PlaceReason::Probed));
    let items: usize = sends.iter().map(|send| bench.job.chunk(send.chunk).unwrap().items.len()).sum();
    assert_eq!(items, 60);
}

#[test]
fn less_loaded_servers_get_more_of_the_job() {
    let (mut bench, asked, _) = started();
    let mut sends = Vec::new();
    for (place, (probe, _)) in asked.iter().enumerate() {
        let event = Event::ProbeAnswered { probe: *probe, report: report(if place == 0 { 0 } else { 3 }) };
        sends.extend(bench.handle(at(1_001), event).0);
    }
    let tokens = |endpoint| {
        let send = sends.iter().find(|send| send.endpoint == endpoint);
        send.map_or(0, |send| bench.job.chunk(send.chunk).unwrap().tokens)
    };
    let most = sends.iter().map(|send| tokens(send.endpoint)).max();
    assert_eq!(Some(tokens(asked[0].1)), most);
    assert!(sends.iter().any(|send| tokens(send.endpoint) < tokens(asked[0].1)));
}

#[test]
fn servers_that_do_not_answer_are_not_waited_for_and_get_nothing() {
    let (mut bench, asked, until) = started();
    let unanswered = &asked[..asked.len() / 4];
    for (probe, _) in &asked[unanswered.len()..] {
        let (sends, _) = bench.handle(at(1_001), Event::ProbeAnswered { probe: *probe, report: report(0) });
        assert!(sends.is_empty());
    }
    let (sends, _) = bench.handle(until, Event::Tick);
    assert!(!sends.is_empty());
    assert!(sends.iter().all(|send| unanswered.iter().all(|(_, endpoint)| *endpoint != send.endpoint)));
    // A late answer is one, and sends nothing again.
    let (again, _) = bench.handle(at(1_100), Event::ProbeAnswered { probe: unanswered[0].0, report: report(0) });
    assert!(again.is_empty());
}

#[test]
fn when_no_probe_comes_back_the_job_goes_to_others() {
    let (mut bench, asked, until) = started();
    let (sends, _) = bench.handle(until, Event::Tick);
    assert!(!sends.is_empty());
    assert!(sends.iter().all(|send| asked.iter().all(|(_, endpoint)| *endpoint != send.endpoint)));
}

#[test]
fn probes_that_fail_make_their_servers_not_ready() {
    let (mut bench, asked, _) = started();
    for (probe, _) in &asked {
        bench.handle(at(1_001), Event::ProbeFailed { probe: *probe, failure: Failure::Transport });
    }
    assert!(asked.iter().all(|(_, endpoint)| !bench.stats(*endpoint, at(1_001)).ready));
    let sent: Vec<_> = bench.fleet.stats(at(1_001)).filter(|stats| stats.in_flight_tokens > 0).collect();
    assert!(!sent.is_empty() && sent.iter().all(|stats| stats.ready));
}

#[test]
fn nobody_is_asked_where_it_takes_longer_than_it_saves() {
    // A chunk of a fast server takes less than three round trips; a small fleet is known as it is.
    let mut fleet = Fleet::new(DispatchConfig::default(), 200, 1);
    let model = fleet.model("m", Resource::Device);
    let fast = Cost { a_us: 100.0, b_us: 0.05 };
    (0..200).for_each(|id| fleet.report(EndpointId(id), model, idle(fast), at(0)));
    let mut bench = Bench::on(fleet, model, 20, at(0), JobOptions::by(at(0) + DEADLINE));
    assert!(!bench.handle(at(0), Event::Start).0.is_empty());
    let mut bench = Bench::new(8, DispatchConfig::default());
    assert!(!bench.handle(at(0), Event::Start).0.is_empty());
    let mut config = DispatchConfig::default();
    config.place.probing = false;
    let mut bench = large(config);
    assert!(!bench.handle(at(1_000), Event::Start).0.is_empty());
}

#[test]
fn how_long_probes_are_waited_for_follows_the_round_trip() {
    let (mut bench, asked, until) = started();
    assert_eq!(until, at(1_000) + Duration::from_millis(2), "four times the assumed half a millisecond");
    let early = at(1_000) + Duration::from_micros(200);
    for (probe, _) in &asked {
        bench.handle(early, Event::ProbeAnswered { probe: *probe, report: report(0) });
    }
    let options = JobOptions::by(at(2_000) + DEADLINE);
    let mut bench = Bench::on(bench.fleet, bench.model, 60, at(2_000), options);
    let (_, rest) = bench.handle(at(2_000), Event::Start);
    assert_eq!(wake(&rest), at(2_001), "the floor");
}
