//! Jobs that need not be whole, and jobs nobody wants any more.

use std::time::Duration;

use sortie_dispatch::{Action, DispatchConfig, Event, FailReason, Failure, Join, Missing};

use crate::bench::{Bench, DEADLINE, answered, at, cancelled, failed, failure, is_finished, wake};

const SOFT_WAIT: Duration = Duration::from_millis(20);

fn covering(min: f64) -> Bench {
    Bench::with(4, DispatchConfig::default(), |options| options.join(Join::Coverage { min, soft_wait: SOFT_WAIT }))
}

fn lost(actions: &[Action]) -> Vec<(usize, Missing)> {
    let lost = actions.iter().filter_map(|action| match action {
        Action::ChunkLost { chunk, reason, .. } => Some((*chunk, *reason)),
        _ => None,
    });
    lost.collect()
}

#[test]
fn enough_coverage_waits_softly_and_ends_with_what_is_there() {
    let mut bench = covering(0.7);
    let (sends, _) = bench.handle(at(0), Event::Start);
    assert_eq!(sends.len(), 4);
    bench.handle(at(5), answered(sends[0].attempt));
    bench.handle(at(6), answered(sends[1].attempt));
    let (_, rest) = bench.handle(at(7), answered(sends[2].attempt));
    assert!(!is_finished(&rest));
    assert_eq!(wake(&rest), at(7) + SOFT_WAIT);
    let (_, rest) = bench.handle(at(7) + SOFT_WAIT, Event::Tick);
    assert!(is_finished(&rest));
    assert_eq!(cancelled(&rest), [sends[3].attempt]);
    assert_eq!(lost(&rest), [(sends[3].chunk, Missing::OutOfTime)]);
    assert!((bench.job.coverage().share() - 0.75).abs() < 0.01);
    assert_eq!(bench.in_flight(), 0);
}

#[test]
fn the_last_answer_ends_a_covering_job_at_once() {
    let mut bench = covering(0.7);
    let (sends, _) = bench.handle(at(0), Event::Start);
    let last = sends.iter().map(|send| bench.handle(at(5), answered(send.attempt)).1).last();
    assert!(is_finished(&last.unwrap()));
}

#[test]
fn coverage_that_cannot_be_reached_fails_now_and_not_at_the_deadline() {
    let mut config = DispatchConfig::default();
    config.retry.max_attempts = 1;
    let mut bench = Bench::with(4, config, |options| options.join(Join::Coverage { min: 0.9, soft_wait: SOFT_WAIT }));
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (_, rest) = bench.handle(at(5), failed(sends[0].attempt, Failure::Unavailable));
    assert_eq!(lost(&rest), [(sends[0].chunk, Missing::Failed)]);
    assert_eq!(failure(&rest).map(|(reason, _)| reason), Some(FailReason::Attempts));
}

#[test]
fn coverage_at_the_deadline_is_enough_or_not() {
    for (answers, enough) in [(3, true), (2, false)] {
        let mut bench = Bench::with(4, DispatchConfig::default(), |options| {
            options.join(Join::Coverage { min: 0.7, soft_wait: DEADLINE * 2 })
        });
        let (sends, _) = bench.handle(at(0), Event::Start);
        for send in &sends[..answers] {
            bench.handle(at(5), answered(send.attempt));
        }
        let (_, rest) = bench.handle(at(0) + DEADLINE, Event::Tick);
        assert_eq!((is_finished(&rest), failure(&rest).is_some()), (enough, !enough));
    }
}

#[test]
fn a_job_until_its_deadline_takes_what_is_there_but_not_nothing() {
    let mut bench = Bench::with(4, DispatchConfig::default(), |options| options.join(Join::Deadline));
    let (sends, _) = bench.handle(at(0), Event::Start);
    bench.handle(at(5), answered(sends[2].attempt));
    let (_, rest) = bench.handle(at(0) + DEADLINE, Event::Tick);
    assert!(is_finished(&rest));
    assert_eq!(lost(&rest).len(), 3);
    assert_eq!(bench.job.coverage().items, 50);

    let mut bench = Bench::with(4, DispatchConfig::default(), |options| options.join(Join::Deadline));
    bench.handle(at(0), Event::Start);
    let (_, rest) = bench.handle(at(0) + DEADLINE, Event::Tick);
    assert_eq!(failure(&rest), Some((FailReason::Deadline, None)));
}

/// One poisoned item costs a covering job half a chunk, and no other job anything.
#[test]
fn a_poisoned_half_is_lost_and_the_rest_answered() {
    let mut bench = Bench::with(4, DispatchConfig::default(), |options| options.join(Join::Deadline));
    let (sends, _) = bench.handle(at(0), Event::Start);
    for send in &sends[1..] {
        bench.handle(at(1), answered(send.attempt));
    }
    let (again, _) = bench.handle(at(2), failed(sends[0].attempt, Failure::Internal));
    let (halves, _) = bench.handle(at(3), failed(again[0].attempt, Failure::Internal));
    assert_eq!(halves.len(), 2);
    bench.handle(at(4), answered(halves[0].attempt));
    let (_, rest) = bench.handle(at(4), failed(halves[1].attempt, Failure::Internal));
    assert!(is_finished(&rest));
    assert_eq!(lost(&rest), [(halves[1].chunk, Missing::Failed)]);
    assert_eq!(bench.job.coverage().items, 175);
}

#[test]
fn a_cancelled_job_cancels_its_attempts_and_gives_their_tokens_back() {
    let mut bench = Bench::new(3, DispatchConfig::default());
    let (sends, _) = bench.handle(at(0), Event::Start);
    let (_, rest) = bench.handle(at(1), Event::Cancelled);
    assert_eq!(cancelled(&rest).len(), sends.len());
    assert_eq!(failure(&rest), Some((FailReason::Cancelled, None)));
    assert_eq!(bench.in_flight(), 0);
}
