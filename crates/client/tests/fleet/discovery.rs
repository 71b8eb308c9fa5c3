//! Servers that come and go: names that are looked up, and lists that the program feeds.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use crate::common::{begin, builder, fleet, until};
use parking_lot::Mutex;
use sortie_client::{Client, Discovery, ErrorKind};
use sortie_testkit::{Gate, Reply, TestServer, score_of, texts};
use tokio::sync::watch;

/// A name service of one name.
#[derive(Clone, Default)]
struct Names {
    answer: Arc<Mutex<Option<Vec<SocketAddr>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    fn set(&self, servers: &[&TestServer]) {
        *self.answer.lock() = Some(servers.iter().map(|server| server.socket()).collect());
    }

    fn fail(&self) {
        *self.answer.lock() = None;
    }

    fn rounds(&self) -> usize {
        self.asked.lock().len()
    }

    fn discovery(&self) -> Discovery {
        let names = self.clone();
        let lookup = move |name: String| {
            let names = names.clone();
            async move {
                names.asked.lock().push(name);
                let answer = names.answer.lock().clone();
                answer.ok_or_else(|| io::Error::other("no such name"))
            }
        };
        Discovery::lookup("models.internal:50051", lookup).every(Duration::from_millis(10))
    }
}

fn client(discovery: Discovery) -> Client {
    begin().discovery(discovery).build().expect("settings are right")
}

async fn rounds(names: &Names, more: usize) {
    let goal = names.rounds() + more;
    until(|| names.rounds() >= goal).await;
}

#[tokio::test]
async fn a_name_that_changes_moves_the_work_and_drains_what_left() {
    let servers = fleet(3).await;
    let names = Names::default();
    names.set(&[&servers[0]]);
    let client = client(names.discovery());
    client.rerank("q", ["d"]).await.unwrap();
    assert_eq!(client.endpoints(), [servers[0].address()]);
    assert_eq!(names.asked.lock()[0], "models.internal:50051");

    // A call is under way while the name moves on: it ends where it is.
    let gate = Gate::new();
    servers[0].always(Reply::answer().gated(&gate));
    let running = tokio::spawn(client.rerank("q", ["late"]).hedging(false).into_future());
    gate.entered(1).await;
    names.set(&[&servers[1], &servers[2]]);
    until(|| client.endpoints() == [servers[1].address(), servers[2].address()]).await;
    let before = servers[0].calls().len();
    for seed in 0..4 {
        let answer = client.rerank("q", texts(seed, 60)).await.unwrap();
        // Numbers of servers that left are not given to others: answers are of who was asked.
        for chunk in &answer.report.chunks {
            let server = servers.iter().find(|server| server.address() == chunk.endpoint).unwrap();
            assert_eq!(chunk.replica, server.replica());
        }
    }
    assert_eq!(servers[0].calls().len(), before);
    gate.open();
    assert_eq!(running.await.unwrap().unwrap().scores, [Some(score_of("late"))]);
    // One that joins gets work.
    until(|| !servers[1].calls().is_empty() || !servers[2].calls().is_empty()).await;
}

#[tokio::test]
async fn a_name_service_that_fails_changes_nothing() {
    let servers = fleet(1).await;
    let names = Names::default();
    names.set(&[&servers[0]]);
    let client = client(names.discovery());
    client.rerank("q", ["d"]).await.unwrap();
    names.fail();
    rounds(&names, 3).await;
    client.rerank("q", ["d"]).await.unwrap();
    // Nor one that has forgotten everybody.
    names.set(&[]);
    rounds(&names, 3).await;
    client.rerank("q", ["d"]).await.unwrap();
    assert_eq!(client.endpoints(), [servers[0].address()]);
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_named() {
    let names = Names::default();
    let client = client(names.discovery());
    let error = client.rerank("q", ["d"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("models.internal:50051: no such name"), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_list_that_the_program_feeds_is_followed() {
    let servers = fleet(2).await;
    let address = |index: usize| servers[index].address();
    let (feed, list) = watch::channel(Vec::new());
    let client = client(Discovery::watch(list));
    // The call waits for the first server.
    let waiting = tokio::spawn(client.rerank("q", ["d"]).into_future());
    feed.send(vec![address(0), "ftp://nonsense".to_owned()]).unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(client.endpoints(), [address(0)]);
    feed.send(vec![address(1)]).unwrap();
    until(|| client.endpoints() == [address(1)]).await;
    client.rerank("q", ["d"]).await.unwrap();
    assert_eq!(servers[1].calls().len(), 1);
    // The last list stays when its sender goes.
    drop(feed);
    client.rerank("q", ["d"]).await.unwrap();
}

/// First contact: a connection is checked by one Probe, and only the first job of a model has it described.
#[tokio::test]
async fn a_server_is_asked_once_for_what_it_says_of_itself() {
    let servers = fleet(2).await;
    let (feed, list) = watch::channel(vec![servers[0].address()]);
    let client = builder(&[]).discovery(Discovery::watch(list)).connections_per_endpoint(1, 1).build().unwrap();
    client.rerank("q", ["d"]).await.unwrap();
    let asked = |index: usize| servers[index].first_contacts().into_iter().map(|call| call.rpc).collect::<Vec<_>>();
    assert_eq!(asked(0), ["Probe", "GetModel"]);
    // One that joins a fleet at work.
    feed.send(vec![servers[0].address(), servers[1].address()]).unwrap();
    until(|| client.stats().endpoints.iter().filter(|server| server.ready).count() == 2).await;
    assert_eq!(asked(1), ["Probe"]);
    assert!(client.stats().endpoints.iter().all(|server| !server.models.is_empty()), "{:?}", client.stats());
    client.rerank("q", texts(1, 60)).await.unwrap();
    assert_eq!((asked(0).len(), asked(1).len(), client.stats().counters.probes), (2, 1, 0));
}

#[tokio::test]
async fn fixed_servers_stay_whatever_a_discovery_says() {
    let servers = fleet(2).await;
    let (feed, list) = watch::channel(vec![servers[0].address(), servers[1].address()]);
    let client = begin().endpoint(servers[0].address()).discovery(Discovery::watch(list)).build().unwrap();
    client.rerank("q", ["d"]).await.unwrap();
    until(|| client.endpoints().len() == 2).await;
    feed.send(Vec::new()).unwrap();
    until(|| client.endpoints() == [servers[0].address()]).await;
}

#[test]
fn nonsense_is_refused_without_a_runtime() {
    let table = [
        (Discovery::dns("ftp://x:1"), "neither http nor https"),
        (Discovery::dns("me:pw@x:1"), "user name"),
        (Discovery::dns("x:1").every(Duration::ZERO), "period is zero"),
    ];
    for (discovery, want) in table {
        assert!(!format!("{discovery:?}").contains("pw@"), "{discovery:?}");
        let error = Client::builder().discovery(discovery).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(want), "{error}");
    }
}
