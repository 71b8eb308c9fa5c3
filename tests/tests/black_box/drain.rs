//! SIGTERM: what was accepted is answered, what comes later is refused in a way that says so, the process ends well.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rustix::process::Signal;
use tonic::{Code, Status};

use crate::support::{Client, Server, rerank, until};

/// A refusal that tells a client to go elsewhere: it was not begun.
fn never_accepted(status: &Status) -> bool {
    (status.code() == Code::Unavailable && !lost_mid_way(status)) || never_sent(status)
}

/// The connection had closed before the client wrote the request: hyper then cancels it. Or the server's last GOAWAY
/// names an earlier stream as the last one that it took (RFC 9113 §6.8).
fn never_sent(status: &Status) -> bool {
    let words = causes(status);
    (status.code() == Code::Cancelled && words.contains("connection closed"))
        || words.contains("GoAway(b\"\", NO_ERROR")
}

/// All that a status says, its causes included.
fn causes(status: &Status) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    let mut words = status.message().to_owned();
    while let Some(error) = cause {
        words += &format!(": {error} ({error:?})");
        cause = error.source();
    }
    words
}

/// The connection broke under a request. A server that leaves in order closes a connection only when nothing is in
/// flight on it, so its clients see GOAWAY or a refused connection, never a reset.
fn lost_mid_way(status: &Status) -> bool {
    let words = causes(status);
    ["reset by peer", "broken pipe", "unexpected end", "connection error received"].iter().any(|w| words.contains(w))
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_requests_are_answered_after_sigterm() {
    // A batch takes three seconds: time for the others to be accepted meanwhile, on a busy machine too.
    let mut server = Server::start(3_000.0, 0.0, &["--max-batch-tokens", "65536", "--warm-up=false"]).await;
    let document = "x".repeat(200);
    let mut looker = server.client().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(server.client().await);
    }
    let mut requests = tokio::task::JoinSet::new();
    // 50 tokens of document and 2 of query each: one runs first, then the others wait for its end.
    for (sent, mut client) in (1..).zip(clients) {
        let document = document.clone();
        requests.spawn(async move { rerank(&mut client, &[&document]).await });
        if sent == 1 || sent == 8 {
            let (server, looker) = (&server, looker.clone());
            until("they are accepted", async || (server.tokens(&mut looker.clone()).await >= sent * 52).then_some(()))
                .await;
        }
    }
    server.signal(Signal::TERM);
    while let Some(answer) = requests.join_next().await {
        let answer = answer.unwrap().expect("an accepted request is answered");
        assert!(answer.scores.first().is_some_and(|score| score.is_finite()), "{answer:?}");
    }
    // The old connection may already be gone; whatever it says, it is no answer.
    let later = rerank(&mut looker, &["late"]).await;
    assert!(later.is_err(), "a request after the drain was answered: {later:?}");
    assert!(server.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_no_accepted_request_is_lost() {
    let mut server = Server::start(5.0, 1.0, &[]).await;
    let answered = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (mut client, answered) = (server.client().await, Arc::clone(&answered));
        callers.spawn(async move { call_until_refused(&mut client, &answered).await });
    }
    let before = until("load is on", async || Some(answered.load(Ordering::Relaxed)).filter(|n| *n > 200)).await;
    server.signal(Signal::TERM);
    while let Some(last) = callers.join_next().await {
        let last = last.unwrap();
        assert!(never_accepted(&last), "a request was lost: {last:?}");
    }
    assert!(answered.load(Ordering::Relaxed) >= before);
    assert!(server.ended().await.success());
}

async fn call_until_refused(client: &mut Client, answered: &AtomicU64) -> Status {
    loop {
        match rerank(client, &["one document", "another document"]).await {
            Ok(answer) => {
                assert_eq!(answer.scores.len(), 2);
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) => return status,
        }
    }
}
