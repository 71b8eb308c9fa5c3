//! Fleets and clients of tests.

use std::time::Duration;

use sortie_client::{Client, ClientBuilder};
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
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "it never came to be");
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

/// The beginning of a client for them, in no hurry: the machine may be busy.
pub(crate) fn builder(servers: &[TestServer]) -> ClientBuilder {
    Client::builder().endpoints(servers.iter().map(TestServer::address)).greeting(Duration::from_secs(30))
}

/// A client that knows them.
pub(crate) async fn connect(servers: &[TestServer]) -> Client {
    builder(servers).connect().await.expect("the servers answer")
}
