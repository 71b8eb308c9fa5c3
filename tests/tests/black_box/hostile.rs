//! Peers that break the rules: garbage, oversized frames, headers and messages, answers that nobody reads.

use std::time::Duration;

use bytes::Bytes;
use h2::client;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::Server;

/// Memory that bad peers may cost.
const MOST_MIB: f64 = 100.0;

/// The HTTP/2 preface and empty SETTINGS (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Longest wait for the server to close a connection that broke the rules.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends bytes and reads until the server closes, which it must.
async fn closes(server: &Server, said: &[u8]) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may close before everything is said.
    let _ = stream.write_all(said).await;
    let mut heard = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    assert!(ended.is_ok(), "a connection that broke the rules stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_closes_its_own_connection_only() {
    let mut server = Server::start(1.0, 1.0, &[]).await;
    let mut old = server.client().await;
    let memory = server.memory();
    let mut rng = StdRng::seed_from_u64(7);
    for n in 0..60 {
        let mut said: Vec<u8> = if n % 2 == 0 { Vec::new() } else { PREFACE.to_vec() };
        // A reserved frame type would be ignored, as it must be, so garbage begins with one that cannot be right: DATA
        // of stream 0, or no preface at all.
        said.extend([0, 0, 1, 0, 0, 0, 0, 0, 0]);
        said.extend((0..rng.random_range(1..20_000)).map(|_| rng.random::<u8>()));
        closes(&server, &said).await;
    }
    server.is_well(&mut old).await;
    assert!(server.memory() - memory < MOST_MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_frames_are_refused() {
    let mut server = Server::start(1.0, 1.0, &[]).await;
    let mut old = server.client().await;
    let memory = server.memory();
    for kind in [0, 1, 4, 9] {
        // The longest length there is, of a kind that must fit SETTINGS_MAX_FRAME_SIZE.
        let head = [0xff, 0xff, 0xff, kind, 0, 0, 0, 0, u8::from(kind != 4)];
        closes(&server, &[PREFACE, &head, &[0; 40_000]].concat()).await;
    }
    server.is_well(&mut old).await;
    assert!(server.memory() - memory < MOST_MIB);
}

/// A connection on which nothing is right but HTTP/2 itself.
async fn connect(server: &Server, window: u32) -> client::SendRequest<Bytes> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut builder = client::Builder::new();
    builder.initial_window_size(window);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(async move {
        // It ends as the test wants it to.
        let _ = connection.await;
    });
    sender.ready().await.unwrap()
}

fn post(server: &Server, rpc: &str) -> http::request::Builder {
    http::Request::post(format!("http://{}/sortie.v1.EncoderService/{rpc}", server.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_headers_are_refused() {
    let mut server = Server::start(1.0, 1.0, &[]).await;
    let mut old = server.client().await;
    let memory = server.memory();
    for _ in 0..20 {
        let mut sender = connect(&server, 65_535).await;
        let mut request = post(&server, "Probe");
        for n in 0..64 {
            request = request.header(format!("x-filler-{n}"), "x".repeat(8_000));
        }
        let (answer, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
        match timeout(PATIENCE, answer).await.expect("half a megabyte of headers gets an answer") {
            Ok(response) => assert!(!response.status().is_success(), "{response:?}"),
            Err(error) => assert!(error.is_reset() || error.is_go_away() || error.is_io(), "{error}"),
        }
    }
    server.is_well(&mut old).await;
    assert!(server.memory() - memory < MOST_MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_lie_or_are_no_messages_are_refused() {
    let mut server = Server::start(1.0, 1.0, &[]).await;
    let mut old = server.client().await;
    let memory = server.memory();
    let mut rng = StdRng::seed_from_u64(7);
    let noise: Vec<u8> = (0..500).map(|_| rng.random()).collect();
    let framed = |length: u32, message: &[u8]| [&[0][..], &length.to_be_bytes(), message].concat();
    let bodies = [
        // Four gigabytes announced, little sent; compressed with nothing; garbage; half a frame.
        framed(u32::MAX, b"short"),
        [&[1][..], &4_u32.to_be_bytes(), b"none"].concat(),
        framed(500, &noise),
        vec![0, 0, 0],
        framed(0, b""),
    ];
    for body in bodies {
        let mut sender = connect(&server, 65_535).await;
        let (answer, mut send) = sender.send_request(post(&server, "Rerank").body(()).unwrap(), false).unwrap();
        send.send_data(body.into(), true).unwrap();
        let response = timeout(PATIENCE, answer).await.expect("a bad message gets an answer").unwrap();
        let code = response.headers().get("grpc-status").map(|code| code.as_bytes().to_vec());
        assert!(code.is_some_and(|code| code != b"0"), "a trailers-only refusal says its code");
    }
    server.is_well(&mut old).await;
    assert!(server.memory() - memory < MOST_MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_hold_nobody_up() {
    use prost::Message as _;
    use sortie_proto::v1::{Input, RerankRequest, input::Kind};

    let mut server = Server::start(1.0, 0.0, &[]).await;
    let mut old = server.client().await;
    let memory = server.memory();
    let text = |text: &str| Input { kind: Some(Kind::Text(text.to_owned())) };
    let documents = vec![text("d"); 5_000];
    let message = RerankRequest { query: Some(text("q")), documents, ..RerankRequest::default() }.encode_to_vec();
    let body = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
    let mut waiting = Vec::new();
    for _ in 0..40 {
        // A window of one byte: the answer's 40 kB stay with the server.
        let mut sender = connect(&server, 1).await;
        let (answer, mut send) = sender.send_request(post(&server, "Rerank").body(()).unwrap(), false).unwrap();
        send.send_data(body.clone().into(), true).unwrap();
        let response = timeout(PATIENCE, answer).await.expect("its headers come").unwrap();
        waiting.push((sender, response));
    }
    server.is_well(&mut old).await;
    let grown = server.memory() - memory;
    assert!(grown < MOST_MIB, "{grown:.0} MiB for answers that nobody reads");
}
