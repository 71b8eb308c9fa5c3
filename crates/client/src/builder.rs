//! How a client is made. Every default is a constant here, with its reason.

use std::{collections::HashSet, fmt, time::Duration};

use sortie_dispatch::Config as DispatchConfig;

use crate::{
    channel::{Server, Tls, Transport},
    client::{Client, Defaults},
    error::{Error, ErrorKind},
    greet::Patience,
    metadata::{self, Lane},
};

/// Time a call has unless it says otherwise: a large job on one small CPU server ends within it, a
/// caller that forgot to say is not kept for ever.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

/// Time to make a connection. Within a data centre a second is thousands of round trips, and one
/// lost SYN (retransmitted after 1 s) is better answered by another server.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the first job of a model waits for servers to introduce themselves: a connection and a
/// round trip within a region, and little beside a cold server's first batch.
pub const DEFAULT_GREETING: Duration = Duration::from_millis(100);

/// HTTP/2 connections to each server: two halve what a large answer holds up, and cost little.
pub const DEFAULT_CONNECTIONS_PER_ENDPOINT: usize = 2;

/// How often an open connection is pinged: the least that gRPC servers take unasked (gRFC A8).
pub const DEFAULT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long a ping may go unanswered before its connection counts as lost.
pub const DEFAULT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest message either way: what a server takes by default.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Makes a [`Client`]; from [`Client::builder`].
///
/// ```
/// # fn main() -> Result<(), sortie_client::Error> {
/// use std::time::Duration;
/// let client = sortie_client::Client::builder()
///     .endpoints(["http://127.0.0.1:50051", "http://127.0.0.1:50052"])
///     .model("reranker")
///     .default_deadline(Duration::from_secs(2))
///     .build()?;
/// assert_eq!(client.endpoints().count(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    model: String,
    deadline: Duration,
    lane: Lane,
    tenant: Option<String>,
    bearer_token: Option<String>,
    greeting: Duration,
    transport: Transport,
    dispatch: DispatchConfig,
}

/// Says where it leads; the bearer token never shows.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("endpoints", &self.endpoints)
            .field("model", &self.model)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            model: String::new(),
            deadline: DEFAULT_DEADLINE,
            lane: Lane::default(),
            tenant: None,
            bearer_token: None,
            greeting: DEFAULT_GREETING,
            transport: Transport {
                tls: None,
                connect_timeout: DEFAULT_CONNECT_TIMEOUT,
                keepalive_interval: DEFAULT_KEEPALIVE_INTERVAL,
                keepalive_timeout: DEFAULT_KEEPALIVE_TIMEOUT,
                user_agent: concat!("sortie-client/", env!("CARGO_PKG_VERSION")).to_owned(),
                connections: DEFAULT_CONNECTIONS_PER_ENDPOINT,
                max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            },
            dispatch: DispatchConfig::default(),
        }
    }
}

impl ClientBuilder {
    /// Adds a server: `http://host:port`, `https://host:port`, or `host:port`, which is `https`
    /// where [`ClientBuilder::tls`] is set.
    pub fn endpoint(mut self, address: impl Into<String>) -> Self {
        self.endpoints.push(address.into());
        self
    }

    /// Adds several servers.
    pub fn endpoints<I>(mut self, addresses: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.endpoints.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Names the model to ask where a call names none. Servers of one model need no name.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = name.into();
        self
    }

    /// Gives calls so much time where they do not say ([`DEFAULT_DEADLINE`]).
    pub fn default_deadline(mut self, within: Duration) -> Self {
        self.deadline = within;
        self
    }

    /// Puts calls in this lane where they do not say.
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// Says who pays where a call does not.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sends `authorization: Bearer …` with every call.
    ///
    /// # Notes
    ///
    /// The token travels in the clear where the address says `http`.
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.bearer_token = Some(token.into());
        self
    }

    /// Sets certificates up. Addresses with `https` need none of it where the server's certificate
    /// is of a well-known authority.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.transport.tls = Some(tls);
        self
    }

    /// Gives a connection so long to be made ([`DEFAULT_CONNECT_TIMEOUT`]).
    pub fn connect_timeout(mut self, within: Duration) -> Self {
        self.transport.connect_timeout = within;
        self
    }

    /// Lets the first job of a model wait so long to learn of the servers' limits and costs, and
    /// [`ClientBuilder::connect`] so much longer than a connection takes ([`DEFAULT_GREETING`]).
    pub fn greeting(mut self, within: Duration) -> Self {
        self.greeting = within;
        self
    }

    /// Makes so many connections to each server ([`DEFAULT_CONNECTIONS_PER_ENDPOINT`]).
    pub fn connections_per_endpoint(mut self, connections: usize) -> Self {
        self.transport.connections = connections;
        self
    }

    /// Pings connections this often, and gives them up after that long without an answer
    /// ([`DEFAULT_KEEPALIVE_INTERVAL`], [`DEFAULT_KEEPALIVE_TIMEOUT`]).
    ///
    /// # Notes
    ///
    /// Servers may close a connection that pings more often than they like.
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.transport.keepalive_interval = interval;
        self.transport.keepalive_timeout = timeout;
        self
    }

    /// Sends and takes messages of at most so many bytes ([`DEFAULT_MAX_MESSAGE_BYTES`]). A server
    /// that says it takes less is sent less.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.transport.max_message_bytes = bytes;
        self
    }

    /// Says who calls, before tonic's own name.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.transport.user_agent = name.into();
        self
    }

    /// Sets how jobs are cut and placed.
    pub fn dispatch(mut self, config: DispatchConfig) -> Self {
        self.dispatch = config;
        self
    }

    /// Makes the client. Nothing is connected: that happens when the first call needs it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the setting named.
    pub fn build(self) -> Result<Client, Error> {
        let config = |message: &str| Err(Error::new(ErrorKind::Config, message));
        if self.endpoints.is_empty() {
            return config("endpoints: name at least one");
        }
        if self.deadline.is_zero() {
            return config("default_deadline: is zero");
        }
        if self.transport.connections == 0 {
            return config("connections_per_endpoint: is zero");
        }
        let mut dispatch = self.dispatch;
        dispatch.limits.max_message_bytes = self.transport.max_message_bytes as u64;
        if let Err(error) = dispatch.validate() {
            return Err(Error::new(ErrorKind::Config, format!("dispatch: {error}")).with_source(error));
        }
        let mut servers = Vec::with_capacity(self.endpoints.len());
        let mut seen = HashSet::new();
        for address in &self.endpoints {
            let server = Server::new(address, &self.transport)?;
            if seen.insert(server.address().to_owned()) {
                servers.push(server);
            }
        }
        let defaults = Defaults {
            model: self.model,
            deadline: self.deadline,
            lane: self.lane,
            tenant: self.tenant.as_deref().map(|tenant| metadata::value("tenant", tenant)).transpose()?,
            authorization: self.bearer_token.as_deref().map(metadata::bearer).transpose()?,
        };
        let patience = Patience { connect: self.transport.connect_timeout, greeting: self.greeting };
        Ok(Client::new(servers, defaults, patience, dispatch))
    }

    /// Makes the client and asks every server for its model and load, so that the first job is
    /// already cut by their real costs.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::build`]; and the last refusal, where no server answers.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.build()?;
        client.greet().await?;
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let (token, key) = ("t0ken-of-mine", "k3y-of-mine");
        let tls = Tls::new().identity("certificate", key);
        let builder = ClientBuilder::default().endpoint("host:1").bearer_token(token).tls(tls.clone());
        // Bytes may also show as numbers.
        let numbers = format!("{:?}", key.as_bytes());
        for shown in [format!("{tls:?}"), format!("{builder:?}")] {
            assert!(shown.contains("identity: true"), "{shown}");
            for secret in [token, key, &numbers] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}
