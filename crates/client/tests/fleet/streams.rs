//! HTTP/2 streams: how many a server takes, and servers that refuse them.

use std::time::Duration;

use crate::common::{begin, builder, connect, raw};
use h2::Reason;
use sortie_client::{Compression, ErrorKind};
use sortie_testkit::{Gate, Reply, TestServer, score_of};

#[tokio::test]
async fn a_full_connection_gets_a_second_and_a_full_server_is_waited_for() {
    // The server takes one call at once on a connection.
    let server = TestServer::start_limited(1).await.unwrap();
    let client = builder(std::slice::from_ref(&server)).connections_per_endpoint(1, 3).hedging(false);
    let client = client.connect().await.unwrap();
    let gate = Gate::new();
    server.always(Reply::answer().gated(&gate));
    let mut jobs = Vec::new();
    for count in 1..=3 {
        jobs.push(tokio::spawn(client.rerank("q", ["d"]).into_future()));
        // Each one reaches the server: none waits in the client behind another.
        gate.entered(count).await;
        assert_eq!(client.stats().endpoints[0].connections, count);
    }
    // A fourth has no stream and there is no other server: it waits for one, and no longer than its deadline.
    let error = client.rerank("q", ["d"]).deadline(Duration::from_secs(2)).await.unwrap_err();
    // Which of the two depends on whether another try would still have been in time.
    assert!(matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::DeadlineExceeded), "{error:?}");
    assert!(error.attempts() > 1, "{error:?}");
    gate.open();
    for job in jobs {
        job.await.unwrap().unwrap();
    }
    client.rerank("q", ["d"]).await.unwrap();
}

#[tokio::test]
async fn a_call_without_a_stream_goes_to_another_server() {
    let servers = [TestServer::start_limited(1).await.unwrap(), TestServer::start_limited(1).await.unwrap()];
    let client = builder(&servers).connections_per_endpoint(1, 1).hedging(false).connect().await.unwrap();
    let gate = Gate::new();
    for server in &servers {
        server.always(Reply::answer().gated(&gate));
    }
    let first = tokio::spawn(client.rerank("q", ["d"]).into_future());
    gate.entered(1).await;
    let second = tokio::spawn(client.rerank("q", ["e"]).into_future());
    gate.entered(2).await;
    assert_eq!([servers[0].calls().len(), servers[1].calls().len()], [1, 1]);
    gate.open();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_stream_is_tried_on_another_server_for_free() {
    let good = TestServer::start().await.unwrap();
    let client = connect(std::slice::from_ref(&good)).await;
    drop(client);
    for reason in [Reason::REFUSED_STREAM, Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::ENHANCE_YOUR_CALM] {
        let (address, refused) = raw::refusing(reason).await;
        let client = begin().endpoint(&address).endpoint(good.address()).connect().await.unwrap();
        // Until the raw server has had its turn: which comes first is not said.
        while refused.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            let answer = client.rerank("q", ["d"]).await.unwrap();
            assert_eq!(answer.scores, [Some(score_of("d"))], "{reason:?}");
            assert_eq!(answer.report.chunks[0].endpoint, good.address());
            if answer.report.retries > 0 {
                assert!(answer.report.free_tokens > 0, "{reason:?} {:?}", answer.report);
            }
        }
    }
}

#[tokio::test]
async fn messages_travel_compressed_where_that_is_wanted() {
    let server = TestServer::start().await.unwrap();
    let client = builder(std::slice::from_ref(&server)).compression(Compression::Gzip).connect().await.unwrap();
    let document = "the same again ".repeat(10_000);
    let answer = client.rerank("q", [&document]).await.unwrap();
    assert_eq!(answer.scores, [Some(score_of(&document))]);
    assert_eq!(server.calls()[0].encoding, "gzip");
    let plain = connect(std::slice::from_ref(&server)).await;
    plain.rerank("q", [&document]).await.unwrap();
    assert_eq!(server.calls()[1].encoding, "");
}
