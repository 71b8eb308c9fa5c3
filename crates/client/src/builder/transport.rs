//! How connections are made and used.

use std::time::Duration;

use super::ClientBuilder;
#[cfg(doc)]
use super::{
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_CONNECTIONS_PER_ENDPOINT, DEFAULT_KEEPALIVE_INTERVAL, DEFAULT_KEEPALIVE_TIMEOUT,
    DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT, DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_STREAMS_PER_CONNECTION,
};
use crate::compression::Compression;
#[cfg(doc)]
use crate::error::ErrorKind;

impl ClientBuilder {
    /// Sets how long it may take to make a connection ([`DEFAULT_CONNECT_TIMEOUT`]).
    pub fn connect_timeout(mut self, within: Duration) -> Self {
        self.transport.connect_timeout = within;
        self
    }

    /// Sets how many connections are made to each server ([`DEFAULT_CONNECTIONS_PER_ENDPOINT`]). While every stream
    /// of them is taken, more are made, up to `most` ([`DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT`]).
    pub fn connections_per_endpoint(mut self, connections: usize, most: usize) -> Self {
        self.transport.connections = connections;
        self.transport.max_connections = most;
        self
    }

    /// Sets how many calls a connection carries at once ([`DEFAULT_STREAMS_PER_CONNECTION`]), or fewer where the
    /// server allows fewer. A call for which no server has a free stream fails with [`ErrorKind::Overloaded`]; it
    /// never waits unseen.
    pub fn streams_per_connection(mut self, streams: usize) -> Self {
        self.transport.max_streams = streams;
        self
    }

    /// Compresses messages, both ways. Not by default.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.transport.compression = Some(compression);
        self
    }

    /// Pings connections that have calls on them this often, and gives them up after that long without an answer
    /// ([`DEFAULT_KEEPALIVE_INTERVAL`], [`DEFAULT_KEEPALIVE_TIMEOUT`]).
    ///
    /// # Notes
    ///
    /// Servers may close a connection that pings more often than they like; see
    /// [`DEFAULT_KEEPALIVE_INTERVAL`].
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.transport.keepalive_interval = interval;
        self.transport.keepalive_timeout = timeout;
        self
    }

    /// Pings connections that have no calls on them too ([`DEFAULT_KEEPALIVE_INTERVAL`] says why that is
    /// off by default).
    pub fn keepalive_while_idle(mut self, ping: bool) -> Self {
        self.transport.keepalive_while_idle = ping;
        self
    }

    /// Sets the largest message that is sent or accepted, in bytes ([`DEFAULT_MAX_MESSAGE_BYTES`]). A server that
    /// accepts less is sent less.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.transport.max_message_bytes = bytes;
        self
    }

    /// Sets the user agent that is sent, in front of tonic's own.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.transport.user_agent = name.into();
        self
    }
}
