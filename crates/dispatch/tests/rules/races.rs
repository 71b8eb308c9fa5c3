//! Late attempts and their hedges.

use std::time::Duration;

use sortie_dispatch::{
    Action, AttemptKind, CancelReason, DispatchConfig, EndpointId, Event, Failure, Fleet, HedgeSkipped, ItemSize,
    JobOptions, Lane, ProbePurpose, Resource,
};

use crate::bench::{
    Bench, DEADLINE, answered, at, cancelled, failed, failure, is_finished, probes, queue_wait_of, wake,
};

/// A job on three servers, and the moment at which its attempts are late.
fn late(config: DispatchConfig) -> (Bench, Vec<sortie_dispatch::SendAttempt>, sortie_dispatch::Time) {
    let mut bench = Bench::new(4, config);
    let (sends, rest) = bench.handle(at(0), Event::Start);
    (bench, sends, wake(&rest))
}

#[test]
fn a_late_attempt_is_hedged_on_a_server_that_has_not_had_the_chunk() {
    let (mut bench, sends, then) = late(DispatchConfig::default());
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
    }
    let before = bench.fleet.hedge_budget();
    let (hedges, _) = bench.handle(then, Event::Tick);
    assert_eq!((hedges.len(), hedges[0].kind, hedges[0].chunk), (1, AttemptKind::Hedge, sends[0].chunk));
    assert!(!hedges[0].rescue, "the first may still be at work");
    assert_ne!(hedges[0].endpoint, sends[0].endpoint);
    assert_eq!(hedges[0].number, 2);
    let tokens = bench.job.chunk(sends[0].chunk).unwrap().tokens;
    assert_eq!(before - bench.fleet.hedge_budget(), tokens);
    assert_eq!(bench.in_flight(), 2 * tokens);
}

/// tower's hedge and gRPC's (A6) may land where the first attempt is. Here that takes a switch.
#[test]
fn no_hedge_goes_to_the_server_that_has_the_chunk_but_without_exclusion() {
    for exclusion in [true, false] {
        let mut config = DispatchConfig::default();
        config.health.suspicion = false;
        config.place.exclusion = exclusion;
        let mut bench = Bench::new(1, config);
        let (sends, rest) = bench.handle(at(0), Event::Start);
        let (mut then, mut hedges) = (wake(&rest), Vec::new());
        while hedges.is_empty() && then < at(1_000) {
            let (sent, rest) = bench.handle(then, Event::Tick);
            (then, hedges) = (wake(&rest), sent);
        }
        let servers: Vec<EndpointId> = hedges.iter().map(|hedge| hedge.endpoint).collect();
        assert_eq!(servers, if exclusion { vec![] } else { vec![sends[0].endpoint] });
    }
}

#[test]
fn the_first_success_wins_and_the_loser_is_cancelled_and_gives_its_tokens_back() {
    for hedge_wins in [true, false] {
        let (mut bench, sends, then) = late(DispatchConfig::default());
        for send in &sends[1..] {
            bench.handle(at(1), answered(send.attempt));
        }
        let (hedges, _) = bench.handle(then, Event::Tick);
        let (winner, loser) =
            if hedge_wins { (hedges[0].attempt, sends[0].attempt) } else { (sends[0].attempt, hedges[0].attempt) };
        let (_, rest) = bench.handle(then + Duration::from_millis(2), answered(winner));
        assert!(rest.contains(&Action::Cancel { attempt: loser, reason: CancelReason::Lost }), "{rest:?}");
        assert!(is_finished(&rest));
        assert_eq!(bench.in_flight(), 0);
        assert_eq!(bench.job.coverage().hedges_won, u32::from(hedge_wins));
    }
}

#[test]
fn an_error_does_not_end_the_race() {
    for met in [Failure::Transport, Failure::Internal, Failure::Unavailable] {
        let (mut bench, sends, then) = late(DispatchConfig::default());
        for send in &sends[1..] {
            bench.handle(at(1), answered(send.attempt));
        }
        let (hedges, _) = bench.handle(then, Event::Tick);
        let (again, rest) = bench.handle(then, failed(hedges[0].attempt, met));
        assert!(again.is_empty() && failure(&rest).is_none() && !is_finished(&rest), "{met:?} {rest:?}");
        let (_, rest) = bench.handle(then, answered(sends[0].attempt));
        assert!(is_finished(&rest), "{met:?}");
    }
}

#[test]
fn a_chunk_is_tried_again_once_its_whole_race_has_failed() {
    let (mut bench, sends, then) = late(DispatchConfig::default());
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
    }
    let (hedges, _) = bench.handle(then, Event::Tick);
    bench.handle(then, failed(sends[0].attempt, Failure::Transport));
    let (again, _) = bench.handle(then, failed(hedges[0].attempt, Failure::Transport));
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].kind, AttemptKind::FreeRetry);
    assert!(again[0].rescue, "the others have ended");
    assert!(![sends[0].endpoint, hedges[0].endpoint].contains(&again[0].endpoint));
}

#[test]
fn no_hedge_where_nobody_would_be_sooner_and_another_look_later() {
    let (mut bench, sends, then) = late(DispatchConfig::default());
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
        bench.fleet.report(send.endpoint, bench.model, queue_wait_of(600), then);
    }
    let (hedges, rest) = bench.handle(then, Event::Tick);
    assert!(hedges.is_empty());
    assert!(
        rest.contains(&Action::HedgeSkipped { attempt: sends[0].attempt, reason: HedgeSkipped::NoneSooner }),
        "{rest:?}"
    );
    // By the look that was announced the others have drained, and the first is as silent as before.
    let mut now = wake(&rest);
    let mut hedged = false;
    for _ in 0..40 {
        let (hedges, rest) = bench.handle(now, Event::Tick);
        hedged |= !hedges.is_empty();
        assert!(wake(&rest) > now);
        now = wake(&rest);
        if hedged {
            break;
        }
    }
    assert!(hedged);
}

#[test]
fn without_budget_a_late_attempt_is_left_alone_and_its_server_suspect_all_the_same() {
    let mut config = DispatchConfig::default();
    config.budget.burst_jobs = 0.0;
    let (mut bench, sends, then) = late(config);
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
    }
    let (hedges, rest) = bench.handle(then, Event::Tick);
    assert!(hedges.is_empty());
    assert!(rest.contains(&Action::HedgeSkipped { attempt: sends[0].attempt, reason: HedgeSkipped::Budget }));
    assert!(rest.contains(&Action::PollFleet));
    assert!(bench.stats(sends[0].endpoint, then).suspect);
}

#[test]
fn hedging_off_suspects_and_never_hedges() {
    let mut bench = Bench::with(6, DispatchConfig::default(), |options| options.hedging(false));
    assert!(bench.chunks <= 3, "half of the fleet: {}", bench.chunks);
    let (sends, rest) = bench.handle(at(0), Event::Start);
    let (hedges, rest) = bench.handle(wake(&rest), Event::Tick);
    assert!(hedges.is_empty());
    assert!(rest.iter().any(|action| matches!(action, Action::HedgeSkipped { reason: HedgeSkipped::Off, .. })));
    assert!(sends.iter().any(|send| bench.stats(send.endpoint, at(100)).suspect));
}

/// Of several late chunks the one that is furthest from its end goes first.
#[test]
fn the_chunk_that_holds_the_job_is_hedged_first() {
    let mut config = DispatchConfig::default();
    // Room for one hedge.
    config.budget.burst_jobs = 0.7;
    let (mut bench, sends, _) = late(config);
    for send in &sends[2..] {
        bench.handle(at(1), answered(send.attempt));
    }
    // The first is soon done, by its server's report; the second is not.
    let now = at(400);
    bench.fleet.report(sends[0].endpoint, bench.model, queue_wait_of(30), now);
    bench.fleet.report(sends[1].endpoint, bench.model, queue_wait_of(300), now);
    let (hedges, _) = bench.handle(now, Event::Tick);
    assert_eq!(hedges.iter().map(|send| send.chunk).collect::<Vec<_>>(), [sends[1].chunk]);
}

#[test]
fn a_second_hedge_follows_the_first_into_trouble_and_no_third() {
    let mut config = DispatchConfig::default();
    config.budget.burst_jobs = 100.0;
    let mut bench = Bench::new(8, config);
    let (sends, rest) = bench.handle(at(0), Event::Start);
    let mut now = wake(&rest);
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
    }
    let mut servers = vec![sends[0].endpoint];
    while now < at(0) + DEADLINE {
        let (hedges, rest) = bench.handle(now, Event::Tick);
        servers.extend(hedges.iter().map(|send| send.endpoint));
        now = wake(&rest);
    }
    assert_eq!(servers.len(), 3, "{servers:?}");
    servers.sort();
    servers.dedup();
    assert_eq!(servers.len(), 3, "each on a server of its own");
}

/// Comparing with the time it has been overdue would wait as long again as the others need.
#[test]
fn a_server_that_does_not_answer_its_probe_is_not_waited_for_even_by_busy_others() {
    let (mut bench, sends, then) = late(DispatchConfig::default());
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
    }
    for send in &sends[1..] {
        bench.fleet.report(send.endpoint, bench.model, queue_wait_of(600), then);
    }
    let (hedges, rest) = bench.handle(then, Event::Tick);
    assert!(hedges.is_empty());
    assert_eq!(crate::bench::fleet_probes(&bench.tick(then)).len(), 1);
    let silent = then + bench.fleet.config().health.silent_after;
    assert!(wake(&rest) <= silent, "it is looked at again as soon as its silence tells");
    let (hedges, _) = bench.handle(silent, Event::Tick);
    assert_eq!(hedges.len(), 1);
    assert!(hedges[0].rescue, "nobody else works on it");
}

/// A whole job's hedge costs as much as the job: not where there is no room, unless its server is gone.
#[test]
fn a_whole_job_on_a_loaded_fleet_is_hedged_only_where_its_server_is_silent() {
    let mut config = DispatchConfig::default();
    config.plan.trusted_samples = 0;
    let mut fleet = Fleet::new(config, 4, 1);
    let model = fleet.model("m", Resource::Device);
    let loaded =
        sortie_dispatch::LoadReport { served_tokens_per_second: 0.9, rate_tokens_per_second: 1.0, ..queue_wait_of(0) };
    (0..4).for_each(|id| fleet.report(EndpointId(id), model, loaded, at(0)));
    let mut bench = Bench::on(fleet, model, 50, at(0), JobOptions::by(at(0) + DEADLINE));
    assert_eq!(bench.chunks, 1);
    let (_, rest) = bench.handle(at(0), Event::Start);
    let then = wake(&rest);
    let (hedges, rest) = bench.handle(then, Event::Tick);
    assert!(hedges.is_empty());
    assert!(
        rest.iter().any(|action| matches!(action, Action::HedgeSkipped { reason: HedgeSkipped::WholeAndLoaded, .. }))
    );
    // The probe of its server stays unanswered.
    assert_eq!(crate::bench::fleet_probes(&bench.tick(then)).len(), 1);
    let (hedges, _) = bench.handle(then + Duration::from_millis(100), Event::Tick);
    assert_eq!(hedges.len(), 1);
}

#[test]
fn bulk_work_is_sent_whole_and_hedged_only_where_its_server_is_silent() {
    let mut bench = Bench::with(6, DispatchConfig::default(), |options| options.lane(Lane::Bulk));
    assert_eq!(bench.chunks, 1);
    let (_, rest) = bench.handle(at(0), Event::Start);
    let then = wake(&rest);
    let (hedges, rest) = bench.handle(then, Event::Tick);
    assert!(hedges.is_empty());
    assert!(rest.iter().any(|action| matches!(action, Action::HedgeSkipped { reason: HedgeSkipped::Bulk, .. })));
    // The probe of its server stays unanswered, and the look that was announced is taken.
    assert_eq!(crate::bench::fleet_probes(&bench.tick(then)).len(), 1);
    let silent = then + bench.fleet.config().health.silent_after;
    assert!(wake(&rest) <= silent);
    assert_eq!(bench.handle(silent, Event::Tick).0.len(), 1);
}

#[test]
fn a_large_fleet_is_asked_again_before_a_hedge() {
    let mut config = DispatchConfig::default();
    config.plan.trusted_samples = 0;
    config.place.probe_worth = 1e9;
    let mut fleet = Fleet::new(config.clone(), 200, 1);
    let model = fleet.model("m", Resource::Device);
    (0..200).for_each(|id| fleet.report(EndpointId(id), model, queue_wait_of(0), at(0)));
    let mut bench = Bench::on(fleet, model, 60, at(0), JobOptions::by(at(0) + DEADLINE));
    let (sends, rest) = bench.handle(at(0), Event::Start);
    let then = wake(&rest);
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
    }
    let (hedges, rest) = bench.handle(then, Event::Tick);
    assert!(hedges.is_empty());
    let asked = probes(&rest);
    assert_eq!(asked.len(), config.hedge.reprobes);
    assert!(rest.iter().any(|action| matches!(action, Action::Probe { purpose: ProbePurpose::Hedge, .. })));
    assert!(asked.iter().all(|(_, endpoint)| *endpoint != sends[0].endpoint));
    // Two are busy; the third is idle.
    let mut hedges = Vec::new();
    for (place, (probe, _)) in asked.iter().enumerate() {
        let report = queue_wait_of(if place == 2 { 0 } else { 500 });
        hedges.extend(bench.handle(then, Event::ProbeAnswered { probe: *probe, report }).0);
    }
    assert_eq!(hedges.iter().map(|send| send.endpoint).collect::<Vec<_>>(), [asked[2].1]);
}

#[test]
fn a_job_that_fails_cancels_every_attempt() {
    let (mut bench, sends, _) = late(DispatchConfig::default());
    let (_, rest) = bench.handle(at(5), failed(sends[0].attempt, Failure::Fatal));
    assert_eq!(cancelled(&rest).len(), sends.len() - 1);
    assert!(failure(&rest).is_some());
    let _ = ItemSize::default();
}
