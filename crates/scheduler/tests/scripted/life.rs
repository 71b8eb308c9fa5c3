//! Chunks that stream in and go away, and the end of a scheduler.

use std::task::Poll;

use sortie_scheduler::{ChunkError, Lane, QueuedItem, Refusal, Request};

use crate::rig::{Rig, Verdict, futures_poll};

#[tokio::test(start_paused = true)]
async fn a_part_streams_in_and_is_answered_in_order() {
    let mut rig = Rig::new(100, 1_000).await;
    let busy = rig.submit(&[(9, 1)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [9]);
    let (sink, response) = rig.scheduler.admit(Request::of(40)).unwrap().stream();
    let item = |item| vec![QueuedItem { item, tokens: 10 }];
    sink.push(2, item(3));
    sink.push(0, item(1));
    sink.push(1, item(2));
    // Ten of the estimate were too much.
    assert_eq!(rig.scheduler.load().queued_tokens, 40);
    sink.close();
    assert_eq!(rig.scheduler.load().queued_tokens, 30);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [1, 2, 3]);
    rig.end(Verdict::Answer);
    assert_eq!(response.await.unwrap().outputs, [Ok(2), Ok(4), Ok(6)]);
    busy.await.unwrap();

    // A sink that is dropped half-way fails its chunk and takes its items out.
    let (sink, response) = rig.scheduler.admit(Request::of(40)).unwrap().stream();
    drop(sink);
    assert_eq!(response.await, Err(ChunkError::Abandoned));
    // So does one with a gap.
    let (sink, response) = rig.scheduler.admit(Request::of(10)).unwrap().stream();
    sink.push(1, item(1));
    sink.close();
    rig.batch().await;
    rig.end(Verdict::Answer);
    assert_eq!(response.await, Err(ChunkError::Abandoned));
    assert_eq!(rig.scheduler.load().queued_tokens, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_feed_says_so() {
    let rig = Rig::new(100, 1_000).await;
    let (sink, response) = rig.scheduler.admit(Request::of(40)).unwrap().stream();
    assert!(!sink.is_over());
    drop(response);
    assert!(sink.is_over());
    assert_eq!(rig.scheduler.load().queued_tokens, 0);
    sink.push(0, vec![QueuedItem { item: 1, tokens: 10 }]);
    assert_eq!(rig.scheduler.load().queued_tokens, 0);
}

#[tokio::test(start_paused = true)]
async fn draining_finishes_what_was_admitted() {
    let mut rig = Rig::new(10, 100).await;
    let queued = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    let admission = rig.scheduler.admit(Request::of(10)).unwrap();
    rig.scheduler.drain();
    assert_eq!(rig.scheduler.admit(Request::of(1)).unwrap_err(), Refusal::Draining);
    rig.end(Verdict::Answer);
    queued.await.unwrap();
    let late = admission.submit(vec![QueuedItem { item: 2, tokens: 10 }]);
    assert_eq!(rig.batch().await, [2]);
    assert!(!rig.scheduler.is_drained());
    rig.end(Verdict::Answer);
    late.await.unwrap();
    rig.scheduler.drained().await;
    assert!(rig.scheduler.is_drained());
    // The backend was dropped before that was said.
    assert!(rig.dropped.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_admission_lets_the_drain_end() {
    let rig = Rig::new(10, 100).await;
    let admission = rig.scheduler.admit(Request::of(10)).unwrap();
    rig.scheduler.drain();
    let mut drained = Box::pin(rig.scheduler.drained());
    assert_eq!(futures_poll(&mut drained).await, Poll::Pending);
    drop(admission);
    drained.await;
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_the_thread_after_its_work() {
    let mut rig = Rig::new(10, 100).await;
    let response = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    let clone = rig.scheduler.clone();
    drop(rig.scheduler);
    assert!(clone.admit(Request::of(1)).is_ok());
    drop(clone);
    rig.verdicts.send(Verdict::Answer).unwrap();
    assert_eq!(response.await.unwrap().outputs, [Ok(2)]);
    rig.dropped.recv().await.unwrap();
}
