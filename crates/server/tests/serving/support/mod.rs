//! Shared by the server's tests: a real server on a free loopback port, a client
//! of it, tiny models from the project's oracle, and spoilt copies of them.

pub(crate) mod admin;
pub(crate) mod cases;
pub(crate) mod folder;
pub(crate) mod raw;

use std::{net::SocketAddr, path::PathBuf};

use prost::Message as _;
use sortie_frontend::{DOMAIN, config::FrontendConfig};
use sortie_proto::{
    metadata::{ORCA, PUSHBACK},
    orca::OrcaLoadReport,
    v1::{Input, ItemError, ItemInfo, TextPair, TokenIds, encoder_service_client::EncoderServiceClient, input::Kind},
};
use sortie_server::{ServerConfig, ServerExit, config::ModelSpec};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::{Code, Status, metadata::MetadataMap, transport::Channel};
use tonic_types::StatusExt as _;

pub(crate) type Client = EncoderServiceClient<Channel>;

/// A tiny model folder with its expected outputs.
pub(crate) fn oracle(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny").join(name)
}

/// A model to serve.
pub(crate) fn spec(name: &str, folder: impl Into<PathBuf>) -> ModelSpec {
    let path = folder.into().to_str().unwrap().to_owned();
    ModelSpec { name: name.to_owned(), path, max_length: None, pooling: None, prefer_onnx: false, onnx_file: None }
}

/// A configuration of tiny models under their own names.
pub(crate) fn config(models: &[&str]) -> ServerConfig {
    let models = models.iter().map(|name| spec(name, oracle(name))).collect();
    let frontend = FrontendConfig { replica: "r1".to_owned(), ..FrontendConfig::default() };
    ServerConfig { frontend, models, threads: 1, ..ServerConfig::default() }
}

/// The same with other settings of the frontend.
pub(crate) fn with_frontend(models: &[&str], change: impl FnOnce(&mut FrontendConfig)) -> ServerConfig {
    let mut config = config(models);
    change(&mut config.frontend);
    config
}

/// A server that runs in this process.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) task: JoinHandle<Result<(), ServerExit>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    /// Starts it and waits until it serves.
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(sortie_server::serve(listener, config, async {
            let _ = stopped.await;
        }));
        let mut running = Self { address, task, stop: Some(stop) };
        // The listener is bound, so connecting waits until the server accepts.
        let connected = Channel::from_shared(format!("http://{address}")).unwrap().connect().await;
        if connected.is_err() {
            panic!("the server did not start: {:?}", (&mut running.task).await);
        }
        running
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        let limit = usize::MAX;
        let channel = self.channel().await;
        EncoderServiceClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit)
    }

    /// Asks it to stop.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap();
        }
    }
}

/// A server of tiny models with default limits, and a client of it.
pub(crate) async fn serve(models: &[&str]) -> (Running, Client) {
    serve_with(config(models)).await
}

/// A server and a client of it.
pub(crate) async fn serve_with(config: ServerConfig) -> (Running, Client) {
    let running = Running::start(config).await;
    let client = running.client().await;
    (running, client)
}

/// What a file says, once it is there.
pub(crate) async fn read_soon(path: &std::path::Path) -> String {
    loop {
        if let Ok(text) = std::fs::read_to_string(path) {
            break text.trim().to_owned();
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) fn text(text: impl Into<String>) -> Input {
    Input { kind: Some(Kind::Text(text.into())) }
}

pub(crate) fn pair(first: impl Into<String>, second: impl Into<String>) -> Input {
    Input { kind: Some(Kind::Pair(TextPair { first: first.into(), second: second.into() })) }
}

pub(crate) fn ids(ids: &[u32], type_ids: &[u32]) -> Input {
    Input { kind: Some(Kind::Tokens(TokenIds { ids: ids.to_vec(), type_ids: type_ids.to_vec() })) }
}

pub(crate) fn unset() -> Input {
    Input { kind: None }
}

/// What a refusal must be.
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: &'static str,
    pub(crate) field: Option<&'static str>,
}

/// `INVALID_ARGUMENT` at a field.
pub(crate) fn bad(reason: &'static str, field: &'static str) -> Refusal {
    Refusal { code: Code::InvalidArgument, reason, field: Some(field) }
}

/// A refusal without a field.
pub(crate) fn plain(code: Code, reason: &'static str) -> Refusal {
    Refusal { code, reason, field: None }
}

/// Checks code, reason, domain and field, and that the sentence holds each of `words`.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>, want: Refusal, words: &[&str]) -> Status {
    let status = result.unwrap_err();
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    let field = details.bad_request().map(|b| b.field_violations[0].field.as_str());
    assert_eq!(
        (status.code(), info.reason.as_str(), info.domain.as_str(), field),
        (want.code, want.reason, DOMAIN, want.field),
        "{}",
        status.message()
    );
    for word in words {
        assert!(status.message().contains(word), "{word:?} is not in {:?}", status.message());
    }
    status
}

/// The pushback of a refusal.
pub(crate) fn pushback(status: &Status) -> Option<i64> {
    status.metadata().get(PUSHBACK).map(|v| v.to_str().unwrap().parse().unwrap())
}

/// The load report among trailers.
pub(crate) fn report(metadata: &MetadataMap) -> Option<OrcaLoadReport> {
    metadata.get_bin(ORCA).map(|v| OrcaLoadReport::decode(v.to_bytes().unwrap()).unwrap())
}

/// The items that failed, as (index, reason).
pub(crate) fn failed(items: &Option<ItemInfo>) -> Vec<(u32, &str)> {
    let errors: &[ItemError] = items.as_ref().map_or(&[], |i| &i.errors);
    errors.iter().map(|e| (e.index, e.reason.as_str())).collect()
}

/// `|got − want| ≤ tolerance · max(1, |want|)` for each number.
#[track_caller]
pub(crate) fn close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: how many numbers");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}: number {i} is {g}, not {w}");
    }
}
