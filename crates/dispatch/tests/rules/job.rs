//! Jobs from their first event to their last, without a transport.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use sortie_dispatch::{
    Action, AnswerReport, AttemptId, AttemptKind, DispatchConfig, EndpointId, Event, FailReason, Failure, Fleet,
    FleetEvent, ItemSize, Job, JobOptions, Limits, LoadReport, Plan, Pushback, Resource, SendAttempt, SharedSize,
};

use crate::bench::{Bench, DEADLINE, answered, at, failed, failure, is_finished};

#[test]
fn chunks_go_to_different_servers_and_the_last_answer_ends_the_job() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    assert_eq!((bench.chunks, sends.len()), (3, 3));
    let servers: std::collections::HashSet<_> = sends.iter().map(|send| send.endpoint).collect();
    assert_eq!(servers.len(), 3);
    assert_eq!(bench.in_flight(), 40_000);
    for (place, send) in sends.iter().enumerate() {
        let (_, rest) = bench.handle(at(10), answered(send.attempt));
        assert_eq!(is_finished(&rest), place == 2, "{rest:?}");
    }
    assert_eq!(bench.in_flight(), 0);
    assert_eq!(bench.job.coverage().attempts, 3);
}

#[test]
fn the_first_death_of_a_chunk_is_free_and_goes_to_another_server_at_once() {
    let mut config = DispatchConfig::default();
    (config.budget.burst_jobs, config.budget.floor) = (0.0, Duration::MAX);
    let mut bench = Bench::new(3, config);
    let (sends, _) = bench.handle(at(0), Event::Start);
    let dead = sends[0];
    let (again, _) = bench.handle(at(1), failed(dead.attempt, Failure::Transport));
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].chunk, again[0].number), (dead.chunk, 2));
    assert_ne!(again[0].endpoint, dead.endpoint);
    assert_eq!(bench.fleet.retry_budget(), 0);
    assert!(!bench.fleet.stats(at(1)).nth(dead.endpoint.0 as usize).unwrap().ready);

    // The second death is not free: the floor pays once, then nothing does.
    let (third, _) = bench.handle(at(2), failed(again[0].attempt, Failure::Transport));
    assert_eq!(third.len(), 1);
    let (_, rest) = bench.handle(at(3), failed(third[0].attempt, Failure::Transport));
    assert_eq!(failure(&rest), Some((FailReason::Budget, Some(third[0].attempt))));
    assert_eq!(bench.in_flight(), 0);
}

#[test]
fn a_server_without_a_connection_gets_nothing_until_it_has_one() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    bench.fleet.handle(at(0), FleetEvent::Disconnected(EndpointId(1)));
    let items = vec![ItemSize { tokens: 200, work: 200, bytes: 800, answer_bytes: 4 }; 200];
    let targets = |bench: &mut Bench, now| {
        let plan = bench.fleet.plan(bench.model, &items, SharedSize::default(), &JobOptions::by(at(0) + DEADLINE), now);
        plan.chunks.iter().filter_map(|chunk| chunk.target).collect::<Vec<_>>()
    };
    assert!(!targets(&mut bench, at(50)).contains(&EndpointId(1)));
    assert!(!targets(&mut bench, at(20_000)).contains(&EndpointId(1)));
    bench.fleet.handle(at(20_000), FleetEvent::Connected(EndpointId(1)));
    assert!(targets(&mut bench, at(20_000)).contains(&EndpointId(1)));
}

#[test]
fn a_report_of_external_load_corrects_own_work_and_ages() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let report = |queue_wait| LoadReport { queue_wait: Duration::from_millis(queue_wait), ..LoadReport::default() };
    let items = vec![ItemSize { tokens: 200, work: 200, bytes: 800, answer_bytes: 4 }; 200];
    let tokens_of = |bench: &mut Bench, now, id| {
        let plan = bench.fleet.plan(bench.model, &items, SharedSize::default(), &JobOptions::by(at(0) + DEADLINE), now);
        plan.chunks.iter().find(|chunk| chunk.target == Some(EndpointId(id))).map_or(0, |chunk| chunk.tokens)
    };
    bench.fleet.report(EndpointId(1), bench.model, report(60_000), at(0));
    assert_eq!(tokens_of(&mut bench, at(0), 1), 0);
    // Nobody has said anything for ten times the decay: it counts like the others again.
    let later = tokens_of(&mut bench, at(2_000), 1);
    assert!((13_000..14_000).contains(&later), "{later}");

    // What a server says of this client's own work is not counted twice.
    let (sends, _) = bench.handle(at(3_000), Event::Start);
    let own = bench.in_flight() as f64 / 3.0 * bench.fleet.config().cost.prior.b_us / 1e3;
    for send in &sends {
        bench.fleet.report(send.endpoint, bench.model, report(own as u64), at(3_000));
    }
    let even = tokens_of(&mut bench, at(3_000), sends[0].endpoint.0);
    assert!((13_000..14_000).contains(&even), "{even}");
    // An attempt that ended is no part of what its report speaks of: all of that is other clients'.
    let answer = AnswerReport { report: Some(report(30)), ..AnswerReport::default() };
    bench.handle(at(3_000), Event::Answered { attempt: sends[0].attempt, answer });
    let less = tokens_of(&mut bench, at(3_000), sends[0].endpoint.0);
    assert!(less < even / 2, "{less} and {even}");
}

/// Discovery may be later than the first job.
#[test]
fn a_job_without_any_server_goes_out_once_there_is_one() {
    let mut bench = Bench::new(0, DispatchConfig::default());
    let (sends, rest) = bench.handle(at(0), Event::Start);
    assert!(sends.is_empty());
    let then = crate::bench::wake(&rest);
    assert!(then <= at(1_000), "{then:?}");
    bench.fleet.add(at(1));
    assert!(!bench.handle(then, Event::Tick).0.is_empty());
}

#[test]
fn what_no_server_would_answer_ends_the_job() {
    for (met, reason) in [(Failure::Fatal, FailReason::Refused), (Failure::Deadline, FailReason::Deadline)] {
        let mut bench = Bench::new(3, DispatchConfig::default());
        let (sends, _) = bench.handle(at(0), Event::Start);
        let (again, rest) = bench.handle(at(5), failed(sends[2].attempt, met));
        assert!(again.is_empty());
        assert_eq!(failure(&rest), Some((reason, Some(sends[2].attempt))));
        assert_eq!(bench.in_flight(), 0);
        assert!(bench.handle(at(6), answered(sends[0].attempt)).1.is_empty());
    }
}

#[test]
fn a_server_fault_is_tried_once_elsewhere_and_then_in_halves() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (again, _) = bench.handle(at(5), failed(sends[0].attempt, Failure::Internal));
    assert_eq!((again.len(), again[0].kind), (1, AttemptKind::Retry));
    let (halves, rest) = bench.handle(at(6), failed(again[0].attempt, Failure::Internal));
    assert!(rest.contains(&Action::Split { chunk: sends[0].chunk, halves: [3, 4] }), "{rest:?}");
    assert_eq!(halves.iter().map(|send| send.chunk).collect::<Vec<_>>(), [3, 4]);
    let items = |chunk| bench.job.chunk(chunk).unwrap().items.clone();
    assert_eq!([items(3), items(4)].concat(), items(sends[0].chunk));
    assert!(failure(&bench.handle(at(7), answered(halves[0].attempt)).1).is_none());
    // The other half holds the poison, and all answers are wanted.
    let (_, rest) = bench.handle(at(7), failed(halves[1].attempt, Failure::Internal));
    assert_eq!(failure(&rest), Some((FailReason::Poison, Some(halves[1].attempt))));
}

#[test]
fn the_deadline_ends_the_job() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    bench.handle(at(0), Event::Start);
    let (_, rest) = bench.handle(at(0) + DEADLINE, Event::Tick);
    assert_eq!(failure(&rest), Some((FailReason::Deadline, None)));
    assert_eq!(bench.in_flight(), 0);
}

#[test]
fn a_dropped_job_gives_its_tokens_back() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let _ = bench.handle(at(0), Event::Start);
    assert_eq!(bench.in_flight(), 40_000);
    bench.job = Job::new(bench.model, Plan::default(), JobOptions::by(at(0)));
    assert_eq!(bench.in_flight(), 0);
}

fn any_failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        4 => Just(Failure::Transport),
        2 => Just(Failure::Unavailable),
        2 => (0u64..500, prop::option::of(0u64..500)).prop_map(|(ms, wait)| Failure::Overloaded {
            pushback: Pushback::After(Duration::from_millis(ms)),
            queue: wait.map(Duration::from_millis),
        }),
        1 => Just(Failure::Overloaded { pushback: Pushback::Unsaid, queue: None }),
        1 => Just(Failure::Overloaded { pushback: Pushback::Never, queue: None }),
        1 => Just(Failure::Internal),
    ]
}

proptest! {
    /// Whatever happens in whatever order: in-flight tokens are those of live attempts, first attempts
    /// never share a server, the job ends, and nothing stays in flight.
    #[test]
    fn jobs_end_and_give_back_what_they_took(
        servers in 1usize..6,
        max_items in 1u64..120,
        steps in prop::collection::vec((any::<prop::sample::Index>(), prop::option::weighted(0.4, any_failure()), 0u64..40), 0..400),
        drop_after in prop::option::of(0usize..60),
    ) {
        let mut fleet = Fleet::new(DispatchConfig::default(), servers, 3);
        let model = fleet.model("m", Resource::Device);
        for id in 0..servers {
            let limits = Limits { max_items, ..Default::default() };
            fleet.set_limits(EndpointId(id as u32), model, limits, 512);
        }
        let items = vec![ItemSize { tokens: 150, work: 150, bytes: 600, answer_bytes: 4 }; 120];
        let options = JobOptions::by(at(0) + DEADLINE);
        let plan = fleet.plan(model, &items, SharedSize::default(), &options, at(0));
        let mut job = Some(Job::new(model, plan.clone(), options));
        let mut live: BTreeMap<AttemptId, (usize, EndpointId)> = BTreeMap::new();
        let (mut done, mut over, mut clock) = (0, false, 0);
        let mut next = Some(Event::Start);
        let mut steps = steps.into_iter().enumerate();
        while let (Some(running), Some(event)) = (job.as_mut(), next.take()) {
            for action in running.handle(&mut fleet, at(clock), event) {
                match action {
                    Action::Send(SendAttempt { attempt, chunk, endpoint, kind, .. }) => {
                        if kind == AttemptKind::First {
                            prop_assert!(live.values().all(|&(_, other)| other != endpoint), "two chunks on one server");
                        }
                        prop_assert!(live.values().all(|other| *other != (chunk, endpoint)), "a chunk twice on a server");
                        prop_assert!(kind == AttemptKind::Hedge || live.values().all(|&(other, _)| other != chunk), "a needless retry");
                        live.insert(attempt, (chunk, endpoint));
                    }
                    Action::Cancel { attempt, .. } => prop_assert!(live.remove(&attempt).is_some()),
                    Action::ChunkAnswered { chunk, .. } => {
                        done += running.chunk(chunk).unwrap().items.len();
                    }
                    Action::Finish(_) => {
                        prop_assert_eq!(done, 120);
                        (over, live) = (true, BTreeMap::new());
                    }
                    Action::Fail { .. } => (over, live) = (true, BTreeMap::new()),
                    _ => {}
                }
            }
            let expected: u64 = live.values().map(|&(chunk, _)| running.chunk(chunk).unwrap().tokens).sum();
            let in_flight: u64 = fleet.stats(at(clock)).map(|server| server.in_flight_tokens).sum();
            prop_assert_eq!(in_flight, expected);
            if over {
                break;
            }
            let Some((step, (which, failure, ms))) = steps.next() else {
                // Nothing happens any more but time.
                clock = DEADLINE.as_millis() as u64;
                next = Some(Event::Tick);
                continue;
            };
            if drop_after == Some(step) {
                job = None;
                break;
            }
            clock += ms;
            let attempt = (!live.is_empty()).then(|| *live.keys().nth(which.index(live.len())).unwrap());
            next = Some(match (attempt, failure) {
                (None, _) => Event::Tick,
                (Some(attempt), Some(failure)) => {
                    live.remove(&attempt);
                    failed(attempt, failure)
                }
                (Some(attempt), None) => {
                    live.remove(&attempt);
                    answered(attempt)
                }
            });
        }
        prop_assert!(over || job.is_none());
        drop(job);
        prop_assert!(fleet.stats(at(clock)).all(|server| server.in_flight_tokens == 0));
    }
}
