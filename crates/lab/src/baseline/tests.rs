//! Baselines by hand: calls in, actions looked at.

use std::time::Duration;

use sortie_dispatch::{
    FailReason, Failure, Pushback,
    config::{BudgetConfig, HedgeConfig},
};

use super::*;
use crate::Strategy;

const MS: Duration = Duration::from_millis(1);
const REFUSED: Failure = Failure::Overloaded { pushback: Pushback::Unsaid, queue: None };

fn baseline(strategy: Strategy) -> Baseline {
    let mut hedge = HedgeConfig::default();
    (hedge.min_samples, hedge.cold_trigger) = (10, f64::INFINITY);
    let retry = RetryRule { attempts: 2, on: RetryOn::Unavailable, elsewhere: true, numbered: false };
    Baseline::new(BaselineSetup {
        rules: strategy.rules(Cut::Items(2), retry).unwrap(),
        servers: 3,
        deadline: 1_000 * MS,
        expected: ExpectedTime::UNKNOWN,
        hedge,
        budget: BudgetConfig::default(),
        exclusion: true,
        turn: 0,
        seed: 1,
    })
}

/// (OpenAttempt, server, number, why) of what is sent.
fn sent(out: &[ClientAction]) -> Vec<(u32, usize, u32, SendKind)> {
    let sent = out.iter().filter_map(|action| match action {
        ClientAction::Send { attempt, server, number, kind, .. } => Some((*attempt, *server, *number, *kind)),
        _ => None,
    });
    sent.collect()
}

fn end(out: &[ClientAction]) -> Option<Option<FailReason>> {
    out.iter().find_map(|action| match action {
        ClientAction::End { failed, .. } => Some(*failed),
        _ => None,
    })
}

/// What a call comes to.
fn acts(act: impl FnOnce(&mut Vec<ClientAction>)) -> Vec<ClientAction> {
    let mut out = Vec::new();
    act(&mut out);
    out
}

#[test]
fn chunks_go_in_turn_and_the_job_ends_with_the_last_answer() {
    let mut naive = baseline(Strategy::Naive);
    let out = acts(|out| naive.submit(0, [5; 5].into_iter(), Duration::ZERO, out));
    assert_eq!(sent(&out), [(0, 0, 1, SendKind::First), (1, 1, 1, SendKind::First), (2, 2, 1, SendKind::First)]);
    assert!(out.contains(&ClientAction::Wake { job: 0, at: 1_000 * MS }));
    assert_eq!(naive.totals().in_flight, 3);
    for attempt in 0..3 {
        let out = acts(|out| naive.reply(0, attempt, Ok(()), MS, out));
        assert_eq!(end(&out), (attempt == 2).then_some(None));
    }
    assert_eq!((naive.totals().in_flight, naive.totals().spent.first), (0, 25));
}

#[test]
fn what_is_covered_is_sent_again_elsewhere_and_anything_else_ends_the_job() {
    let mut naive = baseline(Strategy::Naive);
    acts(|out| naive.submit(0, [5; 4].into_iter(), Duration::ZERO, out));
    let out = acts(|out| naive.reply(0, 0, Err(Failure::Unavailable), MS, out));
    let [(2, server, 1, SendKind::Retry)] = sent(&out)[..] else { unreachable!("{out:?}") };
    assert_ne!(server, 0);
    let out = acts(|out| naive.reply(0, 1, Err(REFUSED), MS, out));
    assert_eq!(end(&out), Some(Some(FailReason::Attempts)));
    assert!(out.contains(&ClientAction::Cancel { job: 0, attempt: 2, server }));
    assert_eq!((naive.totals().in_flight, naive.totals().spent.retries), (0, 10));

    let mut once = baseline(Strategy::NoRetry);
    acts(|out| once.submit(0, [5; 4].into_iter(), Duration::ZERO, out));
    let out = acts(|out| once.reply(0, 0, Err(REFUSED), MS, out));
    assert_eq!((sent(&out).len(), end(&out)), (0, Some(Some(FailReason::Attempts))));

    let mut again = baseline(Strategy::RetryAtOnce);
    acts(|out| again.submit(0, [5; 4].into_iter(), Duration::ZERO, out));
    for attempt in 0..4 {
        let out = acts(|out| again.reply(0, attempt, Err(REFUSED), MS, out));
        assert_eq!(sent(&out), [(attempt + 1, (attempt as usize + 1) % 3, 1, SendKind::Retry)], "wherever the turn is");
    }
    let out = acts(|out| again.reply(0, 4, Err(REFUSED), MS, out));
    assert_eq!(end(&out), Some(Some(FailReason::Attempts)));
}

#[test]
fn a_late_chunk_is_hedged_once_elsewhere_and_the_first_answer_counts() {
    let mut hedging = baseline(Strategy::P2cHedge);
    for job in 0..20 {
        acts(|out| hedging.submit(job, [5; 2].into_iter(), Duration::ZERO, out));
        acts(|out| hedging.reply(job, 0, Ok(()), 4 * MS, out));
    }
    let out = acts(|out| hedging.submit(99, [5; 2].into_iter(), 100 * MS, out));
    let first = sent(&out)[0].1;
    let ClientAction::Wake { at, .. } = out[1] else { unreachable!("{out:?}") };
    assert!((104 * MS..105 * MS).contains(&at), "{at:?}");
    let out = acts(|out| hedging.tick(99, at, out));
    let [(1, second, _, SendKind::Hedge)] = sent(&out)[..] else { unreachable!("{out:?}") };
    assert_ne!(first, second);
    assert!(sent(&acts(|out| hedging.tick(99, at + 100 * MS, out))).is_empty(), "once is enough");
    let out = acts(|out| hedging.reply(99, 1, Ok(()), at + 100 * MS, out));
    assert_eq!(out[0], ClientAction::Cancel { job: 99, attempt: 0, server: first });
    assert_eq!(end(&out), Some(None));
    let totals = hedging.totals();
    assert_eq!((totals.hedges, totals.hedges_won, totals.spent.hedges, totals.in_flight), (1, 1, 10, 0));
}

#[test]
fn a_failure_beside_an_attempt_under_way_is_waited_out() {
    let mut hedging = baseline(Strategy::P2cHedge);
    for job in 0..20 {
        acts(|out| hedging.submit(job, [5; 2].into_iter(), Duration::ZERO, out));
        acts(|out| hedging.reply(job, 0, Ok(()), 4 * MS, out));
    }
    acts(|out| hedging.submit(99, [5; 2].into_iter(), Duration::ZERO, out));
    acts(|out| hedging.tick(99, 10 * MS, out));
    let out = acts(|out| hedging.reply(99, 0, Err(Failure::Internal), 11 * MS, out));
    assert_eq!((sent(&out).len(), end(&out)), (0, None));
    assert_eq!(end(&acts(|out| hedging.reply(99, 1, Ok(()), 12 * MS, out))), Some(None));
}

#[test]
fn a_deadline_or_a_caller_that_is_gone_gives_everything_back() {
    let mut whole = baseline(Strategy::Whole);
    acts(|out| whole.submit(0, [5; 4].into_iter(), Duration::ZERO, out));
    acts(|out| whole.submit(1, [5; 4].into_iter(), Duration::ZERO, out));
    let out = acts(|out| whole.tick(0, 1_000 * MS, out));
    assert_eq!((out.len(), end(&out)), (2, Some(Some(FailReason::Deadline))));
    assert_eq!(whole.totals().in_flight, 1);
    whole.abandon(1);
    assert_eq!(whole.totals().in_flight, 0);
    assert!(acts(|out| whole.reply(1, 0, Ok(()), MS, out)).is_empty());
}
