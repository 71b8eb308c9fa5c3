//! What is spoken to one server: the same chunk of texts in every protocol, and one number a text back.
//!
//! | module | part |
//! |---|---|
//! | `protocol` | the protocols, and which tasks each has |
//! | `reply` | what an answer comes to, whoever gave it |
//! | `sortie` | sortie.v1 over the generated stubs |
//! | `tei` | tei.v1 over the generated stubs |
//! | `post`, `dialect` | HTTP, and the bodies of each dialect |
//!
//! Invariant: an answer has a place for every text that was sent. What a server left out, gave twice or gave as no number
//! is counted there and never made good.

mod dialect;
mod post;
mod protocol;
mod reply;
mod sortie;
mod tei;

pub use self::protocol::{BenchProtocol, BenchTask};
pub(crate) use self::reply::{WireFailure, WireReply, fingerprint};

use std::time::Duration;

use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::Endpoint,
};

use self::{post::HttpPoster, sortie::SortieStubs, tei::TeiStubs};
use super::target::{BenchError, BenchTarget};

/// Connections to each server, as the client library has by default.
const CONNECTIONS: usize = sortie_client::DEFAULT_CONNECTIONS_PER_ENDPOINT;

/// A chunk to be answered.
#[derive(Debug)]
pub(crate) struct WireCall<'a> {
    /// What is asked; without meaning where nothing is ranked.
    pub(crate) query: &'a str,
    /// The texts, in order.
    pub(crate) texts: Vec<&'a str>,
    /// Which attempt of its chunk it is, from 1.
    pub(crate) attempt: u32,
    /// Time that is left.
    pub(crate) timeout: Duration,
}

/// What every request carries.
#[derive(Clone, Debug)]
pub(crate) struct WireHeaders {
    model: String,
    task: BenchTask,
    lane: &'static str,
    tenant: Option<MetadataValue<Ascii>>,
    authorization: Option<MetadataValue<Ascii>>,
}

impl WireHeaders {
    /// Those of a target.
    pub(crate) fn new(target: &BenchTarget, task: BenchTask) -> Result<Self, BenchError> {
        let value = |flag: &str, text: &str| {
            MetadataValue::try_from(text).map_err(|_| BenchError::Usage(format!("{flag}: is no header value")))
        };
        let token = target.token.as_ref().map(|token| format!("Bearer {token}"));
        Ok(Self {
            model: target.model.clone(),
            task,
            lane: target.lane.name(),
            tenant: target.tenant.as_deref().map(|name| value("--tenant", name)).transpose()?,
            authorization: token.as_deref().map(|token| value("--token", token)).transpose()?,
        })
    }
}

/// One server, in one protocol.
#[derive(Debug)]
pub(crate) struct WireServer {
    address: String,
    wire: ServerWire,
}

#[derive(Debug)]
enum ServerWire {
    Sortie(SortieStubs),
    Tei(TeiStubs),
    Http(Box<HttpPoster>),
}

impl WireServer {
    /// Reads its address; connects when first needed. Plain text only.
    pub(crate) fn new(address: &str, protocol: BenchProtocol) -> Result<Self, BenchError> {
        let full = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let bad = |why: &str| BenchError::Usage(format!("--endpoint {address}: {why}"));
        if !full.starts_with("http://") {
            return Err(bad("only the client library (the strategies sortie and whole-job) speaks anything but http"));
        }
        let endpoint = Endpoint::from_shared(full.clone()).map_err(|_| bad("is no address of a server"))?;
        let wire = match protocol {
            BenchProtocol::Sortie => ServerWire::Sortie(SortieStubs::new(&tuned(endpoint))),
            BenchProtocol::TeiGrpc => ServerWire::Tei(TeiStubs::new(&tuned(endpoint))),
            http => ServerWire::Http(Box::new(HttpPoster::new(&full, http))),
        };
        Ok(Self { address: full, wire })
    }

    /// Its address, with the scheme.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Asks it. Dropping the future cancels the request.
    pub(crate) async fn call(&self, call: WireCall<'_>, headers: &WireHeaders) -> Result<WireReply, WireFailure> {
        match &self.wire {
            ServerWire::Sortie(stubs) => stubs.call(call, headers).await,
            ServerWire::Tei(stubs) => stubs.call(call, headers).await,
            ServerWire::Http(poster) => {
                let timeout = call.timeout;
                // Nobody but this client knows the deadline there.
                tokio::time::timeout(timeout, poster.call(call, headers)).await.unwrap_or(Err(WireFailure::deadline()))
            }
        }
    }
}

/// The client library's own settings of a connection.
fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(sortie_client::DEFAULT_CONNECT_TIMEOUT)
        .http2_keep_alive_interval(sortie_client::DEFAULT_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(sortie_client::DEFAULT_KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(1 << 21)
        .initial_connection_window_size(1 << 21)
        .tcp_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_plain_text_is_spoken() {
        for protocol in [BenchProtocol::Sortie, BenchProtocol::TeiGrpc, BenchProtocol::Tei] {
            assert_eq!(WireServer::new("127.0.0.1:1", protocol).unwrap().address(), "http://127.0.0.1:1");
            assert!(WireServer::new("https://127.0.0.1:1", protocol).is_err());
        }
    }

    #[tokio::test]
    async fn who_does_not_listen_is_unavailable_in_every_protocol() {
        let target = BenchTarget::for_tests("http://127.0.0.1:1");
        let headers = WireHeaders::new(&target, BenchTask::Rerank).unwrap();
        for protocol in [BenchProtocol::Sortie, BenchProtocol::TeiGrpc, BenchProtocol::Jina] {
            let server = WireServer::new("127.0.0.1:1", protocol).unwrap();
            let call = WireCall { query: "q", texts: vec!["d"], attempt: 1, timeout: Duration::from_secs(20) };
            assert_eq!(server.call(call, &headers).await.unwrap_err().word, "UNAVAILABLE", "{protocol:?}");
        }
    }
}
