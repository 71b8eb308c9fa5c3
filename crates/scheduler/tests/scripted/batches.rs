//! What is in a batch, what was admitted, and what it says of its load.

use std::time::Duration;

use sortie_scheduler::{ChunkError, Lane, QueuedItem, Refusal, Request};
use tokio::time::Instant;

use crate::rig::{Rig, Verdict, until};

#[tokio::test(start_paused = true)]
async fn outputs_come_back_in_item_order_over_several_batches() {
    let mut rig = Rig::new(10, 1_000).await;
    let response = rig.submit(&[(1, 2), (2, 7), (3, 3), (13, 5), (5, 40)], Lane::Interactive, None);
    // Longest first; an item over the budget goes alone.
    for expect in [vec![5], vec![2, 3], vec![13, 1]] {
        assert_eq!(rig.batch().await, expect);
        rig.end(Verdict::Answer);
    }
    let chunk = response.await.unwrap();
    assert_eq!(chunk.outputs, [Ok(2), Ok(4), Ok(6), Err("unlucky".to_owned()), Ok(10)]);
    assert_eq!(chunk.batches.iter().map(|b| b.tokens).collect::<Vec<_>>(), [40, 10, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_mixes_parts_and_takes_interactive_first() {
    let mut rig = Rig::new(10, 1_000).await;
    let first = rig.submit(&[(1, 10)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [1]);
    let bulk = rig.submit(&[(2, 6), (3, 1)], Lane::Bulk, None);
    let urgent = rig.submit(&[(4, 9)], Lane::Interactive, None);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [4, 3]);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [2]);
    rig.end(Verdict::Answer);
    assert_eq!(first.await.unwrap().outputs, [Ok(2)]);
    assert_eq!(urgent.await.unwrap().outputs, [Ok(8)]);
    let bulk = bulk.await.unwrap();
    assert_eq!(bulk.outputs, [Ok(4), Ok(6)]);
    assert_eq!(bulk.batches.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_response_takes_its_items_out() {
    let mut rig = Rig::new(4, 100).await;
    let running = rig.submit(&[(1, 4), (2, 4)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [1]);
    let cancelled = rig.submit(&[(3, 4)], Lane::Interactive, None);
    let kept = rig.submit(&[(4, 4)], Lane::Interactive, None);
    assert_eq!(rig.scheduler.load().queued_tokens, 12);
    drop(cancelled);
    // Half of this one is on the backend already: the rest must not follow.
    drop(running);
    assert_eq!(rig.scheduler.load().queued_tokens, 4);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [4]);
    rig.end(Verdict::Answer);
    assert_eq!(kept.await.unwrap().outputs, [Ok(8)]);
}

#[tokio::test(start_paused = true)]
async fn a_part_past_its_deadline_never_reaches_the_backend() {
    let mut rig = Rig::new(4, 100).await;
    let running = rig.submit(&[(1, 4)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [1]);
    let soon = Instant::now() + Duration::from_millis(50);
    let late = rig.submit(&[(2, 4)], Lane::Interactive, Some(soon));
    let patient = rig.submit(&[(3, 4)], Lane::Interactive, None);
    tokio::time::advance(Duration::from_millis(51)).await;
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [3]);
    assert_eq!(late.await, Err(ChunkError::Expired));
    rig.end(Verdict::Answer);
    assert_eq!(patient.await.unwrap().queued, Duration::from_millis(51));
    assert_eq!(running.await.unwrap().batches[0].duration, Duration::from_millis(51));
}

#[tokio::test(start_paused = true)]
async fn admission_refuses_what_cannot_be_served() {
    let mut rig = Rig::new(10, 100).await;
    assert_eq!(rig.scheduler.admit(Request::of(101)).unwrap_err(), Refusal::TooLarge { tokens: 101, limit: 100 });
    let now = Instant::now();
    assert!(matches!(rig.scheduler.admit(until(now, 1)).unwrap_err(), Refusal::TooLate { .. }));

    // Three batches of 10 tokens that take 1 s teach the cost.
    for _ in 0..3 {
        let first = rig.submit(&[(1, 10)], Lane::Interactive, None);
        rig.batch().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        rig.end(Verdict::Answer);
        first.await.unwrap();
    }

    let held = rig.scheduler.admit(Request::of(90)).unwrap();
    let load = rig.scheduler.load();
    assert_eq!(load.queued_tokens, 90);
    assert!((load.queue_wait_ms - 9_000.0).abs() < 10.0, "{load:?}");
    assert!((load.rate_tokens_per_second - 10.0).abs() < 0.1, "{load:?}");
    let near = Instant::now() + Duration::from_secs(5);
    let refusal = rig.scheduler.admit(until(near, 5)).unwrap_err();
    let Refusal::TooLate { wait, remaining, retry_after, .. } = refusal else { panic!("{refusal}") };
    assert_eq!(retry_after, None);
    assert!(wait > Duration::from_secs(8) && remaining == Duration::from_secs(5));
    let far = Instant::now() + Duration::from_secs(50);
    assert_eq!(rig.scheduler.admit(until(far, 5)).unwrap().request().tokens, 5);
    let refusal = rig.scheduler.admit(Request::of(20)).unwrap_err();
    let Refusal::QueueFull { queued, limit, retry_after } = refusal else { panic!("{refusal}") };
    assert_eq!((queued, limit), (90, 100));
    // Ten tokens too many: one second's work.
    assert!((retry_after.as_secs_f64() - 1.0).abs() < 0.01, "{retry_after:?}");
    drop(held);
    assert_eq!(rig.scheduler.load().queued_tokens, 0);
}

#[tokio::test(start_paused = true)]
async fn submit_replaces_the_estimate_with_the_truth() {
    let mut rig = Rig::new(10, 100).await;
    let running = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    let admission = rig.scheduler.admit(Request::of(60)).unwrap();
    assert_eq!(rig.scheduler.load().queued_tokens, 60);
    let response = admission.submit(vec![QueuedItem { item: 2, tokens: 7 }]);
    assert_eq!(rig.scheduler.load().queued_tokens, 7);
    assert_eq!(rig.scheduler.load().running_tokens, 10);
    rig.end(Verdict::Answer);
    rig.end(Verdict::Answer);
    running.await.unwrap();
    response.await.unwrap();
    let empty = rig.scheduler.admit(Request::of(9)).unwrap().submit(Vec::new());
    assert_eq!(empty.await.unwrap().outputs, []);
    assert_eq!(rig.scheduler.load().queued_tokens, 0);
}

#[tokio::test(start_paused = true)]
async fn an_overdue_batch_shows() {
    let mut rig = Rig::new(10, 100).await;
    for _ in 0..2 {
        let response = rig.submit(&[(1, 10)], Lane::Interactive, None);
        rig.batch().await;
        tokio::time::advance(Duration::from_millis(100)).await;
        rig.end(Verdict::Answer);
        response.await.unwrap();
    }
    let stuck = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    tokio::time::advance(Duration::from_millis(300)).await;
    let load = rig.scheduler.load();
    assert!((load.overdue - 3.0).abs() < 0.05, "{load:?}");
    assert!((load.queue_wait_ms - 200.0).abs() < 5.0, "{load:?}");
    assert!(load.busy > 0.2 && load.epoch > 0);
    rig.end(Verdict::Answer);
    stuck.await.unwrap();
    assert!(rig.scheduler.load().overdue <= 0.0);
}
