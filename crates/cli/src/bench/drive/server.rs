//! One server as hand-written strategies know it: connections, and what of ours it has.
//!
//! Invariant: what an attempt adds to the counts it takes away again, however it ends.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sortie_proto::v1::encoder_service_client::EncoderServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::exit::CommandFailure;

/// Connections to each server, as the client library has by default.
const CONNECTIONS: usize = sortie_client::DEFAULT_CONNECTIONS_PER_ENDPOINT;

/// A server.
#[derive(Debug)]
pub(super) struct BaselineServer {
    address: String,
    stubs: Vec<EncoderServiceClient<Channel>>,
    next: AtomicUsize,
    requests: AtomicU64,
    tokens: AtomicU64,
}

impl BaselineServer {
    /// Reads its address; connects when first needed. These strategies speak plain text only.
    pub(super) fn new(address: &str) -> Result<Self, CommandFailure> {
        let full = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let bad = |why: &str| CommandFailure::usage(format!("--endpoint {address}: {why}"));
        if !full.starts_with("http://") {
            return Err(bad("only the strategy sortie speaks anything but http"));
        }
        let endpoint = Endpoint::from_shared(full.clone()).map_err(|_| bad("is no address of a server"))?;
        let endpoint = endpoint
            .connect_timeout(sortie_client::DEFAULT_CONNECT_TIMEOUT)
            .http2_keep_alive_interval(sortie_client::DEFAULT_KEEPALIVE_INTERVAL)
            .keep_alive_timeout(sortie_client::DEFAULT_KEEPALIVE_TIMEOUT)
            .initial_stream_window_size(1 << 21)
            .initial_connection_window_size(1 << 21)
            .tcp_nodelay(true);
        let stub = || {
            EncoderServiceClient::new(endpoint.connect_lazy())
                .max_decoding_message_size(sortie_client::DEFAULT_MAX_MESSAGE_BYTES)
                .max_encoding_message_size(sortie_client::DEFAULT_MAX_MESSAGE_BYTES)
        };
        Ok(Self {
            address: full,
            stubs: (0..CONNECTIONS).map(|_| stub()).collect(),
            next: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
        })
    }

    /// Its address, with the scheme.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Requests of ours in flight.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Tokens of ours in flight.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// A connection, in turn, and the place of a request of `tokens` tokens.
    pub(super) fn take(&self, tokens: u64) -> Option<(EncoderServiceClient<Channel>, InFlightRequest<'_>)> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let stub = self.stubs.get(turn % self.stubs.len().max(1))?.clone();
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
        Some((stub, InFlightRequest { server: self, tokens }))
    }
}

/// A request in flight until dropped.
#[derive(Debug)]
pub(super) struct InFlightRequest<'a> {
    server: &'a BaselineServer,
    tokens: u64,
}

impl Drop for InFlightRequest<'_> {
    fn drop(&mut self) {
        self.server.requests.fetch_sub(1, Ordering::Relaxed);
        self.server.tokens.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_in_flight_comes_back() {
        let server = BaselineServer::new("127.0.0.1:1").unwrap();
        let one = server.take(5);
        let two = server.take(7);
        assert_eq!((server.requests(), server.tokens()), (2, 12));
        drop((one, two));
        assert_eq!((server.requests(), server.tokens()), (0, 0));
        assert!(BaselineServer::new("https://127.0.0.1:1").is_err());
    }
}
