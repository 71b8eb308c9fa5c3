//! Default settings, each with the reason for its value.

use std::time::Duration;

/// Deadline of a call that sets none: long enough for a large job on one small CPU server, short enough that a caller
/// who forgot to set a deadline does not wait for ever.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

/// Time to make a connection. Within a data centre a second is thousands of round trips, and one
/// lost SYN (retransmitted after 1 s) is better answered by another server.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the first job of a model waits until servers have described the model and their load: enough for a
/// connection and a round trip within a region, and little compared with the first batch of a cold server.
pub const DEFAULT_DESCRIBE_TIMEOUT: Duration = Duration::from_millis(100);

/// HTTP/2 connections to each server: two halve what a large answer holds up, and cost little.
pub const DEFAULT_CONNECTIONS_PER_ENDPOINT: usize = 2;

/// Most HTTP/2 connections to each server: more are made, one by one, while every stream of the
/// others is taken (gRFC A105).
pub const DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT: usize = 4;

/// Most calls at once on a connection, where the server does not allow fewer: the least that HTTP/2
/// recommends to servers (RFC 9113, 6.5.2), and what proxies commonly allow. A hundred chunks on one
/// connection are no longer served side by side anyway.
pub const DEFAULT_STREAMS_PER_CONNECTION: usize = 100;

/// How often a connection with calls on it is pinged: the least that gRPC allows a client (gRFC A8).
///
/// Idle connections are not pinged unless asked for: gRFC A8 asks clients not to, and gRPC servers
/// and proxies that enforce it (by default, one ping in five minutes) close the connection with
/// `too_many_pings`. What an idle connection needs, to be kept open by what is in between and to be
/// found dead in the end, TCP keepalive does.
pub const DEFAULT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long a ping may go unanswered before its connection counts as lost.
pub const DEFAULT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest message either way: what a server takes by default.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 64 << 20;
