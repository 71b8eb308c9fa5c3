//! Every default of [`super::FrontendConfig`], with its reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{ConfigDuration, LogFormat};

/// Loopback: a server is not offered to a network by accident.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);

/// Bytes of one message either way. Above `MAX_TEXT_BYTES`, so that one huge document is that
/// document's error and not the request's.
pub const MAX_MESSAGE_BYTES: u64 = 64 << 20;

/// Messages of one connection's requests: two of the largest, or a thousand rerank chunks of 130 kB. Whoever may
/// connect can make the server hold as many for each connection.
pub const MAX_CONNECTION_BYTES: u64 = 128 << 20;

/// Requests worked on at once. The queue is bounded in tokens; this bounds the messages held.
pub const MAX_CONCURRENT_REQUESTS: u32 = 1_024;

/// Lines for people; `json` is for programs.
pub const LOG_FORMAT: LogFormat = LogFormat::Text;

/// One line a start-up fact, none a request.
pub const LOG_FILTER: &str = "info";

/// How long requests are still taken after a signal, for endpoint lists to catch up. None suits
/// clients that watch health, as sortie-client does; behind a load balancer it is the time that one
/// takes to notice, commonly 5 to 15 s.
pub const DRAIN_GRACE: ConfigDuration = ConfigDuration::secs(0);

/// How long requests in flight may take once no more are taken. Orchestrators commonly kill 30 s
/// after the signal: this and [`DRAIN_GRACE`] stay below.
pub const DRAIN_TIMEOUT: ConfigDuration = ConfigDuration::secs(25);

/// Standard services are on: probes and grpcurl should just work.
pub const HEALTH: bool = true;

/// See [`HEALTH`].
pub const REFLECTION: bool = true;

/// How often files are looked at: certificates are changed days before they end, and a key that was
/// withdrawn should not work for long.
pub const RELOAD_INTERVAL: ConfigDuration = ConfigDuration::secs(10);

/// Connections open at once. An idle one takes about 20 KiB, one that sent large frames or stopped within its headers
/// up to half a MiB; a thousand services with four each fit. `ulimit -n` must allow as many; the server raises its soft
/// limit to the hard one.
pub const MAX_CONNECTIONS: u32 = 4_096;

/// Requests under way on one connection: all that may be worked on at once, so that a single client
/// can fill an otherwise idle server.
pub const MAX_CONCURRENT_STREAMS: u32 = MAX_CONCURRENT_REQUESTS;

/// Bytes of one request's headers: hyper's default, twice what gRPC's own libraries allow.
pub const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Half an hour: long enough to cost nothing, short enough that clients behind a load balancer
/// find new servers, and that withdrawn client certificates end.
pub const MAX_CONNECTION_AGE: ConfigDuration = ConfigDuration::secs(1_800);

/// Longer than any sensible request.
pub const MAX_CONNECTION_AGE_GRACE: ConfigDuration = ConfigDuration::secs(120);

/// Silent connections are pinged this often, so that a dead peer is noticed before the usual
/// five-minute idle cut of network boxes.
pub const KEEPALIVE_INTERVAL: ConfigDuration = ConfigDuration::secs(60);

/// A ping that is not answered for this long ends the connection (gRPC's own default).
pub const KEEPALIVE_TIMEOUT: ConfigDuration = ConfigDuration::secs(20);

/// A handshake takes a few round trips; ten seconds are lost packets and a busy machine.
pub const HANDSHAKE_TIMEOUT: ConfigDuration = ConfigDuration::secs(10);

/// The largest message at 20 Mbit/s.
pub const REQUEST_READ_TIMEOUT: ConfigDuration = ConfigDuration::secs(30);

/// A peer that takes less than a kilobyte in this time is not reading.
pub const RESPONSE_WRITE_TIMEOUT: ConfigDuration = ConfigDuration::secs(60);

/// As TEI does, and as everybody who indexes documents expects; the answer says which were cut.
pub const HTTP_TRUNCATE: bool = true;

/// Most callers that send ids made them with another model's vocabulary, which gives wrong vectors without a word.
pub const HTTP_TOKEN_IDS: bool = false;

/// Whoever opens the address of a server wants to see what it is; strangers are kept out by where it listens and by keys.
pub const PAGE: bool = true;
