//! What goes wrong in fleets, each named: stalls, dead ports, lost connections, refusals.

use std::time::{Duration, Instant};

use crate::common::{begin, builder, connect, connect_hasty, fleet, hasty, refuse, until};
use sortie_client::ErrorKind;
use sortie_testkit::{ClosedPort, Gate, Reply, TestServer, score_of, texts};
use tokio::net::TcpListener;
use tonic::Code;

fn scores(documents: &[String]) -> Vec<Option<f32>> {
    documents.iter().map(|text| Some(score_of(text))).collect()
}

#[tokio::test]
async fn a_hedge_saves_a_stalled_server_and_the_loser_is_reset() {
    let servers = fleet(3).await;
    let client = connect_hasty(&servers).await;
    let stall = Gate::new();
    servers[1].always(Reply::answer().gated(&stall));
    let documents = texts(1, 90);

    let answer = client.rerank("q", &documents).await.unwrap();

    assert_eq!(answer.scores, scores(&documents));
    let report = &answer.report;
    assert!(report.hedges >= 1 && report.hedges_won >= 1, "{report:?}");
    assert!(report.extra_tokens > 0 && report.coverage() == 1.0);
    let saved = report.chunks.iter().find(|chunk| chunk.hedge).unwrap();
    assert_ne!(saved.endpoint, servers[1].address());
    // A hedge may meet the stalled server too, and have one itself.
    assert!(saved.attempt >= 2, "{saved:?}");
    assert!(saved.began >= report.chunks.iter().map(|chunk| chunk.began).min().unwrap());
    assert!(report.chunks.iter().all(|chunk| chunk.began + chunk.elapsed <= report.elapsed), "{report:?}");
    // The one that was stalled is told too, with its time.
    let lost = report.lost.iter().find(|lost| lost.outcome == "given_up").unwrap();
    assert_eq!(lost.endpoint, servers[1].address());
    assert!(lost.items > 0 && lost.began + lost.elapsed <= report.elapsed, "{lost:?}");
    assert_eq!(report.chunks.len() + report.lost.len(), report.attempts as usize);
    // The loser's stream was reset: its handler was dropped at the gate.
    stall.dropped(1).await;
    // And its tokens came back.
    assert!(client.stats().endpoints.iter().all(|endpoint| endpoint.in_flight_tokens == 0));
}

#[tokio::test]
async fn hedging_can_be_turned_off() {
    let servers = fleet(3).await;
    let client = hasty(&servers).hedging(false).connect().await.unwrap();
    let stall = Gate::new();
    for server in &servers {
        server.always(Reply::answer().gated(&stall));
    }
    let call = client.rerank("q", texts(1, 90)).deadline(Duration::from_secs(3));
    let error = call.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    let sent: usize = servers.iter().map(|server| server.calls().len()).sum();
    assert_eq!((sent, error.attempts()), (1, 1));
    assert_eq!(client.stats().counters.hedges, 0);
}

#[tokio::test]
async fn an_error_does_not_end_the_race() {
    let servers = fleet(2).await;
    let client = connect_hasty(&servers).await;
    let stall = Gate::new();
    // The first attempt waits wherever it lands; its hedge, on the other server, is refused meanwhile.
    for server in &servers {
        server.always(Reply::answer().gated(&stall)).again(refuse(Code::Internal));
    }
    let job = tokio::spawn(client.rerank("q", ["d"]).into_future());
    stall.entered(1).await;
    let first = servers.iter().find(|server| !server.calls().is_empty()).unwrap();
    until(|| servers.iter().all(|server| !server.calls().is_empty())).await;
    stall.open();
    let answer = job.await.unwrap().unwrap();
    assert_eq!(answer.scores, [Some(score_of("d"))]);
    let chunk = &answer.report.chunks[0];
    assert_eq!((chunk.endpoint.as_str(), chunk.attempt), (first.address().as_str(), 1));
}

#[tokio::test]
async fn a_hedge_goes_to_another_server() {
    let servers = fleet(4).await;
    let client = connect_hasty(&servers).await;
    let stall = Gate::new();
    servers[2].always(Reply::answer().gated(&stall));
    for round in 0..5 {
        let documents = texts(round, 60);
        let answer = client.rerank("q", &documents).await.unwrap();
        assert_eq!(answer.scores, scores(&documents));
    }
    // No chunk was ever tried twice on one server.
    for server in &servers {
        let mut seen: Vec<_> = server.calls().into_iter().map(|call| (call.job_id, call.texts)).collect();
        let sent = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), sent);
    }
}

#[tokio::test]
async fn killing_one_of_four_servers_under_load_loses_no_job() {
    let mut servers = fleet(4).await;
    let client = connect(&servers).await;
    let gate = Gate::new();
    servers[3].always(Reply::answer().gated(&gate));
    let jobs: Vec<_> = (0..8).map(|seed| tokio::spawn(client.rerank("q", texts(seed, 80)).into_future())).collect();
    gate.entered(1).await;
    servers[3].kill().await;
    for (seed, job) in (0..).zip(jobs) {
        assert_eq!(job.await.unwrap().unwrap().scores, scores(&texts(seed, 80)));
    }
    until(|| !client.stats().endpoints[3].ready).await;
}

#[tokio::test]
async fn a_dead_endpoint_is_never_counted_ready() {
    let servers = fleet(2).await;
    // A port nobody listens on, and one that takes connections and never answers.
    let closed = ClosedPort::new().unwrap();
    let black_hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = builder(&servers)
        .endpoint(closed.address())
        .endpoint(format!("http://{}", black_hole.local_addr().unwrap()))
        // The black hole must be found out; who is there answers sooner, also on a busy machine.
        .connect_timeout(Duration::from_secs(1))
        .connect()
        .await
        .unwrap();
    for seed in 0..5 {
        let answer = client.rerank("q", texts(seed, 60)).await.unwrap();
        // Chunks are cut for servers that are there, and nothing is tried on the others.
        assert_eq!((answer.report.retries, answer.report.hedges), (0, 0), "{:?}", answer.report);
        let stats = client.stats();
        let ready: Vec<_> = stats.endpoints.iter().map(|endpoint| endpoint.ready).collect();
        assert_eq!(ready, [true, true, false, false]);
        let connected: Vec<_> = stats.endpoints.iter().map(|endpoint| endpoint.connections > 0).collect();
        assert_eq!(connected, [true, true, false, false]);
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_again() {
    let mut servers = fleet(2).await;
    let client = connect(&servers).await;
    servers[1].kill().await;
    until(|| !client.stats().endpoints[1].ready).await;
    client.rerank("q", texts(1, 60)).await.unwrap();
    servers[1].revive().unwrap();
    // In the background: no job has to find out.
    until(|| client.stats().endpoints[1].ready).await;
    let before = servers[1].calls().len();
    until_async(|| async {
        client.rerank("q", texts(2, 60)).await.unwrap();
        servers[1].calls().len() > before
    })
    .await;
}

#[tokio::test]
async fn a_server_that_fails_fast_does_not_attract_work() {
    let servers = fleet(3).await;
    let client = connect(&servers).await;
    servers[0].always(refuse(Code::Unavailable));
    for seed in 0..30 {
        client.rerank("q", texts(seed, 30)).await.unwrap();
    }
    // A third of the work would be 30 calls and more.
    let calls = servers[0].calls().len();
    assert!(calls <= 15, "{calls}");
}

#[tokio::test]
async fn a_frozen_server_is_hedged_around_suspected_and_taken_back() {
    let servers = fleet(4).await;
    let client = connect_hasty(&servers).await;
    servers[3].freeze();
    until_async(|| async {
        let documents = texts(3, 120);
        let answer = client.rerank("q", &documents).await.unwrap();
        assert_eq!(answer.scores, scores(&documents));
        client.stats().endpoints[3].suspect
    })
    .await;
    let answer = client.rerank("q", texts(4, 60)).await.unwrap();
    assert!(answer.report.chunks.iter().all(|chunk| chunk.endpoint != servers[3].address()));
    servers[3].thaw();
    until(|| !client.stats().endpoints[3].suspect).await;
}

#[tokio::test]
async fn a_connection_whose_pings_stay_unanswered_is_lost() {
    let servers = fleet(1).await;
    let client = builder(&servers)
        .keepalive(Duration::from_millis(300), Duration::from_millis(300))
        .connect_timeout(Duration::from_millis(500))
        .connect()
        .await
        .unwrap();
    let started = Instant::now();
    servers[0].freeze();
    let error = client.rerank("q", ["d"]).deadline(Duration::from_secs(600)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(300));
    until(|| client.stats().endpoints[0].connections == 0).await;
}

#[tokio::test]
async fn a_request_of_megabytes_is_retried_like_any_other() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    for server in &servers {
        server.model(|model| model.limits.as_mut().unwrap().max_batch_tokens = 10_000_000);
        server.then(Reply::hang_up());
    }
    let document = "word ".repeat(600_000);
    let answer = client.rerank("q", [&document]).await.unwrap();
    assert_eq!(answer.scores, [Some(score_of(&document))]);
    assert_eq!(answer.report.retries, 2);
    assert_eq!(answer.report.free_tokens > 0, answer.report.extra_tokens > 0);
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_nothing_running() {
    let servers = fleet(2).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let nowhere = ClosedPort::new().unwrap();
    let servers_and_nobody = servers.iter().map(TestServer::address).chain([nowhere.address()]);
    let client = begin().endpoints(servers_and_nobody).build().unwrap();
    client.rerank("q", ["d"]).await.unwrap();
    assert!(tasks() > before);
    drop(client);
    // Client's tasks and the servers' for its connections.
    until(|| tasks() <= before).await;
}

async fn until_async<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < limit, "it never came to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
