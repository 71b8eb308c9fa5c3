//! How a client is made. Every default is a constant here, with its reason.

use std::{collections::HashSet, fmt, future::Future, path::PathBuf, sync::Arc, time::Duration};

use sortie_dispatch::Config as DispatchConfig;

use crate::{
    client::{Client, Defaults, Peers, Setup},
    compression::Compression,
    credentials::Credentials,
    discovery::Discovery,
    error::{Error, ErrorKind},
    greet::Patience,
    metadata::{self, Lane},
    trace_context::{Propagator, TraceContext},
    transport::{Address, Tls, Transport, redact},
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
/// assert_eq!(client.endpoints().len(), 2);
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
    hedging: bool,
    tenant: Option<String>,
    token: Token,
    propagator: Option<Propagator>,
    discoveries: Vec<Discovery>,
    peers: Option<Peers>,
    greeting: Duration,
    transport: Transport,
    dispatch: DispatchConfig,
}

/// A bearer token as it was given: checked when the client is built.
#[derive(Clone)]
enum Token {
    Text(String),
    Source(Credentials),
}

/// Says where it leads; no token shows, and no user name or password of an address.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<String> = self.endpoints.iter().map(|address| redact(address)).collect();
        f.debug_struct("ClientBuilder")
            .field("endpoints", &endpoints)
            .field("discoveries", &self.discoveries)
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
            hedging: true,
            tenant: None,
            token: Token::Source(Credentials::None),
            propagator: None,
            discoveries: Vec::new(),
            peers: None,
            greeting: DEFAULT_GREETING,
            transport: Transport {
                tls: None,
                connect_timeout: DEFAULT_CONNECT_TIMEOUT,
                keepalive_interval: DEFAULT_KEEPALIVE_INTERVAL,
                keepalive_timeout: DEFAULT_KEEPALIVE_TIMEOUT,
                user_agent: concat!("sortie-client/", env!("CARGO_PKG_VERSION")).to_owned(),
                keepalive_while_idle: false,
                connections: DEFAULT_CONNECTIONS_PER_ENDPOINT,
                max_connections: DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT,
                max_streams: DEFAULT_STREAMS_PER_CONNECTION,
                compression: None,
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

    /// Adds the servers that a discovery finds, as it finds them.
    ///
    /// # Notes
    ///
    /// An address that several sources name is one server, and leaves with the source that named it
    /// first. Fixed endpoints never leave.
    pub fn discovery(mut self, discovery: Discovery) -> Self {
        self.discoveries.push(discovery);
        self
    }

    /// Tells this client from its likes, and how many there are: of a source with more than
    /// a hundred servers it then uses a part, the same each time, chosen
    /// so that together the clients use all servers evenly. That keeps connections few; without it
    /// every client connects to every server.
    ///
    /// ```
    /// # fn main() -> Result<(), sortie_client::Error> {
    /// let fleet = (0..1_000).map(|i| format!("http://10.0.{}.{}:50051", i / 250, i % 250));
    /// let client = sortie_client::Client::builder().endpoints(fleet).peers("search-api-7", 50).build()?;
    /// assert_eq!(client.endpoints().len(), 120);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Notes
    ///
    /// A pod's name serves well. The number may be rough.
    pub fn peers(mut self, name: impl Into<String>, clients: usize) -> Self {
        self.peers = Some(Peers { name: name.into(), clients });
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

    /// Says whether parts that are late may be sent to another server as well, where a call does not
    /// say. They are by default: at most a twentieth of the tokens are spent on it.
    pub fn hedging(mut self, hedging: bool) -> Self {
        self.hedging = hedging;
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
        self.token = Token::Text(token.into());
        self
    }

    /// Sends the bearer token that stands in a file, which is read again every
    /// [`crate::TOKEN_FILE_PERIOD`]: Kubernetes rotates the tokens that it mounts.
    ///
    /// ```
    /// # fn main() -> Result<(), sortie_client::Error> {
    /// let client = sortie_client::Client::builder()
    ///     .endpoint("https://models.internal:50051")
    ///     .bearer_token_file("/var/run/secrets/tokens/sortie")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn bearer_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Token::Source(Credentials::file(path.into()));
        self
    }

    /// Asks for the bearer token at the start of every call. A failure is the call's, of kind
    /// [`ErrorKind::Unauthenticated`].
    ///
    /// ```
    /// # async fn fetch() -> Result<String, std::io::Error> { Ok("token".to_owned()) }
    /// # fn main() -> Result<(), sortie_client::Error> {
    /// let client = sortie_client::Client::builder()
    ///     .endpoint("https://models.internal:50051")
    ///     .bearer_token_from(|| async { fetch().await })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Notes
    ///
    /// It is asked each time: keep a token that still holds.
    pub fn bearer_token_from<F, Fut, E>(mut self, provide: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.token = Token::Source(Credentials::provider(provide));
        self
    }

    /// Says how the W3C trace context is got out of a span, so that servers' spans join the trace. It
    /// is asked for every attempt, with that attempt's span; a call's own
    /// [`crate::Call::traceparent`] goes first.
    ///
    /// With OpenTelemetry (`tracing-opentelemetry`, `opentelemetry`):
    ///
    /// ```text
    /// .trace_context(|span| {
    ///     let context = span.context();
    ///     let span = context.span().span_context().clone();
    ///     span.is_valid().then(|| {
    ///         let flags = span.trace_flags().to_u8();
    ///         TraceContext::new(format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id()))
    ///             .with_tracestate(span.trace_state().header())
    ///     })
    /// })
    /// ```
    pub fn trace_context<F>(mut self, extract: F) -> Self
    where
        F: Fn(&tracing::Span) -> Option<TraceContext> + Send + Sync + 'static,
    {
        self.propagator = Some(Propagator(Arc::new(extract)));
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

    /// Makes so many connections to each server ([`DEFAULT_CONNECTIONS_PER_ENDPOINT`]), and up to
    /// `most` while every stream of the others is taken ([`DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT`]).
    pub fn connections_per_endpoint(mut self, connections: usize, most: usize) -> Self {
        self.transport.connections = connections;
        self.transport.max_connections = most;
        self
    }

    /// Has at most so many calls at once on a connection ([`DEFAULT_STREAMS_PER_CONNECTION`]), and
    /// fewer where the server says so. A call for which no server has a stream is refused, of kind
    /// [`ErrorKind::Overloaded`]; it never waits unseen.
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

    /// Makes the client. Nothing is connected: that happens when the first call needs it, and goes on
    /// in the background from then on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the setting named.
    pub fn build(self) -> Result<Client, Error> {
        let config = |message: &str| Err(Error::new(ErrorKind::Config, message));
        let Transport { connections, max_connections, max_streams, .. } = self.transport;
        if self.endpoints.is_empty() && self.discoveries.is_empty() {
            return config("endpoints: name at least one, or a discovery");
        }
        if self.deadline.is_zero() {
            return config("default_deadline: is zero");
        }
        if self.transport.connect_timeout.is_zero() {
            return config("connect_timeout: is zero");
        }
        if connections == 0 {
            return config("connections_per_endpoint: is zero");
        }
        if max_connections < connections {
            return config("connections_per_endpoint: the most are fewer than the usual");
        }
        if max_streams == 0 {
            return config("streams_per_connection: is zero");
        }
        let mut dispatch = self.dispatch;
        dispatch.limits.max_message_bytes = self.transport.max_message_bytes as u64;
        if let Err(error) = dispatch.validate() {
            return Err(Error::new(ErrorKind::Config, format!("dispatch: {error}")).with_source(error));
        }
        let tls = self.transport.tls.is_some();
        let mut addresses = Vec::with_capacity(self.endpoints.len());
        let mut seen = HashSet::new();
        for address in &self.endpoints {
            let address = Address::parse(address, tls)?;
            if seen.insert(address.as_str().to_owned()) {
                addresses.push(address);
            }
        }
        for discovery in &self.discoveries {
            discovery.check(tls)?;
        }
        let credentials = match self.token {
            Token::Text(token) => Credentials::Fixed(metadata::bearer(&token)?),
            Token::Source(credentials) => credentials,
        };
        let defaults = Defaults {
            model: self.model,
            deadline: self.deadline,
            lane: self.lane,
            hedging: self.hedging,
            tenant: self.tenant.as_deref().map(|tenant| metadata::value("tenant", tenant)).transpose()?,
            credentials,
            propagator: self.propagator,
        };
        let setup = Setup {
            defaults,
            tls: Arc::new(self.transport.tls.clone().unwrap_or_default().config()?),
            patience: Patience { connect: self.transport.connect_timeout, greeting: self.greeting },
            transport: self.transport,
            dispatch,
            discoveries: self.discoveries,
            peers: self.peers,
        };
        Client::new(setup, addresses)
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
        let address = format!("http://me:{token}@host:1");
        let builder = ClientBuilder::default().endpoint(address).bearer_token(token).tls(tls.clone());
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
