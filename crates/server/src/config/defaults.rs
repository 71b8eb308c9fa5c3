//! Every default of the server, with its reason. [`super::Config`] is built from these alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Loopback: a server is not offered to a network by accident.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);

/// The one device of this version.
pub const DEVICE: &str = "cpu";

/// 0 lets ONNX Runtime take one thread a core.
pub const THREADS: usize = 0;

/// 0 takes one tokenizing thread a core: tokenizing runs ahead of the device and the two share the machine.
pub const TOKENIZE_THREADS: usize = 0;

/// Tokens in one batch. On a CPU batches of about a thousand tokens did better than larger ones
/// (`cargo xtask bench cpu`), as good as smaller ones, and make a new caller wait less.
pub const MAX_BATCH_TOKENS: u32 = 1_024;

/// Tokens that may wait: about two minutes of a small CPU's work, or forty jobs of 200 pairs. A
/// caller with a deadline is refused long before.
pub const MAX_QUEUE_TOKENS: u64 = 1 << 20;

/// Items in one request: far above any rerank list, low enough that per-item bookkeeping stays in
/// the megabytes.
pub const MAX_ITEMS: u32 = 10_000;

/// Bytes of one message either way. Above `MAX_TEXT_BYTES`, so that one huge document is that
/// document's error and not the request's.
pub const MAX_MESSAGE_BYTES: u64 = 64 << 20;

/// Bytes of one text: about 250,000 tokens, more than any encoder reads.
pub const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Requests worked on at once. The queue is bounded in tokens; this bounds the messages held.
pub const MAX_CONCURRENT_REQUESTS: u32 = 1_024;

/// Lines for people; `json` is for programs.
pub const LOG_FORMAT: super::LogFormat = super::LogFormat::Text;

/// One line a start-up fact, none a request.
pub const LOG_FILTER: &str = "info";

/// How long requests in flight may take after a signal; orchestrators commonly kill at 30 s.
pub const SHUTDOWN_GRACE_MS: u64 = 25_000;

/// How long requests are still taken after a signal, for endpoint lists to catch up. 0 suits
/// clients that watch health, as sortie-client does.
pub const DRAIN_DELAY_MS: u64 = 0;

/// A few batches before the first caller's, so that the first estimates of waiting are measured.
pub const WARM_UP: bool = true;

/// Standard services are on: probes and grpcurl should just work.
pub const HEALTH: bool = true;

/// See [`HEALTH`].
pub const REFLECTION: bool = true;

/// Idle connections are pinged this often, so that a dead peer is noticed before the usual
/// five-minute idle cut of network boxes. Not configurable.
pub const HTTP2_KEEPALIVE_MS: u64 = 60_000;

/// A ping that is not answered for this long ends the connection.
pub const HTTP2_KEEPALIVE_TIMEOUT_MS: u64 = 20_000;
