//! The client: servers, defaults, and the fleet's state that all jobs share.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use sortie_dispatch::{DispatchConfig, EndpointId, Fleet, FleetEvent, Time, subset::subset};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    background::Background,
    builder::ClientBuilder,
    call::CallOptions,
    credentials::Credentials,
    discovery::{Discovery, DiscoveryStats},
    error::{Error, ErrorKind},
    handshake::ConnectionCheck,
    handshake::{ConnectTimeouts, KnownModels},
    metadata::{self, JobMetadata, Lane},
    metrics,
    stats::Stats,
    trace_context::Propagator,
    transport::{Address, Server, Transport},
};

/// Calls encoder models on a fleet of servers.
///
/// Cheap to clone: clones share connections and what was learned of the servers. The last clone that
/// goes takes the connections and everything that runs in the background with it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<ClientState>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.endpoints())
            .field("model", &self.inner.config.defaults.model)
            .finish_non_exhaustive()
    }
}

/// What a call takes where it does not say.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) model: String,
    pub(crate) deadline: Duration,
    pub(crate) lane: Lane,
    pub(crate) hedging: bool,
    pub(crate) tenant: Option<metadata::AsciiValue>,
    pub(crate) credentials: Credentials,
    pub(crate) propagator: Option<Propagator>,
}

/// What a client is made of.
#[derive(Debug)]
pub(crate) struct ClientConfig {
    pub(crate) defaults: Defaults,
    pub(crate) transport: Transport,
    /// TLS of every connection whose address says `https`.
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) connect_timeouts: ConnectTimeouts,
    pub(crate) dispatch: DispatchConfig,
    pub(crate) discoveries: Vec<Discovery>,
    /// Which part of a large fleet this client uses.
    pub(crate) subset: Option<SubsetConfig>,
}

/// A client's name among those that share a fleet, and how many there are.
#[derive(Clone, Debug)]
pub(crate) struct SubsetConfig {
    pub(crate) name: String,
    pub(crate) clients: usize,
}

impl ClientConfig {
    /// The servers of a large fleet that this client uses; all of a small one.
    pub(crate) fn choose(&self, addresses: Vec<Address>) -> Vec<Address> {
        let Some(SubsetConfig { name, clients }) = &self.subset else { return addresses };
        let names: Vec<&str> = addresses.iter().map(Address::as_str).collect();
        let chosen: HashSet<usize> = subset(name, *clients, &names).into_iter().collect();
        addresses.into_iter().enumerate().filter(|(place, _)| chosen.contains(place)).map(|(_, a)| a).collect()
    }
}

/// What clones share. Background tasks hold it weakly.
pub(crate) struct ClientState {
    config: ClientConfig,
    servers: RwLock<BTreeMap<EndpointId, Arc<Server>>>,
    /// Held for arithmetic only, never over an await.
    fleet: Mutex<Fleet>,
    /// The fleet's time is counted from here.
    origin: Instant,
    known_models: KnownModels,
    connection_check: Arc<ConnectionCheck>,
    background: Background,
    discovery_stats: watch::Sender<DiscoveryStats>,
    stop: CancellationToken,
}

impl Drop for ClientState {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Client {
    /// Starts a client's configuration.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client of these servers, and of those that its discoveries find.
    pub(crate) fn new(config: ClientConfig, addresses: Vec<Address>) -> Result<Self, Error> {
        let fleet = Mutex::new(Fleet::new(config.dispatch.clone(), 0, rand::random()));
        metrics::describe();
        let inner = Arc::new_cyclic(|weak| ClientState {
            config,
            servers: RwLock::default(),
            fleet,
            origin: Instant::now(),
            known_models: KnownModels::default(),
            connection_check: Arc::new(ConnectionCheck::new(weak.clone())),
            background: Background::default(),
            discovery_stats: watch::Sender::new(DiscoveryStats::default()),
            stop: CancellationToken::new(),
        });
        let client = Self { inner };
        for address in client.config().choose(addresses) {
            client.add(address)?;
        }
        Ok(client)
    }

    pub(crate) fn of(inner: Arc<ClientState>) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<ClientState> {
        &self.inner
    }

    /// Addresses of the servers, each once, in the order they became known.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.inner.servers.read().values().map(|server| server.address().to_owned()).collect()
    }

    /// What was learned of the servers, as it stands now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let servers = self.servers();
        Stats::new(&servers, &self.inner.fleet.lock(), self.now())
    }

    /// The servers, in the order they became known.
    pub(crate) fn servers(&self) -> Vec<(EndpointId, Arc<Server>)> {
        self.inner.servers.read().iter().map(|(id, server)| (*id, Arc::clone(server))).collect()
    }

    pub(crate) fn server(&self, id: EndpointId) -> Result<Arc<Server>, Error> {
        let server = self.inner.servers.read().get(&id).cloned();
        server.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the server left the fleet"))
    }

    /// Whether no server is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.servers.read().is_empty()
    }

    /// Whether a server has this address.
    pub(crate) fn knows(&self, address: &str) -> bool {
        self.inner.servers.read().values().any(|server| server.address() == address)
    }

    /// Starts to connect to every server. Must be called inside a tokio runtime.
    pub(crate) fn start_servers(&self) {
        for (_, server) in self.servers() {
            server.start();
        }
    }

    /// Another server joins.
    pub(crate) fn add(&self, address: Address) -> Result<EndpointId, Error> {
        let ClientState { config, fleet, servers, connection_check, .. } = &*self.inner;
        let id = fleet.lock().add(self.now());
        let connection_check: Arc<ConnectionCheck> = Arc::clone(connection_check);
        let server = Server::new(id, address, &config.transport, Arc::clone(&config.tls), connection_check);
        if server.is_err() {
            self.tell(FleetEvent::Removed(id));
        }
        servers.write().insert(id, Arc::new(server?));
        // Not ready before it has a connection; and probed, if the fleet is at work.
        self.tell(FleetEvent::Disconnected(id));
        Ok(id)
    }

    /// A server leaves: it gets nothing new, what it has runs on.
    pub(crate) fn remove(&self, id: EndpointId) {
        let Some(server) = self.inner.servers.write().remove(&id) else { return };
        server.retire();
        self.tell(FleetEvent::Removed(id));
    }

    /// Tells the fleet something, and has what follows done in the background.
    pub(crate) fn tell(&self, event: FleetEvent) {
        let actions = self.inner.fleet.lock().handle(self.now(), event);
        self.inner.background.act(actions);
    }

    /// Starts what runs in the background. Must be called inside a tokio runtime.
    pub(crate) fn start(&self) {
        self.inner.background.start(self);
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.inner.stop
    }

    pub(crate) fn discovery_stats(&self) -> &watch::Sender<DiscoveryStats> {
        &self.inner.discovery_stats
    }

    pub(crate) fn connect_timeouts(&self) -> ConnectTimeouts {
        self.inner.config.connect_timeouts
    }

    pub(crate) fn known_models(&self) -> &KnownModels {
        &self.inner.known_models
    }

    pub(crate) fn fleet(&self) -> &Mutex<Fleet> {
        &self.inner.fleet
    }

    pub(crate) fn background(&self) -> &Background {
        &self.inner.background
    }

    /// Now, on the fleet's clock.
    pub(crate) fn now(&self) -> Time {
        self.time_of(Instant::now())
    }

    /// An instant on the fleet's clock.
    pub(crate) fn time_of(&self, instant: Instant) -> Time {
        Time::from_start(instant.saturating_duration_since(self.inner.origin))
    }

    /// An instant of the fleet's clock as tokio has it.
    pub(crate) fn instant_of(&self, time: Time) -> Instant {
        self.inner.origin + time.since_start()
    }

    pub(crate) fn model_of<'a>(&'a self, options: &'a CallOptions) -> &'a str {
        options.model.as_deref().unwrap_or(&self.inner.config.defaults.model)
    }

    /// The time a call may take, and when that is over.
    pub(crate) fn deadline(&self, options: &CallOptions) -> (Duration, Instant) {
        /// Longer than any call should take, and short enough to add to an instant.
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        let within = options.deadline.unwrap_or(self.inner.config.defaults.deadline).min(FAR);
        (within, Instant::now() + within)
    }

    /// What every attempt of a call carries.
    pub(crate) async fn metadata(&self, options: &CallOptions) -> Result<JobMetadata, Error> {
        let plain = self.plain_metadata(options)?;
        Ok(plain.authorized(self.inner.config.defaults.credentials.current().await?))
    }

    /// The same without a token.
    pub(crate) fn plain_metadata(&self, options: &CallOptions) -> Result<JobMetadata, Error> {
        let defaults = &self.inner.config.defaults;
        let read =
            |field: &str, text: &Option<String>| text.as_deref().map(|text| metadata::value(field, text)).transpose();
        Ok(JobMetadata {
            job_id: read("job_id", &options.job_id)?,
            lane: options.lane.unwrap_or(defaults.lane),
            tenant: read("tenant", &options.tenant)?.or_else(|| defaults.tenant.clone()),
            traceparent: read("traceparent", &options.traceparent)?,
            propagator: defaults.propagator.clone(),
            authorization: None,
        })
    }
}
