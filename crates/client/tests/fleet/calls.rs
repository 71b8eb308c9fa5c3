//! What a client is made of, what calls carry, and calls that are not cut.

use std::time::Duration;

use crate::common::{begin, builder, connect, fleet};
use sortie_client::{Client, ErrorKind, Input, KeptFormat, Lane, Role, Task, Tls, TokenIds, WindowScore, Windows};
use sortie_testkit::{TestServer, texts, windows_of};

fn assert_shareable<T: Clone + Send + Sync + 'static>(_: &T) {}

#[tokio::test]
async fn every_call_carries_what_was_asked_for() {
    let server = TestServer::start().await.unwrap();
    let client = begin()
        .endpoint(server.address())
        .model("m")
        .lane(Lane::Bulk)
        .tenant("acme")
        .bearer_token("secret")
        .user_agent("tests/1")
        .default_deadline(Duration::from_secs(700))
        .connect()
        .await
        .unwrap();
    assert_shareable(&client);
    client.rerank("q", ["d"]).await.unwrap();
    client
        .embed([Input::from("t"), ("a", "b").into(), TokenIds::new([1, 2]).into()])
        .model("m")
        .lane(Lane::Interactive)
        .tenant("other")
        .job_id("j7")
        .traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .deadline(Duration::from_secs(300))
        .await
        .unwrap();
    let calls = server.calls();
    let seen = |index: usize| {
        let call = &calls[index];
        [&call.model, &call.lane, &call.tenant, &call.authorization].map(String::as_str)
    };
    assert_eq!(seen(0), ["m", "bulk", "acme", "Bearer secret"]);
    assert_eq!(seen(1), ["m", "interactive", "other", "Bearer secret"]);
    assert_eq!((calls[1].job_id.as_str(), calls[1].traceparent.len()), ("j7", 55));
    assert_eq!(calls[1].texts, ["t", "a\u{1f}b", "[1, 2]"]);
    assert_eq!(calls[0].user_agent, "tests/1");
    let told = |index: usize| calls[index].timeout.unwrap();
    assert!((Duration::from_secs(600)..=Duration::from_secs(700)).contains(&told(0)));
    assert!((Duration::from_secs(200)..=Duration::from_secs(300)).contains(&told(1)));
    // The token is nowhere to be read.
    assert!(!format!("{client:?}").contains("secret"));
}

#[tokio::test]
async fn windows_are_told_in_request_order_however_a_job_is_cut() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    let documents: Vec<String> = texts(3, 60);
    let windows: Vec<u32> = documents.iter().map(|text| windows_of(text)).collect();
    assert!(windows.iter().any(|&n| n > 1));
    let long = Windows::new(16).score(WindowScore::Mean);
    let answer = client.rerank("q", &documents).windows(long).await.unwrap();
    assert_eq!(answer.report.windows, windows);
    let answer = client.embed(&documents).windows(16).await.unwrap();
    assert_eq!(answer.report.windows, windows);
    assert!(client.rerank("q", &documents).await.unwrap().report.windows.is_empty());
}

#[tokio::test]
async fn token_vectors_are_kept_and_sent_back_as_documents() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    let answer = client.embed_tokens(["a", "b"]).role(Role::Document).keep(KeptFormat::F32).await.unwrap();
    let kept: Vec<_> = answer.kept.into_iter().map(Option::unwrap).collect();
    assert!(answer.matrices.is_empty() && kept[0].rows() == 1 && kept[0].dimensions() == 2);
    let read = client.embed_tokens(["a", "b"]).role(Role::Document).await.unwrap();
    let again: Vec<Input> = read.matrices.iter().map(|matrix| matrix.as_ref().unwrap().into()).collect();
    client.rerank("q", kept.into_iter().map(Input::from)).await.unwrap();
    client.rerank("q", again).await.unwrap();
    let calls = servers[0].calls();
    let sent: Vec<_> = calls.iter().filter(|call| call.rpc == "Rerank").map(|call| &call.texts).collect();
    assert_eq!(sent[0], sent[1]);
    assert!(sent[0][0].contains("dimensions: 2"), "{}", sent[0][0]);
}

#[tokio::test]
async fn models_and_loads_are_told_by_server() {
    let mut servers = fleet(2).await;
    let client = connect(&servers).await;
    let model = client.get_model().await.unwrap();
    assert_eq!((model.name.as_str(), model.task, model.max_length), ("m", Task::Rerank, 512));
    assert_eq!(client.get_model().model("x").await.unwrap_err().kind(), ErrorKind::NotFound);

    servers[1].load(|load| load.queue_wait_ms = 12.5);
    let loads = client.probe().await.unwrap();
    assert_eq!(loads[1].result.as_ref().unwrap().queue_wait, Duration::from_micros(12_500));
    assert_eq!(loads[0].result.as_ref().unwrap().replica, servers[0].replica());

    servers[0].kill().await;
    let lists = client.list_models().await.unwrap();
    let endpoints: Vec<_> = lists.iter().map(|answer| answer.endpoint.as_str()).collect();
    assert_eq!(endpoints, client.endpoints());
    assert_eq!(lists[0].result.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(lists[1].result.as_ref().unwrap()[0].name, "m");
    // The dead one is asked first, the other answers.
    assert_eq!(client.get_model().await.unwrap().name, "m");
}

#[tokio::test]
async fn connecting_needs_one_server_that_knows_the_model() {
    let mut servers = fleet(2).await;
    servers[0].kill().await;
    let builder = builder(&servers);
    builder.clone().connect().await.unwrap();
    let error = builder.clone().model("x").connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    servers[1].kill().await;
    assert_eq!(builder.connect().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_builder_names_what_is_wrong_without_a_runtime() {
    let endpoint = || Client::builder().endpoint("127.0.0.1:1");
    let mut dispatch = sortie_client::DispatchConfig::default();
    dispatch.plan.max_chunks = 0;
    let table = [
        (Client::builder().build(), "endpoints: name at least one"),
        (Client::builder().endpoint("http://[::1").build(), "endpoint \"http://[::1\""),
        (Client::builder().endpoint("ftp://x").build(), "neither http nor https"),
        (endpoint().default_deadline(Duration::ZERO).build(), "default_deadline"),
        (endpoint().connections_per_endpoint(0, 1).build(), "connections_per_endpoint"),
        (endpoint().user_agent("a\nb").build(), "user agent"),
        (endpoint().bearer_token("a\nb").build(), "bearer_token"),
        (endpoint().tls(Tls::new().ca("no certificate")).build(), "ca holds no certificate"),
        (endpoint().tls(Tls::new().identity("x", "y")).build(), "identity is no certificate and key"),
        (Client::builder().endpoint("http://x").tls(Tls::new()).build(), "the address says http"),
        (endpoint().dispatch(dispatch).build(), "dispatch: plan.max_chunks"),
    ];
    for (built, want) in table {
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(want), "{error} lacks {want}");
    }
    let client = endpoint().endpoint("http://127.0.0.1:1").endpoint("https://b:2").build().unwrap();
    assert_eq!(client.endpoints(), ["http://127.0.0.1:1", "https://b:2"]);
}
