//! One test a row of `docs/errors.md`: what time or another server cures.

use std::time::Duration;

use crate::support::{config, plain, pushback, refused, report, serve_with, text};
use futures::{StreamExt as _, stream};
use prost::Message as _;
use sortie_proto::v1;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

/// A job of about `documents` × 190 tokens.
fn job(documents: usize) -> v1::RerankRequest {
    let documents = vec![text("w6 ".repeat(186)); documents];
    v1::RerankRequest { query: Some(text("w5")), documents, ..Default::default() }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|i| i.reason.clone()).unwrap_or_default()
}

/// Keeps `width` jobs of `documents` under way, with `timeout`, until one is refused with `wanted`.
async fn flood_until(
    config: sortie_server::ServerConfig,
    documents: usize,
    timeout: Option<Duration>,
    wanted: &str,
) -> Status {
    let (_server, client) = serve_with(config).await;
    let calls = stream::repeat_with(|| {
        let mut client = client.clone();
        async move {
            let mut request = Request::new(job(documents));
            timeout.into_iter().for_each(|t| request.set_timeout(t));
            client.rerank(request).await.err()
        }
    });
    let mut refusals = calls.buffer_unordered(16).filter_map(async |refusal| refusal).boxed();
    while let Some(status) = refusals.next().await {
        if reason(&status) == wanted {
            return status;
        }
        // The client's own timer has no reason to give.
        let other = reason(&status);
        let fine = ["QUEUE_FULL", "DEADLINE_TOO_SHORT", "DEADLINE_EXCEEDED", "WAIT_TOO_LONG"].contains(&other.as_str());
        assert!(fine || status.code() == Code::Cancelled, "{other}: {}", status.message());
    }
    unreachable!("the flood does not end")
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_full() {
    let mut config = config(&["bert-rerank"]);
    (config.max_batch_tokens, config.max_queue_tokens) = (2048, 2048);
    let status = flood_until(config, 8, None, "QUEUE_FULL").await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(pushback(&status).unwrap() >= 0 && status.get_details_retry_info().is_some(), "{status:?}");
    assert!(status.message().contains("of 2048"), "{}", status.message());
    assert!(report(status.metadata()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_too_short() {
    let timeout = Duration::from_millis(60);
    let status = flood_until(config(&["bert-rerank"]), 200, Some(timeout), "DEADLINE_TOO_SHORT").await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    // Waiting leaves even less time.
    assert_eq!(pushback(&status), Some(-1));
    assert!(report(status.metadata()).is_some(), "{status:?}");
}

/// Opens a Rerank over `sender` with more headers; its message is still to come.
async fn open(
    sender: &h2::client::SendRequest<bytes::Bytes>,
    address: std::net::SocketAddr,
    headers: &[(&str, &str)],
) -> (h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>) {
    let mut request = http::Request::post(format!("http://{address}/sortie.v1.EncoderService/Rerank"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender.clone().ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap()
}

/// What would be refused whatever it says is refused before its message is there.
#[tokio::test]
async fn a_request_without_a_chance_is_refused_unread() {
    let (server, mut client) = serve_with(config(&["bert-rerank"])).await;
    // The device has just run: what is known of it holds.
    client.rerank(job(1)).await.unwrap();
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let hint = [("grpc-timeout", "200m"), ("sortie-model", "bert-rerank"), ("sortie-tokens", "1000000")];
    let (answer, _message) = open(&sender, server.address, &hint).await;
    let status = Status::from_header_map(answer.await.unwrap().headers()).unwrap();
    let status = refused::<()>(Err(status), plain(Code::ResourceExhausted, "DEADLINE_TOO_SHORT"), &[]);
    assert_eq!(pushback(&status), Some(-1));
    assert!(report(status.metadata()).is_some());
    connection.abort();
}

#[tokio::test]
async fn connection_full() {
    let mut config = config(&["bert-rerank"]);
    (config.frontend.max_message_bytes, config.frontend.max_connection_bytes, config.max_text_bytes) =
        (1 << 20, 1 << 20, 1 << 20);
    let (server, _client) = serve_with(config).await;
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    // Two messages of a million bytes, of which two thirds come.
    let mut part = vec![0, 0, 0x0f, 0x42, 0x40];
    part.resize(660_000, b' ');
    let mut answers = Vec::new();
    let mut messages = Vec::new();
    for _ in 0..2 {
        let (answer, mut message) = open(&sender, server.address, &[]).await;
        message.send_data(bytes::Bytes::from(part.clone()), false).unwrap();
        answers.push(answer);
        messages.push(message);
    }
    let (first, _, _) = futures::future::select_all(answers).await;
    let status = Status::from_header_map(first.unwrap().headers()).unwrap();
    let want = plain(Code::ResourceExhausted, "CONNECTION_FULL");
    let status = refused::<()>(Err(status), want, &["max_connection_bytes"]);
    assert_eq!(pushback(&status), Some(50));
    connection.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_too_long() {
    let mut config = config(&["bert-rerank"]);
    config.max_queue_wait = sortie_frontend::config::ConfigDuration(Duration::from_millis(5));
    let status = flood_until(config, 200, None, "WAIT_TOO_LONG").await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(pushback(&status).unwrap() > 0 && report(status.metadata()).is_some(), "{status:?}");
}

/// tonic's client has a timer of its own for the same header, so this speaks HTTP/2 itself. The
/// message never comes: what runs out is the time to read it.
#[tokio::test]
async fn deadline_exceeded() {
    let (server, _client) = serve_with(config(&["bert-rerank"])).await;
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/sortie.v1.EncoderService/Rerank", server.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "300m")
        .body(())
        .unwrap();
    let (answer, _body) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    let status = Status::from_header_map(answer.await.unwrap().headers()).unwrap();
    let status = refused::<()>(Err(status), plain(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), &[]);
    assert!(pushback(&status).is_none());
    assert!(report(status.metadata()).is_some(), "there is one model only");
    connection.abort();
}

/// A chunk whose deadline passes while it waits or runs.
#[tokio::test(flavor = "multi_thread")]
async fn deadline_exceeded_under_way() {
    let (_server, mut client) = serve_with(config(&["bert-rerank"])).await;
    let mut request = Request::new(job(5_000));
    request.set_timeout(Duration::from_millis(40));
    let status = client.rerank(request).await.unwrap_err();
    // The client's own timer may be the first to run out.
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()), "{status:?}");
    // What was queued is gone with it: the queue empties without running a million tokens.
    loop {
        let report = client.probe(v1::ProbeRequest::default()).await.unwrap().into_inner().report.unwrap();
        if report.queued_tokens == 0 && report.running_tokens == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn too_many_requests() {
    let mut config = config(&["bert-rerank"]);
    config.frontend.max_concurrent_requests = 1;
    let (server, mut client) = serve_with(config).await;
    let (held, status) = crate::support::raw::hold(server.channel().await).await;
    let want = plain(Code::ResourceExhausted, "TOO_MANY_REQUESTS");
    let status = refused::<()>(Err(status), want, &["max_concurrent_requests is 1"]);
    assert_eq!(pushback(&status), Some(50));
    // Looking is still possible.
    client.probe(v1::ProbeRequest::default()).await.unwrap();
    client.list_models(v1::ListModelsRequest {}).await.unwrap();
    // The place is given back when the request ends.
    drop(held.end);
    refused(held.call.await.unwrap(), plain(Code::InvalidArgument, "UNDECODABLE"), &[]);
    client.rerank(job(1)).await.unwrap();
}

#[tokio::test]
async fn draining() {
    let (mut server, _client) = serve_with(config(&["bert-rerank"])).await;
    // This request's headers arrive before the stop, its message after.
    let (send, message) = futures::channel::oneshot::channel::<Vec<u8>>();
    let body = stream::once(async move { message.await.unwrap() });
    let channel = server.channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let late = tokio::spawn(crate::support::raw::call(channel, "Rerank", body));
    let watch = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(watch).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1, "SERVING");
    server.stop();
    // The stream says NOT_SERVING and ends once no more work is taken.
    let mut last = 1;
    while let Ok(Some(message)) = watch.message().await {
        last = message.status;
    }
    assert_eq!(last, 2, "NOT_SERVING");
    send.send(job(1).encode_to_vec()).unwrap();
    let status = refused(late.await.unwrap(), plain(Code::Unavailable, "DRAINING"), &[]);
    assert_eq!(pushback(&status), Some(0));
    let load = report(status.metadata()).unwrap();
    assert_eq!(load.named_metrics["sortie.state"], f64::from(v1::ModelState::Draining as i32));
    server.task.await.unwrap().unwrap();
}
