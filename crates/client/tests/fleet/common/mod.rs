//! Fleets and clients of tests.

use std::time::Duration;

use sortie_client::{Client, ClientBuilder, DispatchConfig};
use sortie_testkit::{Reply, TestServer};
use tokio::time::Instant;
use tonic::{Code, Status};

pub(crate) mod raw;

/// A refusal.
pub(crate) fn refuse(code: Code) -> Reply {
    Reply::refuse(move || Status::new(code, "no"))
}

/// Waits until something holds that comes about in the background. It fails rather than wait for ever.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < limit, "it never came to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Scripted servers.
pub(crate) async fn fleet(count: usize) -> Vec<TestServer> {
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(TestServer::start().await.expect("a free port"));
    }
    servers
}

/// The beginning of any client: it waits for servers that are there, however busy the machine.
pub(crate) fn begin() -> ClientBuilder {
    let limit = Duration::from_secs(30);
    Client::builder().connect_timeout(limit).describe_timeout(limit)
}

/// The beginning of a client that hedges, and suspects who is late: on a busy machine that may be anybody.
pub(crate) fn hasty(servers: &[TestServer]) -> ClientBuilder {
    begin().endpoints(servers.iter().map(TestServer::address))
}

/// The beginning of a client to which nothing is ever late, however busy the machine: it cuts jobs as one
/// that hedges, and sends what it would have sent in any case.
pub(crate) fn builder(servers: &[TestServer]) -> ClientBuilder {
    let mut dispatch = DispatchConfig::default();
    (dispatch.hedge.min_samples, dispatch.hedge.cold_trigger) = (u64::MAX, 1e9);
    hasty(servers).dispatch(dispatch)
}

/// A client to which nothing is ever late, and which knows them.
pub(crate) async fn connect(servers: &[TestServer]) -> Client {
    builder(servers).connect().await.expect("the servers answer")
}

/// A client that hedges, and knows them.
pub(crate) async fn connect_hasty(servers: &[TestServer]) -> Client {
    hasty(servers).connect().await.expect("the servers answer")
}
