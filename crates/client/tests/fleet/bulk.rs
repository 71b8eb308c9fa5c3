//! Bulk work: order, resuming, memory, overload, and manners.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use crate::common::{connect, fleet, refuse};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use sortie_client::ErrorKind;
use sortie_testkit::{Gate, Reply, TestServer, score_of};
use tonic::{Code, Status};

fn text(index: u64) -> String {
    format!("text number {index} {}", "x".repeat((index % 7) as usize * 10))
}

fn inputs(count: u64) -> impl Stream<Item = String> + Send + 'static {
    stream::iter((0..count).map(text))
}

/// Counts what was read from it.
struct Counted {
    next: u64,
    end: u64,
    read: Arc<AtomicU64>,
}

impl Stream for Counted {
    type Item = String;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<String>> {
        if self.next == self.end {
            return Poll::Ready(None);
        }
        self.next += 1;
        self.read.store(self.next, Ordering::SeqCst);
        Poll::Ready(Some(text(self.next - 1)))
    }
}

#[tokio::test]
async fn every_input_is_answered_in_order_by_every_server() {
    let servers = fleet(3).await;
    let client = connect(&servers).await;
    let mut run = client.bulk(inputs(20_000)).embed(|call| call.normalize(true));
    let mut next = 0;
    while let Some(slice) = run.try_next().await.unwrap() {
        assert_eq!(slice.start, next);
        for vector in &slice.answer.vectors {
            assert_eq!(vector.as_ref().unwrap()[0], score_of(&text(next)));
            next += 1;
        }
        assert_eq!(run.progress().resume_at, next);
    }
    assert_eq!((next, run.progress().given, run.progress().read), (20_000, 20_000, 20_000));
    for server in &servers {
        let calls = server.calls();
        assert!(!calls.is_empty());
        // In the bulk lane, in slices of one batch, never hedged.
        assert!(calls.iter().all(|call| call.lane == "bulk" && call.attempt == "1"));
    }
}

#[tokio::test]
async fn a_run_goes_on_where_another_ended() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    let mut run = client.bulk(inputs(3_000)).embed(|call| call);
    let mut done = Vec::new();
    for _ in 0..5 {
        done.extend(run.try_next().await.unwrap().unwrap().answer.vectors);
    }
    let resume_at = run.progress().resume_at;
    assert_eq!(resume_at, done.len() as u64);
    drop(run);
    let rest: Vec<_> = client.bulk(inputs(3_000)).resume_at(resume_at).embed(|call| call).try_collect().await.unwrap();
    assert_eq!(rest[0].start, resume_at);
    done.extend(rest.into_iter().flat_map(|slice| slice.answer.vectors));
    let want: Vec<_> = (0..3_000).map(|index| score_of(&text(index))).collect();
    let got: Vec<_> = done.into_iter().map(|vector| vector.unwrap()[0]).collect();
    assert_eq!(got, want);
}

#[tokio::test]
async fn out_of_order_the_resume_point_is_the_last_contiguous_one() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    let gate = Gate::new();
    // The very first slice is held up, wherever it goes.
    for server in &servers {
        server.then(Reply::answer().gated(&gate));
    }
    let mut run = client.bulk(inputs(2_000)).unordered().slices(8).slice_tokens(500).embed(|call| call);
    let mut given = 0;
    for _ in 0..4 {
        let slice = run.try_next().await.unwrap().unwrap();
        assert!(slice.start > 0);
        given += slice.answer.vectors.len() as u64;
    }
    assert_eq!((run.progress().resume_at, run.progress().given), (0, given));
    gate.open();
    let rest: Vec<_> = run.by_ref().try_collect().await.unwrap();
    given += rest.iter().map(|slice| slice.answer.vectors.len() as u64).sum::<u64>();
    assert_eq!((given, run.progress().resume_at), (2_000, 2_000));
}

#[tokio::test]
async fn what_is_held_is_bounded_however_long_the_input_and_slow_the_reader() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    let read = Arc::new(AtomicU64::new(0));
    // An input without an end worth naming.
    let endless = Counted { next: 0, end: u64::MAX, read: Arc::clone(&read) };
    let mut run = client.bulk(endless).slice_tokens(200).embed(|call| call);
    let mut most_held = 0;
    for _ in 0..300 {
        let slice = run.try_next().await.unwrap().unwrap();
        let given = slice.start + slice.answer.vectors.len() as u64;
        most_held = most_held.max(read.load(Ordering::SeqCst) - given);
        let progress = run.progress();
        assert!(progress.slices <= 4 && progress.held <= 12, "{progress:?}");
    }
    // A slice of 200 tokens has some 20 inputs; window and what waits for order are 12 slices.
    assert!(most_held <= 12 * 40, "{most_held}");

    // A server that never answers stops the reading.
    let gate = Gate::new();
    for server in &servers {
        server.always(Reply::answer().gated(&gate));
    }
    let before = read.load(Ordering::SeqCst);
    for _ in 0..1_000 {
        // Pieces that were answered before may still come.
        let _ = futures::poll!(run.next());
        tokio::task::yield_now().await;
    }
    assert!(read.load(Ordering::SeqCst) - before <= 12 * 40);
}

#[tokio::test]
async fn an_overloaded_fleet_is_given_time_and_nothing_is_lost() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    let busy = || {
        Reply::refuse(|| {
            let mut status = Status::resource_exhausted("the queue is full");
            status.metadata_mut().insert("grpc-retry-pushback-ms", "1".parse().expect("a number"));
            status
        })
    };
    for server in &servers {
        for _ in 0..40 {
            server.then(busy());
        }
    }
    let slices: Vec<_> = client.bulk(inputs(1_500)).embed(|call| call).try_collect().await.unwrap();
    let got: Vec<_> = slices.into_iter().flat_map(|slice| slice.answer.vectors).map(|v| v.unwrap()[0]).collect();
    assert_eq!(got, (0..1_500).map(|index| score_of(&text(index))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fleet_that_restarts_costs_time_and_nothing_else() {
    let mut servers = fleet(1).await;
    let client = connect(&servers).await;
    let mut run = client.bulk(inputs(3_000)).embed(|call| call);
    let mut got = run.try_next().await.unwrap().unwrap().answer.vectors.len();
    servers[0].kill().await;
    assert!(futures::poll!(run.next()).is_pending() || run.progress().held < 12);
    servers[0].revive().unwrap();
    while let Some(slice) = run.try_next().await.unwrap() {
        got += slice.answer.vectors.len();
    }
    assert!(got <= 3_000);
    assert_eq!(run.progress().resume_at, 3_000);
}

#[tokio::test]
async fn what_no_server_would_take_ends_the_run_and_says_where() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    servers[0].then(Reply::answer()).then(Reply::answer()).always(refuse(Code::InvalidArgument));
    let mut run = client.bulk(inputs(10_000)).slices(1).embed(|call| call);
    let mut given = 0;
    let error = loop {
        match run.next().await.unwrap() {
            Ok(slice) => given += slice.answer.vectors.len() as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(given > 0);
    assert_eq!(run.progress().resume_at, given);
    assert!(run.next().await.is_none());
}

#[tokio::test]
async fn a_run_gives_up_in_time_and_at_once_for_a_wrong_model() {
    let mut servers = fleet(1).await;
    let client = connect(&servers).await;
    servers[0].then(refuse(Code::NotFound));
    let error = client.bulk(inputs(10)).embed(|call| call.model("x")).next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    servers[0].kill().await;
    let mut run = client.bulk(inputs(10)).give_up_after(Duration::ZERO).embed(|call| call);
    assert_eq!(run.next().await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn every_kind_of_call_runs_in_bulk() {
    let server = TestServer::start().await.unwrap();
    let client = connect(std::slice::from_ref(&server)).await;
    let bulk = || client.bulk(inputs(50));
    assert_eq!(bulk().rerank("q", |call| call).try_collect::<Vec<_>>().await.unwrap()[0].answer.scores.len(), 50);
    assert_eq!(bulk().embed_sparse(|call| call).try_collect::<Vec<_>>().await.unwrap()[0].answer.vectors.len(), 50);
    assert_eq!(bulk().classify(|call| call).try_collect::<Vec<_>>().await.unwrap()[0].answer.report.tokens.len(), 50);
    assert_eq!(bulk().tag(|call| call).try_collect::<Vec<_>>().await.unwrap()[0].answer.texts.len(), 50);
    assert_eq!(bulk().tokenize(|call| call).try_collect::<Vec<_>>().await.unwrap()[0].answer.inputs.len(), 50);
    assert!(client.bulk(inputs(0)).embed(|call| call).next().await.is_none());
}
