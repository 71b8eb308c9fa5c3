//! Connections to one server, as people make them by hand.

use std::sync::atomic::{AtomicUsize, Ordering};

use sortie_proto::v1::encoder_service_client::EncoderServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::bench::target::BenchError;

/// Connections to each server, as the client library has by default.
const CONNECTIONS: usize = sortie_client::DEFAULT_CONNECTIONS_PER_ENDPOINT;

/// A server.
#[derive(Debug)]
pub(super) struct BaselineServer {
    address: String,
    stubs: Vec<EncoderServiceClient<Channel>>,
    next: AtomicUsize,
}

impl BaselineServer {
    /// Reads its address; connects when first needed. These strategies speak plain text only.
    pub(super) fn new(address: &str) -> Result<Self, BenchError> {
        let full = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let bad = |why: &str| BenchError::Usage(format!("--endpoint {address}: {why}"));
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
        Ok(Self { address: full, stubs: (0..CONNECTIONS).map(|_| stub()).collect(), next: AtomicUsize::new(0) })
    }

    /// Its address, with the scheme.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A connection, in turn.
    pub(super) fn stub(&self) -> Option<EncoderServiceClient<Channel>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.stubs.get(turn % self.stubs.len().max(1)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_plain_text_is_spoken() {
        assert_eq!(BaselineServer::new("127.0.0.1:1").unwrap().address(), "http://127.0.0.1:1");
        assert!(BaselineServer::new("https://127.0.0.1:1").is_err());
    }
}
