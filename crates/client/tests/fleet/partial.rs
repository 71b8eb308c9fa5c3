//! Answers before the last one: join policies and streaming.

use std::time::{Duration, Instant};

use crate::common::{builder, fleet, refuse, until};
use futures::{StreamExt as _, TryStreamExt as _};
use sortie_client::{Client, ErrorKind, Join};
use sortie_testkit::{Gate, Reply, TestServer, score_of, texts};
use tonic::Code;

/// Six servers, of which a job that is not hedged uses half; each holds its calls until its gate opens.
async fn gated() -> (Vec<TestServer>, Vec<Gate>, Client) {
    let servers = fleet(6).await;
    let client = builder(&servers).hedging(false).connect().await.expect("the servers answer");
    let gates: Vec<Gate> = servers.iter().map(|_| Gate::new()).collect();
    for (server, gate) in servers.iter().zip(&gates) {
        server.always(Reply::answer().gated(gate));
    }
    (servers, gates, client)
}

/// The servers that have the chunks of a job, once all three have theirs.
async fn holders(servers: &[TestServer]) -> Vec<usize> {
    let busy = || (0..servers.len()).filter(|&index| !servers[index].calls().is_empty()).collect::<Vec<_>>();
    until(|| busy().len() == 3).await;
    busy()
}

#[tokio::test]
async fn enough_is_enough_and_what_is_missing_says_why() {
    let (servers, gates, client) = gated().await;
    let documents = texts(1, 120);
    let join = Join::Coverage { min: 0.5, soft_wait: Duration::ZERO };
    let job = tokio::spawn(client.rerank("q", &documents).join(join).into_future());
    let holders = holders(&servers).await;
    gates[holders[0]].open();
    gates[holders[1]].open();
    let answer = job.await.unwrap().unwrap();
    let never = &gates[holders[2]];
    let report = &answer.report;
    assert!(report.coverage() >= 0.5 && report.coverage() < 1.0, "{report:?}");
    for (index, score) in answer.scores.iter().enumerate() {
        match score {
            Some(score) => assert_eq!(*score, score_of(&documents[index])),
            None => assert_eq!(report.error(index).unwrap().reason, "OUT_OF_TIME"),
        }
    }
    assert_eq!(answer.ranking().len(), answer.scores.iter().flatten().count());
    // What nobody waits for any more is cancelled.
    never.dropped(1).await;
    let error =
        client.rerank("q", ["d"]).join(Join::Coverage { min: 1.5, soft_wait: Duration::ZERO }).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::InvalidArgument, Some("BAD_COVERAGE")));
}

#[tokio::test]
async fn at_the_deadline_what_is_there_is_the_answer() {
    let (servers, gates, client) = gated().await;
    let within = Duration::from_secs(4);
    let started = Instant::now();
    let call = client.rerank("q", texts(2, 120)).join(Join::Deadline).deadline(within);
    let job = tokio::spawn(call.into_future());
    let holders = holders(&servers).await;
    gates[holders[1]].open();
    let answer = job.await.unwrap().unwrap();
    assert!(started.elapsed() >= within - sortie_client::MAX_DEADLINE_MARGIN);
    assert!(answer.report.coverage() > 0.0 && answer.report.coverage() < 1.0);

    let (_servers, _gates, client) = gated().await;
    let call = client.rerank("q", texts(2, 120)).join(Join::Deadline);
    let error = call.deadline(Duration::from_secs(3)).await.unwrap_err();
    // Servers that never answered anything may not be there at all.
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded | ErrorKind::Unavailable), "{error:?}");
}

#[tokio::test]
async fn pieces_come_as_they_finish() {
    let (servers, gates, client) = gated().await;
    for (server, gate) in servers.iter().zip(&gates) {
        server.always(Reply::answer().gated(gate).item_error(0, "TEXT_TOO_LARGE", "too large"));
    }
    let documents = texts(3, 120);
    let mut answers = client.rerank("q", &documents).stream();
    let mut seen = vec![None; 120];
    let holders = tokio::select! {
        holders = holders(&servers) => holders,
        _ = answers.next() => panic!("nothing was let go"),
    };
    for &holder in &holders {
        assert!(answers.report().is_none());
        gates[holder].open();
        let partial = answers.try_next().await.unwrap().unwrap();
        assert_eq!(partial.answer.scores.len(), partial.indices.len());
        assert_eq!(partial.answer.report.chunks.len(), 1);
        // The one that was let go is the one that comes.
        assert_eq!(partial.answer.report.chunks[0].endpoint, servers[holder].address());
        assert_eq!(partial.answer.report.error(0).unwrap().reason, "TEXT_TOO_LARGE");
        for (&place, score) in partial.indices.iter().zip(&partial.answer.scores) {
            seen[place] = *score;
        }
    }
    assert!(answers.next().await.is_none());
    let report = answers.report().unwrap();
    assert_eq!((report.chunks.len(), report.errors.len(), report.tokens.len()), (3, 3, 120));
    for (place, score) in seen.iter().enumerate() {
        match report.error(place) {
            None => assert_eq!(*score, Some(score_of(&documents[place]))),
            Some(error) => assert_eq!((score, error.reason.as_str()), (&None, "TEXT_TOO_LARGE")),
        }
    }
}

#[tokio::test]
async fn an_error_comes_after_what_was_answered_and_dropping_a_stream_cancels() {
    let (servers, gates, client) = gated().await;
    for (index, gate) in gates.iter().enumerate() {
        servers[index].always(refuse(Code::InvalidArgument).gated(gate)).then(Reply::answer().gated(gate));
    }
    // Of six answers the first of each server is good.
    let mut answers = client.embed(texts(4, 120)).stream();
    for gate in &gates {
        gate.open();
    }
    assert!(!answers.try_next().await.unwrap().unwrap().indices.is_empty());
    drop(answers);
    let (servers, gates, client) = gated().await;
    for (server, gate) in servers.iter().zip(&gates) {
        server.always(refuse(Code::InvalidArgument));
        gate.open();
    }
    let mut answers = client.embed(texts(4, 120)).stream();
    assert_eq!(answers.try_next().await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(answers.next().await.is_none() && answers.report().is_none());

    let (_servers, gates, client) = gated().await;
    let mut answers = client.embed(texts(5, 120)).stream();
    let entered = futures::future::select_all(gates.iter().map(|gate| Box::pin(gate.entered(1))));
    let (_, index, _) = tokio::select! {
        entered = entered => entered,
        _ = answers.next() => panic!("nothing was let go"),
    };
    drop(answers);
    gates[index].dropped(1).await;
}
