//! Servers that have too much work: who is asked again, when, and who is not asked at all.

use std::time::Duration;

use sortie_dispatch::{
    Action, AttemptKind, CancelReason, DispatchConfig, EndpointId, Event, FailReason, Failure, Fleet, JobOptions, Lane,
    Pushback, Resource,
};

use crate::bench::{
    Bench, DEADLINE, answered, at, cancelled, failed, failure, is_finished, queue_wait_of, refused, wake,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A refusal by a server that would have taken so long to answer.
fn busy_for(wait: Duration) -> Failure {
    Failure::Overloaded { pushback: Pushback::Never, queue: Some(wait) }
}

#[test]
fn one_server_is_asked_again_after_what_it_asked_for() {
    let mut bench = Bench::new(1, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (again, rest) = bench.handle(at(5), failed(sends[0].attempt, refused(Pushback::After(ms(300)))));
    assert!(again.is_empty());
    assert_eq!(rest, [Action::WakeAt(at(305))]);
    assert!(bench.handle(at(304), Event::Tick).0.is_empty());
    let (again, _) = bench.handle(at(305), Event::Tick);
    assert_eq!((again.len(), again[0].number), (1, 2));
}

#[test]
fn pushback_past_the_deadline_ends_the_job_now() {
    let mut bench = Bench::new(1, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (_, rest) = bench.handle(at(5), failed(sends[0].attempt, refused(Pushback::After(DEADLINE))));
    assert_eq!(failure(&rest), Some((FailReason::NoTime, Some(sends[0].attempt))));
}

#[test]
fn a_deadline_that_strikes_while_waiting_names_the_refusal() {
    let mut bench = Bench::new(1, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let pushback = Pushback::After(DEADLINE - ms(10));
    bench.handle(at(5), failed(sends[0].attempt, refused(pushback)));
    let (_, rest) = bench.handle(at(0) + DEADLINE, Event::Tick);
    assert_eq!(failure(&rest), Some((FailReason::Deadline, Some(sends[0].attempt))));
}

#[test]
fn an_overloaded_server_sends_its_chunk_to_another_at_once() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (again, _) = bench.handle(at(5), failed(sends[1].attempt, refused(Pushback::After(ms(5_000)))));
    assert_eq!((again.len(), again[0].kind), (1, AttemptKind::Retry));
    assert_ne!(again[0].endpoint, sends[1].endpoint);
    // "Never" is this server's answer, not the fleet's.
    let (again, _) = bench.handle(at(6), failed(sends[2].attempt, refused(Pushback::Never)));
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].endpoint, sends[2].endpoint);
}

#[test]
fn one_refusal_keeps_a_server_from_other_jobs_for_a_bounded_time() {
    let config = DispatchConfig::default();
    let limit = config.health.max_not_ready;
    let mut bench = Bench::new(3, config);
    let (sends, _) = bench.handle(at(0), Event::Start);
    let server = sends[1];
    bench.handle(at(5), failed(server.attempt, refused(Pushback::After(ms(u64::MAX)))));
    let ready = |now| bench.fleet.stats(now).nth(server.endpoint.0 as usize).unwrap().ready;
    assert!(!ready(at(4) + limit));
    assert!(ready(at(5) + limit));
}

#[test]
fn a_chunk_waits_as_long_as_its_only_server_asked() {
    let mut bench = Bench::new(1, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (again, rest) = bench.handle(at(5), failed(sends[0].attempt, refused(Pushback::After(ms(20_000)))));
    assert_eq!((again.len(), rest), (0, vec![Action::WakeAt(at(20_005))]));
}

#[test]
fn a_chunk_that_no_server_has_time_for_ends_its_job_and_cancels_its_siblings() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let mut attempt = sends[0].attempt;
    for _ in 0..2 {
        let (again, _) = bench.handle(at(1), failed(attempt, refused(Pushback::Never)));
        attempt = again[0].attempt;
    }
    let (again, rest) = bench.handle(at(2), failed(attempt, refused(Pushback::Never)));
    assert!(again.is_empty());
    assert_eq!(failure(&rest), Some((FailReason::Overloaded, Some(attempt))));
    assert_eq!(cancelled(&rest), [sends[1].attempt, sends[2].attempt]);
    assert!(rest.iter().any(|a| matches!(a, Action::Cancel { reason: CancelReason::JobOver, .. })));
    assert_eq!(bench.in_flight(), 0);
}

/// 52 calls a job, each refused: the queue stood at the deadline, and a refusal counted for nothing.
#[test]
fn refusals_count_as_attempts_and_are_paid_for() {
    let mut bench = Bench::new(1, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (mut attempt, mut now, mut calls) = (sends[0].attempt, at(0), 1);
    loop {
        let (again, rest) = bench.handle(now, failed(attempt, refused(Pushback::After(ms(40)))));
        assert!(again.is_empty());
        if let Some((reason, _)) = failure(&rest) {
            assert_eq!(reason, FailReason::Attempts);
            break;
        }
        assert!(wake(&rest) >= now + ms(40));
        now = wake(&rest);
        attempt = bench.handle(now, Event::Tick).0[0].attempt;
        calls += 1;
    }
    assert_eq!(calls, DispatchConfig::default().retry.max_attempts);

    // With nothing in the budget there is one call.
    let mut config = DispatchConfig::default();
    (config.budget.burst_jobs, config.budget.floor) = (0.0, Duration::MAX);
    let mut bench = Bench::new(4, config);
    let (sends, _) = bench.handle(at(0), Event::Start);
    // The first of all retries goes through the floor.
    bench.handle(at(0), failed(sends[0].attempt, refused(Pushback::Unsaid)));
    let (_, rest) = bench.handle(at(0), failed(sends[1].attempt, refused(Pushback::Unsaid)));
    assert_eq!(failure(&rest), Some((FailReason::Budget, Some(sends[1].attempt))));
}

/// Nobody waits for bulk work: full queues are waited out, and refusals use up neither attempts nor budget.
#[test]
fn bulk_work_waits_until_its_deadline() {
    let mut config = DispatchConfig::default();
    (config.budget.burst_jobs, config.budget.floor) = (0.0, Duration::MAX);
    let mut bench = Bench::with(2, config, |options| options.lane(Lane::Bulk));
    let (sends, _) = bench.handle(at(0), Event::Start);
    assert_eq!(sends.len(), 1);
    let (mut attempt, mut now) = (sends[0].attempt, at(0));
    for _ in 0..50 {
        let (again, rest) = bench.handle(now, failed(attempt, refused(Pushback::After(ms(40)))));
        assert!(failure(&rest).is_none(), "{rest:?}");
        let again = if again.is_empty() {
            assert!(wake(&rest) >= now + ms(40));
            now = wake(&rest);
            bench.handle(now, Event::Tick).0
        } else {
            again
        };
        assert_eq!(again.len(), 1);
        attempt = again[0].attempt;
    }
    assert!(is_finished(&bench.handle(now, answered(attempt)).1));
}

/// A fleet whose every server has said that it is busy for a while.
fn busy_fleet(servers: u32, wait: Duration) -> (Fleet, sortie_dispatch::ModelId) {
    let mut config = DispatchConfig::default();
    config.plan.trusted_samples = 0;
    let mut fleet = Fleet::new(config, servers as usize, 7);
    let model = fleet.model("m", Resource::Device);
    let mut bench = Bench::on(fleet, model, 1, at(0), JobOptions::by(at(0) + DEADLINE));
    let (mut sends, _) = bench.handle(at(0), Event::Start);
    while let Some(send) = sends.pop() {
        sends = bench.handle(at(0), failed(send.attempt, busy_for(wait))).0;
    }
    assert_eq!(bench.job.coverage().attempts, servers);
    fleet = bench.fleet;
    (fleet, model)
}

#[test]
fn a_job_that_no_server_can_end_in_time_fails_unsent() {
    let (fleet, model) = busy_fleet(2, ms(900));
    let mut bench = Bench::on(fleet, model, 200, at(100), JobOptions::by(at(600)));
    let (sends, rest) = bench.handle(at(100), Event::Start);
    assert!(sends.is_empty());
    assert_eq!(failure(&rest), Some((FailReason::Overloaded, None)));
    assert_eq!(bench.job.coverage().attempts, 0);
}

#[test]
fn what_servers_said_of_their_queues_ages_as_they_are_served() {
    let (fleet, model) = busy_fleet(2, ms(900));
    // At 500 ms the queue is 400 ms long, if nothing came since.
    let mut bench = Bench::on(fleet, model, 1, at(500), JobOptions::by(at(1_000)));
    assert_eq!(bench.handle(at(500), Event::Start).0.len(), 1);
    // A later deadline is another matter, and so are another tenant and lane.
    for options in
        [JobOptions::by(at(2_000)), JobOptions::by(at(500)).tenant(7), JobOptions::by(at(500)).lane(Lane::Bulk)]
    {
        let (fleet, model) = busy_fleet(2, ms(900));
        let mut bench = Bench::on(fleet, model, 1, at(100), options);
        assert_eq!(bench.handle(at(100), Event::Start).0.len(), 1, "{options:?}");
    }
}

#[test]
fn a_server_that_has_time_gets_what_the_busy_ones_would_refuse() {
    let mut config = DispatchConfig::default();
    config.plan.trusted_samples = 0;
    let mut fleet = Fleet::new(config, 2, 7);
    let model = fleet.model("m", Resource::Device);
    let mut bench = Bench::on(fleet, model, 1, at(0), JobOptions::by(at(0) + DEADLINE));
    let (sends, _) = bench.handle(at(0), Event::Start);
    let busy = sends[0].endpoint;
    bench.handle(at(0), failed(sends[0].attempt, busy_for(ms(900))));
    fleet = bench.fleet;
    for _ in 0..8 {
        let mut bench = Bench::on(fleet, model, 200, at(1), JobOptions::by(at(500)));
        let (sends, _) = bench.handle(at(1), Event::Start);
        let servers: Vec<EndpointId> = sends.iter().map(|send| send.endpoint).collect();
        assert_eq!(servers.len(), 1, "{servers:?}");
        assert_ne!(servers[0], busy);
        fleet = bench.fleet;
    }
}

#[test]
fn a_job_is_cut_only_where_all_its_chunks_would_be_in_time() {
    let cut = |deadline| {
        let mut config = DispatchConfig::default();
        config.plan.trusted_samples = 0;
        let mut fleet = Fleet::new(config, 4, 7);
        let model = fleet.model("m", Resource::Device);
        Bench::on(fleet, model, 200, at(0), JobOptions::by(deadline)).chunks
    };
    assert_eq!(cut(at(0) + DEADLINE), 4);
    // Not even a quarter of it would be: one server refuses it, and not four.
    assert_eq!(cut(at(1)), 1);
}

/// A job of one item by that deadline on a fleet whose servers were busy at the start: whether it is sent.
fn is_sent(fleet: Fleet, model: sortie_dispatch::ModelId, now: u64, deadline: u64) -> bool {
    let mut bench = Bench::on(fleet, model, 1, at(now), JobOptions::by(at(deadline)));
    !bench.handle(at(now), Event::Start).0.is_empty()
}

/// The report of a stall that is over kept a client from its only server for as long as the stall had said.
#[test]
fn a_server_that_has_less_to_do_than_it_said_is_asked_again() {
    let (mut fleet, model) = busy_fleet(1, ms(900));
    fleet.report(EndpointId(0), model, queue_wait_of(50), at(100));
    assert!(is_sent(fleet, model, 100, 500));
    // Started anew, it has nothing of what it had.
    let (mut fleet, model) = busy_fleet(1, ms(900));
    fleet.report(EndpointId(0), model, queue_wait_of(900), at(10));
    let anew = sortie_dispatch::LoadReport { epoch: 2, ..queue_wait_of(900) };
    fleet.report(EndpointId(0), model, anew, at(20));
    assert!(is_sent(fleet, model, 100, 500));
    // And no report holds for ever.
    let limit = u64::try_from(DispatchConfig::default().health.max_not_ready.as_millis()).unwrap();
    let (fleet, model) = busy_fleet(1, ms(100 * limit));
    assert!(is_sent(fleet, model, limit, limit + 400));
}

#[test]
fn a_job_that_may_be_partial_ends_when_nothing_more_can_be_sent() {
    for join in [sortie_dispatch::Join::Deadline, sortie_dispatch::Join::Coverage { min: 0.5, soft_wait: ms(10) }] {
        let (fleet, model) = busy_fleet(2, ms(900));
        let mut bench = Bench::on(fleet, model, 200, at(100), JobOptions::by(at(600)).join(join));
        let (sends, rest) = bench.handle(at(100), Event::Start);
        assert!(sends.is_empty());
        assert!(failure(&rest).is_some(), "{rest:?}");
    }
}

/// A bulk run that waits out a full fleet leaves the budget to those whose server has died.
#[test]
fn refusals_of_bulk_work_take_nothing_from_the_budget() {
    let mut config = DispatchConfig::default();
    config.plan.trusted_samples = 0;
    config.budget.floor = Duration::MAX;
    let mut bench = Bench::with(2, config, |options| options.lane(Lane::Bulk));
    let (mut sends, _) = bench.handle(at(0), Event::Start);
    let mut now = at(0);
    for _ in 0..200 {
        let Some(send) = sends.pop() else { break };
        let (again, rest) = bench.handle(now, failed(send.attempt, refused(Pushback::After(ms(1)))));
        sends = again;
        if sends.is_empty() {
            now = wake(&rest);
            sends = bench.handle(now, Event::Tick).0;
        }
    }
    let Bench { fleet, model, .. } = bench;
    let mut bench = Bench::on(fleet, model, 200, now, JobOptions::by(now + DEADLINE));
    let (sends, _) = bench.handle(now, Event::Start);
    let (again, _) = bench.handle(now, failed(sends[0].attempt, Failure::Unavailable));
    assert_eq!(again.len(), 1, "there is budget for it");
}
