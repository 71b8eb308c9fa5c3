//! How a client is made. Every default is a constant in `defaults`, with its reason.

mod defaults;
mod security;
mod servers;
mod transport;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use sortie_dispatch::DispatchConfig;

pub use self::defaults::{
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_CONNECTIONS_PER_ENDPOINT, DEFAULT_DEADLINE, DEFAULT_DESCRIBE_TIMEOUT,
    DEFAULT_KEEPALIVE_INTERVAL, DEFAULT_KEEPALIVE_TIMEOUT, DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT,
    DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_STREAMS_PER_CONNECTION,
};
use crate::{
    client::Client,
    credentials::Credentials,
    discovery::Discovery,
    error::{Error, ErrorKind},
    first_contact::{self, ConnectionCheck},
    metadata::{self, Lane},
    metrics,
    options::Defaults,
    state::{ClientConfig, ClientState, SubsetConfig},
    trace_context::{Propagator, TraceContext},
    transport::{Address, Transport, redact},
};

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
    token: TokenSource,
    propagator: Option<Propagator>,
    discoveries: Vec<Discovery>,
    subset: Option<SubsetConfig>,
    describe_timeout: Duration,
    transport: Transport,
    dispatch: DispatchConfig,
}

/// A bearer token as it was given: checked when the client is built.
#[derive(Clone)]
enum TokenSource {
    Text(String),
    Source(Credentials),
}

/// Prints neither tokens nor the user name and password of an address.
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
            token: TokenSource::Source(Credentials::None),
            propagator: None,
            discoveries: Vec::new(),
            subset: None,
            describe_timeout: DEFAULT_DESCRIBE_TIMEOUT,
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

impl Client {
    /// Starts a client's configuration.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

impl ClientBuilder {
    /// Names the model to ask where a call names none. Servers of one model need no name.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = name.into();
        self
    }

    /// Sets the deadline of calls that set none, counted from their `.await` ([`DEFAULT_DEADLINE`]).
    pub fn default_deadline(mut self, within: Duration) -> Self {
        self.deadline = within;
        self
    }

    /// Sets the lane of calls that set none.
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// Switches hedging on or off for calls that do not choose: whether a chunk that is late may be sent to another
    /// server as well. It is on by default, and hedges add at most a twentieth of the tokens.
    pub fn hedging(mut self, hedging: bool) -> Self {
        self.hedging = hedging;
        self
    }

    /// Sets the tenant of calls that set none: whose fair share of a server they draw on.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sets the function that reads the W3C trace context of a span, so that the servers' spans join the trace. It is
    /// called for every attempt, with the span of that attempt. A call's own [`crate::Call::traceparent`] takes
    /// precedence.
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

    /// Sets how long the first job of a model waits for the servers' limits and costs ([`DEFAULT_DESCRIBE_TIMEOUT`]).
    /// [`ClientBuilder::connect`] waits this long in addition to the time that a connection may take.
    pub fn describe_timeout(mut self, within: Duration) -> Self {
        self.describe_timeout = within;
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
            TokenSource::Text(token) => Credentials::Fixed(metadata::bearer(&token)?),
            TokenSource::Source(credentials) => credentials,
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
        let config = ClientConfig {
            defaults,
            tls: Arc::new(self.transport.tls.clone().unwrap_or_default().config()?),
            describe_timeout: self.describe_timeout,
            transport: self.transport,
            dispatch,
            discoveries: self.discoveries,
            subset: self.subset,
        };
        metrics::describe();
        let state = ClientState::new(config, addresses, |weak| Arc::new(ConnectionCheck::new(weak)))?;
        Ok(Client::new(state))
    }

    /// Makes the client and asks every server for its model and load, so that the first job is
    /// already cut by their real costs.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::build`]; and the last server's error, where none describes the model.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.build()?;
        first_contact::describe_servers(client.state()).await?;
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Tls;

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
