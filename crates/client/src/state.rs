//! What the clones of a client share: settings, servers, the fleet and its clock, and what the fleet asks for. Jobs,
//! first contact, discovery and background tasks work on it. It calls none of them; of discovery it only keeps the
//! settings for the tasks that follow it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard, RwLock};
use sortie_dispatch::{DispatchConfig, EndpointId, Fleet, FleetAction, FleetEvent, Time, subset::subset};
use tokio::{
    sync::{Notify, OnceCell, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    discovery::Discovery,
    error::{Error, ErrorKind},
    options::Defaults,
    transport::{Address, ConnectionObserver, Server, Transport},
};

/// What a client is made of.
#[derive(Debug)]
pub(crate) struct ClientConfig {
    pub(crate) defaults: Defaults,
    pub(crate) transport: Transport,
    /// TLS of every connection whose address says `https`.
    pub(crate) tls: Arc<rustls::ClientConfig>,
    /// How long the first job of a model waits for the servers' description of it.
    pub(crate) describe_timeout: Duration,
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

    /// Longest that first contact with a server may take: to connect, to check the connection, and one call.
    pub(crate) fn first_contact_timeout(&self) -> Duration {
        self.transport.connect_timeout * 2 + self.describe_timeout
    }
}

/// What the fleet asks for and nobody has done yet. It outlives the task that does it, and that task's runtime.
#[derive(Debug, Default)]
pub(crate) struct FleetActions {
    waiting: Mutex<VecDeque<FleetAction>>,
    more: Notify,
}

impl FleetActions {
    fn extend(&self, actions: Vec<FleetAction>) {
        self.waiting.lock().extend(actions);
        self.more.notify_one();
    }

    /// Waits for the next action. It is taken only when it is returned.
    pub(crate) async fn next(&self) -> FleetAction {
        loop {
            let next = self.waiting.lock().pop_front();
            match next {
                Some(action) => return action,
                None => self.more.notified().await,
            }
        }
    }
}

/// What the clones of a client share. Background tasks and connections hold it weakly.
pub(crate) struct ClientState {
    pub(crate) config: ClientConfig,
    /// Checks new connections, and learns from what is answered on them.
    observer: Arc<dyn ConnectionObserver>,
    /// May be locked while the fleet is, and never the other way round.
    servers: RwLock<BTreeMap<EndpointId, Arc<Server>>>,
    /// Held for arithmetic only, never over an await.
    fleet: Mutex<Fleet>,
    pub(crate) fleet_actions: Arc<FleetActions>,
    /// The fleet's time is counted from here.
    origin: Instant,
    /// Models in use. The cell of each is set once a server has described it.
    models: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
    /// Tasks that run beside calls.
    pub(crate) tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Why the last round of a discovery found no servers, if it found none. It changes with every round.
    last_discovery: watch::Sender<Option<Error>>,
    /// Counts servers that lost their last connection: names may lead elsewhere by now.
    pub(crate) disconnects: watch::Sender<u64>,
    pub(crate) stop: CancellationToken,
}

impl Drop for ClientState {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl ClientState {
    /// The state of a client of these servers, and of those that its discoveries find. `observer` makes what checks
    /// its connections.
    pub(crate) fn new(
        config: ClientConfig,
        addresses: Vec<Address>,
        observer: impl FnOnce(Weak<Self>) -> Arc<dyn ConnectionObserver>,
    ) -> Result<Arc<Self>, Error> {
        let fleet = Mutex::new(Fleet::new(config.dispatch.clone(), 0, rand::random()));
        let state = Arc::new_cyclic(|weak| Self {
            config,
            observer: observer(weak.clone()),
            servers: RwLock::default(),
            fleet,
            fleet_actions: Arc::default(),
            origin: Instant::now(),
            models: Mutex::default(),
            tasks: Mutex::default(),
            last_discovery: watch::Sender::new(None),
            disconnects: watch::Sender::new(0),
            stop: CancellationToken::new(),
        });
        for address in state.config.choose(addresses) {
            state.add(address)?;
        }
        Ok(state)
    }

    /// What a call takes where it does not say.
    pub(crate) fn defaults(&self) -> &Defaults {
        &self.config.defaults
    }

    /// The servers, in the order they became known.
    pub(crate) fn servers(&self) -> Vec<(EndpointId, Arc<Server>)> {
        self.servers.read().iter().map(|(id, server)| (*id, Arc::clone(server))).collect()
    }

    /// The server of a number, unless it has left.
    pub(crate) fn server(&self, id: EndpointId) -> Result<Arc<Server>, Error> {
        let server = self.servers.read().get(&id).cloned();
        server.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the server left the fleet"))
    }

    /// Whether a server has this address.
    pub(crate) fn knows(&self, address: &str) -> bool {
        self.servers.read().values().any(|server| server.address() == address)
    }

    /// Starts to connect to every server. Must be called inside a tokio runtime.
    pub(crate) fn start_servers(&self) {
        for (_, server) in self.servers() {
            server.start();
        }
    }

    /// Another server joins.
    pub(crate) fn add(&self, address: Address) -> Result<EndpointId, Error> {
        let now = self.now();
        // All under one lock: a job that sees the number finds its server, and sees it not ready.
        let mut fleet = self.fleet();
        let id = fleet.add(now);
        let tls = Arc::clone(&self.config.tls);
        let server = Server::new(id, address, &self.config.transport, tls, Arc::clone(&self.observer));
        let (event, added) = match server {
            Ok(server) => {
                self.servers.write().insert(id, Arc::new(server));
                // Not ready before it has a connection, on which it is asked for its load.
                (FleetEvent::Disconnected(id), Ok(id))
            }
            Err(error) => (FleetEvent::Removed(id), Err(error)),
        };
        let actions = fleet.handle(now, event);
        drop(fleet);
        self.fleet_actions.extend(actions);
        added
    }

    /// A server leaves: it gets nothing new, what it has runs on.
    pub(crate) fn remove(&self, id: EndpointId) {
        let now = self.now();
        // All under one lock, as when it joined: no job is given the number of a server that is gone.
        let mut fleet = self.fleet();
        let Some(server) = self.servers.write().remove(&id) else { return };
        let actions = fleet.handle(now, FleetEvent::Removed(id));
        drop(fleet);
        self.fleet_actions.extend(actions);
        server.retire();
    }

    /// The fleet. The lock is never held over an await.
    pub(crate) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock()
    }

    /// Tells the fleet something; what it asks for then waits in [`FleetActions`].
    pub(crate) fn tell(&self, event: FleetEvent) {
        let actions = self.fleet().handle(self.now(), event);
        self.fleet_actions.extend(actions);
    }

    /// Now, on the fleet's clock.
    pub(crate) fn now(&self) -> Time {
        self.time_of(Instant::now())
    }

    /// An instant on the fleet's clock.
    pub(crate) fn time_of(&self, instant: Instant) -> Time {
        Time::from_start(instant.saturating_duration_since(self.origin))
    }

    /// An instant of the fleet's clock as tokio has it.
    pub(crate) fn instant_of(&self, time: Time) -> Instant {
        self.origin + time.since_start()
    }

    /// Names of the models in use.
    pub(crate) fn models(&self) -> Vec<String> {
        self.models.lock().keys().cloned().collect()
    }

    /// The cell that is set once a server has described a model, which is in use from now on.
    pub(crate) fn model(&self, name: &str) -> Arc<OnceCell<()>> {
        let mut models = self.models.lock();
        // The name is copied the first time only.
        match models.get(name) {
            Some(cell) => Arc::clone(cell),
            None => Arc::clone(models.entry(name.to_owned()).or_default()),
        }
    }

    /// Forgets a model that no server describes.
    pub(crate) fn forget_model(&self, name: &str) {
        self.models.lock().remove(name);
    }

    /// A discovery has looked for servers, and found none if there is an `error`.
    pub(crate) fn discovered(&self, error: Option<Error>) {
        self.last_discovery.send_replace(error);
    }

    /// Waits until a server is known. Fails once a discovery has failed, or the time is up.
    pub(crate) async fn populated(&self, deadline: Instant) -> Result<(), Error> {
        let limit = deadline.min(Instant::now() + self.config.first_contact_timeout());
        let mut last = self.last_discovery.subscribe();
        loop {
            let error = last.borrow_and_update().clone();
            if !self.servers.read().is_empty() {
                return Ok(());
            }
            if let Some(error) = error {
                return Err(error);
            }
            if !matches!(timeout_at(limit, last.changed()).await, Ok(Ok(()))) {
                return Err(Error::new(ErrorKind::Unavailable, "no endpoint is known"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::Address;
    use crate::Client;

    /// Servers that join, leave, and never get a connection, here for want of a runtime.
    #[test]
    fn whoever_sees_a_server_in_the_fleet_finds_it_and_none_is_ready_before_it_has_a_connection() {
        let client = Client::builder().endpoint("http://127.0.0.1:1").build().unwrap();
        let state = client.state();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for port in 2..1_000 {
                    let address = Address::parse(&format!("http://127.0.0.1:{port}"), false).unwrap();
                    let id = state.add(address).unwrap();
                    if port % 2 == 0 {
                        state.remove(id);
                        assert!(state.server(id).is_err(), "it is gone");
                    }
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let fleet = state.fleet();
                for server in fleet.stats(state.now()) {
                    assert!(!server.ready, "{:?} has no connection", server.endpoint);
                    assert!(state.server(server.endpoint).is_ok(), "{:?} is in the fleet alone", server.endpoint);
                }
            }
        });
        assert_eq!(state.servers().len(), 1 + 998 / 2);
        assert_eq!(state.fleet().stats(state.now()).count(), 1 + 998 / 2);
    }
}
