//! Peers that come too many, stay too long, say nothing, read nothing or talk
//! nonsense: each is let go, and others are served meanwhile.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use sortie_frontend::config::ConfigDuration;
use sortie_proto::v1;
use sortie_server::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status};

use crate::support::{
    Client, Running,
    admin::{Admin, serve_with_admin},
    config, plain, raw, refused, text,
};

/// A limit that the bad peer of a test meets soon, and a good one never, be the machine as busy as it may.
const SHORT: ConfigDuration = ConfigDuration::millis(500);

/// What opens HTTP/2: the preface and empty SETTINGS.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn serve(change: impl FnOnce(&mut ServerConfig)) -> (Running, Client, Admin) {
    let mut config = config(&["bert-rerank"]);
    change(&mut config);
    serve_with_admin(config).await
}

fn small() -> v1::RerankRequest {
    v1::RerankRequest { query: Some(text("w5")), documents: vec![text("w6")], ..Default::default() }
}

fn closed(reason: &str) -> String {
    format!("sortie_connections_closed_total{{reason=\"{reason}\"}}")
}

/// Waits until the server counted a connection closed for `reason`.
async fn until_closed(admin: &Admin, reason: &str) {
    while admin.metric(&closed(reason)).await < Some(1.0) {}
}

/// Reads until the server closes the connection.
async fn until_end(mut socket: TcpStream) {
    let mut rest = vec![];
    // A reset is an end too.
    drop(socket.read_to_end(&mut rest).await);
}

type Sender = h2::client::SendRequest<Bytes>;
type Connection = tokio::task::JoinHandle<Result<(), h2::Error>>;

async fn http2(server: &Running, builder: &mut h2::client::Builder) -> (Sender, Connection) {
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = builder.handshake(socket).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn headers(server: &Running, rpc: &str) -> http::Request<()> {
    http::Request::post(format!("http://{}/sortie.v1.EncoderService/{rpc}", server.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// A message as gRPC frames it.
fn framed(message: &impl prost::Message) -> Bytes {
    let bytes = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    frame.extend(bytes);
    frame.into()
}

#[tokio::test]
async fn a_connection_over_the_cap_is_closed_at_once() {
    let (server, mut client, admin) = serve(|c| c.frontend.max_connections = 1).await;
    // The client's own connection has the place.
    while client.rerank(small()).await.is_err() {}
    let over_limit = "sortie_connections_opened_total{result=\"over_limit\"}";
    let before = admin.metric(over_limit).await.unwrap();
    until_end(TcpStream::connect(server.address).await.unwrap()).await;
    admin.becomes(over_limit, before + 1.0).await;
    client.rerank(small()).await.unwrap();
    admin.becomes("sortie_connections", 1.0).await;
    // The place is given back.
    drop(client);
    admin.becomes("sortie_connections", 0.0).await;
    server.client().await.rerank(small()).await.unwrap();
}

#[tokio::test]
async fn an_aged_connection_finishes_its_requests_and_takes_no_new_ones() {
    let (server, _client, admin) = serve(|c| c.frontend.max_connection_age = ConfigDuration::secs(1)).await;
    let (sender, connection) = http2(&server, &mut h2::client::Builder::new()).await;
    let mut sender = sender.ready().await.unwrap();
    let (answer, mut body) = sender.send_request(headers(&server, "Rerank"), false).unwrap();
    // GOAWAY says that no more streams are taken.
    loop {
        match sender.ready().await {
            Err(error) => {
                assert!(error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR), "{error}");
                break;
            }
            Ok(again) => sender = again,
        }
        tokio::task::yield_now().await;
    }
    body.send_data(framed(&small()), true).unwrap();
    let answer = answer.await.unwrap();
    assert!(Status::from_header_map(answer.headers()).is_none(), "{:?}", answer.headers());
    let mut stream = answer.into_body();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(stream.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    drop(stream);
    connection.await.unwrap().unwrap();
    until_closed(&admin, "age").await;
}

#[tokio::test]
async fn an_aged_connection_is_cut_after_the_grace() {
    let (server, _client, admin) = serve(|c| {
        (c.frontend.max_connection_age, c.frontend.max_connection_age_grace) =
            (ConfigDuration::millis(200), ConfigDuration::millis(200));
    })
    .await;
    let channel = server.channel().await;
    let held = raw::call(channel, "Rerank", stream::pending()).await.unwrap_err();
    assert!([Code::Unavailable, Code::Unknown, Code::Cancelled].contains(&held.code()), "{held:?}");
    until_closed(&admin, "age").await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go() {
    let (server, mut client, admin) = serve(|c| c.frontend.handshake_timeout = SHORT).await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(&OPENING[..10]).await.unwrap();
    until_end(silent).await;
    until_end(half).await;
    while admin.metric(&closed("stalled")).await < Some(2.0) {}
    client.rerank(small()).await.unwrap();
}

#[tokio::test]
async fn a_half_open_connection_is_found_by_pings() {
    let (server, mut client, admin) =
        serve(|c| (c.frontend.keepalive_interval, c.frontend.keepalive_timeout) = (SHORT, SHORT)).await;
    let mut dead = TcpStream::connect(server.address).await.unwrap();
    dead.write_all(OPENING).await.unwrap();
    // It answers neither SETTINGS nor pings.
    until_end(dead).await;
    until_closed(&admin, "error").await;
    client.rerank(small()).await.unwrap();
}

#[tokio::test]
async fn nonsense_ends_its_connection_only() {
    let (server, mut client, _admin) = serve(|_| {}).await;
    for nonsense in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0; 4_096], &[0x16, 3, 1, 2, 0]] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(nonsense).await.unwrap();
        socket.shutdown().await.unwrap();
        until_end(socket).await;
    }
    // A frame longer than the server said it takes.
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(OPENING).await.unwrap();
    socket.write_all(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]).await.unwrap();
    until_end(socket).await;
    client.rerank(small()).await.unwrap();
}

#[tokio::test]
async fn a_message_that_trickles_is_given_up() {
    let (server, mut client, _admin) = serve(|c| c.frontend.request_read_timeout = SHORT).await;
    let error = raw::call(server.channel().await, "Rerank", stream::pending()).await;
    refused(error, plain(Code::DeadlineExceeded, "REQUEST_TOO_SLOW"), &["500 ms", "request_read_timeout"]);
    client.rerank(small()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_takes_no_answer_is_cut() {
    let (server, mut client, admin) = serve(|c| c.frontend.response_write_timeout = SHORT).await;
    let (sender, connection) = http2(&server, h2::client::Builder::new().initial_window_size(0)).await;
    let mut sender = sender.ready().await.unwrap();
    let (answer, mut body) = sender.send_request(headers(&server, "Rerank"), false).unwrap();
    body.send_data(framed(&small()), true).unwrap();
    let _unread = answer.await.unwrap();
    // Cut, with or without a word.
    drop(connection.await.unwrap());
    until_closed(&admin, "stalled").await;
    // One that has nothing to take stays.
    client.rerank(small()).await.unwrap();
    assert_eq!(admin.metric(&closed("stalled")).await, Some(1.0));
}

#[tokio::test]
async fn headers_over_the_limit_are_refused_alone() {
    let (server, _client, _admin) = serve(|c| c.frontend.max_header_bytes = 2_048).await;
    let (sender, _connection) = http2(&server, &mut h2::client::Builder::new()).await;
    let mut sender = sender.ready().await.unwrap();
    let mut large = headers(&server, "Probe");
    large.headers_mut().insert("x-large", "x".repeat(4_096).parse().unwrap());
    let (answer, _) = sender.send_request(large, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let mut sender = sender.ready().await.unwrap();
    let (answer, mut body) = sender.send_request(headers(&server, "Probe"), false).unwrap();
    body.send_data(framed(&v1::ProbeRequest::default()), true).unwrap();
    assert!(Status::from_header_map(answer.await.unwrap().headers()).is_none());
}

#[tokio::test]
async fn callers_are_told_how_many_streams_there_may_be() {
    let (server, mut client, _admin) = serve(|c| c.frontend.max_concurrent_streams = 7).await;
    let (mut sender, _connection) = http2(&server, &mut h2::client::Builder::new()).await;
    while sender.current_max_send_streams() != 7 {
        sender = sender.ready().await.unwrap();
        tokio::task::yield_now().await;
    }
    // More calls than streams wait in the client, and all are answered.
    let calls = (0..50).map(|_| {
        let mut client = client.clone();
        async move { client.rerank(small()).await }
    });
    assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
    client.rerank(small()).await.unwrap();
}

/// A stop tells every connection to go elsewhere and finishes what is under way.
#[tokio::test]
async fn a_stop_says_goaway_and_finishes() {
    let (mut server, _client, _admin) = serve(|_| {}).await;
    let (sender, connection) = http2(&server, &mut h2::client::Builder::new()).await;
    let mut sender = sender.ready().await.unwrap();
    // The server has taken the connection once it answered on it.
    let (answer, mut body) = sender.send_request(headers(&server, "ListModels"), false).unwrap();
    body.send_data(framed(&v1::ListModelsRequest {}), true).unwrap();
    answer.await.unwrap();
    let mut sender = sender.ready().await.unwrap();
    let (answer, mut body) = sender.send_request(headers(&server, "ListModels"), false).unwrap();
    server.stop();
    while let Ok(again) = sender.ready().await {
        assert!(!connection.is_finished(), "the connection was cut");
        sender = again;
        tokio::task::yield_now().await;
    }
    body.send_data(framed(&v1::ListModelsRequest {}), true).unwrap();
    assert!(Status::from_header_map(answer.await.unwrap().headers()).is_none());
    tokio::time::timeout(Duration::from_secs(60), server.task).await.unwrap().unwrap().unwrap();
}
