//! Losers of a hedge that are cancelled while they wait never reach the device.
//!
//! The device is busy with a long batch; hedges queue up behind it; their callers cancel. What the device runs from
//! then on is counted by its own metrics, over the admin port.

use sortie_proto::v1::{Input, RerankRequest, input::Kind};
use tokio::task::JoinSet;
use tonic::Request;

use crate::support::{Client, Server, rerank, until};

/// Times it is done.
const ROUNDS: u64 = 2;

/// Hedges of a round.
const LOSERS: u64 = 60;

/// Documents of one, each of 25 tokens with 1 of the query.
const DOCUMENTS: u64 = 10;

/// Tokens of a hedge.
const TOKENS: u64 = DOCUMENTS * 26;

/// Share of the losers' tokens that must never be run.
const SPARED: f64 = 0.99;

async fn hedge(mut client: Client) {
    let text = |text: &str| Input { kind: Some(Kind::Text(text.to_owned())) };
    let documents = vec![text(&"x".repeat(100)); DOCUMENTS as usize];
    let message = RerankRequest { query: Some(text("q")), documents, ..RerankRequest::default() };
    let mut request = Request::new(message);
    request.metadata_mut().insert("sortie-attempt", "2".parse().unwrap());
    // Without a deadline: how long the server thinks that this would take is not what is tested.
    let answer = client.rerank(request).await;
    panic!("a hedge that should have been cancelled while it waited ended: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn losers_cancelled_in_the_queue_reach_no_batch() {
    // A batch takes three seconds: time for all of it on a busy machine.
    let flags = ["--max-batch-tokens", "65536", "--warm-up=false", "--admin", "127.0.0.1:0"];
    let server = Server::start(3_000.0, 0.0, &flags).await;
    let mut looker = server.client().await;
    let clients = [server.client().await, server.client().await];
    for _ in 0..ROUNDS {
        let mut blocker = clients[0].clone();
        let blocked = tokio::spawn(async move { rerank(&mut blocker, &["the batch that runs"]).await });
        until("the device is busy", async || (server.metric("sortie_running_tokens", "").await > 0.0).then_some(()))
            .await;
        let running = server.tokens(&mut looker).await;
        let mut losers = JoinSet::new();
        for n in 0..LOSERS as usize {
            losers.spawn(hedge(clients[n % clients.len()].clone()));
        }
        until("all hedges wait", async || {
            (server.tokens(&mut looker.clone()).await >= running + LOSERS * TOKENS).then_some(())
        })
        .await;
        losers.shutdown().await;
        until("nothing waits", async || (server.metric("sortie_queue_tokens", "").await == 0.0).then_some(())).await;
        blocked.await.unwrap().expect("the batch that ran is answered");
    }
    // Whatever of a loser had stayed would be in this batch or before it.
    rerank(&mut looker, &["the last"]).await.unwrap();
    let ran = server.metric("sortie_device_tokens_total", "").await;
    let own = server.metric("sortie_tokens_total", "").await;
    let all = (ROUNDS * LOSERS * TOKENS) as f64;
    let spared = 1.0 - (ran - own) / all;
    println!("{:.2}% of the tokens of {} losers never reached a batch", spared * 100.0, ROUNDS * LOSERS);
    assert!(spared >= SPARED, "only {spared:.4}: the device ran {ran} tokens, of which {own} were answered");
    let cancelled = server.metric("sortie_hedges_cancelled_total", "").await;
    assert!(cancelled >= SPARED * (ROUNDS * LOSERS) as f64, "{cancelled} hedges were counted as cancelled");
}
