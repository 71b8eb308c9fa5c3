//! Where servers come from beside the fixed ones: a name that is looked up again and
//! again, or a list that the program feeds.
//!
//! A server that is named no longer is drained: it gets nothing new, what it has runs
//! on. A lookup that fails or finds nothing changes nothing: a name service that is
//! down must not take the fleet with it.

mod names;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::future::BoxFuture;
use sortie_dispatch::EndpointId;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    client::{Client, ClientState},
    error::{Error, ErrorKind},
    transport::Address,
};

/// How often a name is looked up again: the TTL that cluster DNS gives headless services is 5 to
/// 30 s, and the system's resolver does not tell it.
pub const LOOKUP_PERIOD: Duration = Duration::from_secs(10);

/// Least time between two lookups of a name, however many connections break: a rolling restart
/// breaks many.
pub const MIN_LOOKUP_GAP: Duration = Duration::from_secs(1);

type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// A source of servers; see [`crate::ClientBuilder::discovery`].
///
/// ```
/// # fn main() -> Result<(), sortie_client::Error> {
/// use sortie_client::{Client, Discovery};
/// let client = Client::builder().discovery(Discovery::dns("models.search.svc:50051")).build()?;
///
/// let (feed, addresses) = tokio::sync::watch::channel(vec!["http://10.0.0.1:50051".to_owned()]);
/// let client = Client::builder().discovery(Discovery::watch(addresses)).build()?;
/// feed.send_replace(vec!["http://10.0.0.2:50051".to_owned()]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a discovery finds nothing until a client has it"]
pub struct Discovery {
    source: DiscoverySource,
}

#[derive(Clone)]
enum DiscoverySource {
    Name { name: String, period: Duration, lookup: Lookup },
    Watch(watch::Receiver<Vec<String>>),
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            DiscoverySource::Name { name, period, .. } => {
                let name = crate::transport::redact(name);
                f.debug_struct("Name").field("name", &name).field("period", period).finish_non_exhaustive()
            }
            DiscoverySource::Watch(_) => f.write_str("Watch"),
        }
    }
}

impl Discovery {
    /// Looks a name up, `name:port` or with a scheme, every [`LOOKUP_PERIOD`] and when a connection
    /// breaks; every address it has is a server. That is what a headless Kubernetes service gives.
    ///
    /// With TLS the servers' certificates are held against the name.
    ///
    /// # Notes
    ///
    /// The system's resolver is asked (`getaddrinfo`), which knows `/etc/hosts`, search domains and
    /// the rest of the host's set-up. It does not tell how long an answer holds: hence the period.
    pub fn dns(name: impl Into<String>) -> Self {
        let lookup = |name: String| async move { Ok(tokio::net::lookup_host(name).await?.collect()) };
        Self::lookup(name, lookup)
    }

    /// The same with a lookup of your own: another resolver, another name service. It is given
    /// `name:port`.
    pub fn lookup<F, Fut>(name: impl Into<String>, lookup: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let lookup: Lookup = Arc::new(move |name| Box::pin(lookup(name)));
        Self { source: DiscoverySource::Name { name: name.into(), period: LOOKUP_PERIOD, lookup } }
    }

    /// Takes the servers that the program names: the whole list each time it changes. Addresses that
    /// are none are logged and passed over.
    pub fn watch(addresses: watch::Receiver<Vec<String>>) -> Self {
        Self { source: DiscoverySource::Watch(addresses) }
    }

    /// Looks up this often ([`LOOKUP_PERIOD`]). Nothing to a watched list.
    pub fn every(mut self, new_period: Duration) -> Self {
        if let DiscoverySource::Name { period, .. } = &mut self.source {
            *period = new_period;
        }
        self
    }

    /// Refuses what can never find a server.
    pub(crate) fn check(&self, tls: bool) -> Result<(), Error> {
        match &self.source {
            DiscoverySource::Name { name, period, .. } => {
                names::Name::parse(name, tls)?;
                if period.is_zero() {
                    return Err(Error::new(ErrorKind::Config, "discovery: the period is zero"));
                }
                Ok(())
            }
            DiscoverySource::Watch(_) => Ok(()),
        }
    }
}

/// How discoveries went.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiscoveryStats {
    /// Rounds that ended.
    rounds: u64,
    /// Why the last one found nothing.
    error: Option<Error>,
}

impl Client {
    /// Waits until a server is known. Fails once a lookup has failed, or the time is up.
    pub(crate) async fn populated(&self, deadline: Instant) -> Result<(), Error> {
        self.start();
        let limit = deadline.min(Instant::now() + self.connect_timeouts().worst_case());
        let mut found = self.discovery_stats().subscribe();
        loop {
            let now = found.borrow_and_update().clone();
            if !self.is_empty() {
                return Ok(());
            }
            if let Some(error) = now.error {
                return Err(error);
            }
            if !matches!(tokio::time::timeout_at(limit, found.changed()).await, Ok(Ok(()))) {
                return Err(Error::new(ErrorKind::Unavailable, "no endpoint is known"));
            }
        }
    }
}

/// Servers that one discovery has brought in.
struct DiscoveredServers {
    client: Weak<ClientState>,
    known: BTreeMap<String, EndpointId>,
}

impl DiscoveredServers {
    /// Replaces the members by these. `None` once the client is gone.
    fn become_these(&mut self, addresses: Vec<Address>) -> Option<()> {
        let client = self.client.upgrade().map(Client::of)?;
        let addresses = client.config().choose(addresses);
        let named: BTreeSet<&str> = addresses.iter().map(Address::as_str).collect();
        self.known.retain(|address, id| {
            let stays = named.contains(address.as_str());
            if !stays {
                info!(endpoint = address, "left the fleet");
                client.remove(*id);
            }
            stays
        });
        for address in addresses {
            let text = address.as_str().to_owned();
            if self.known.contains_key(&text) || client.knows(&text) {
                continue;
            }
            match client.add(address) {
                Ok(id) => {
                    info!(endpoint = text, "joined the fleet");
                    self.known.insert(text, id);
                }
                Err(error) => warn!(endpoint = text, %error, "cannot join the fleet"),
            }
        }
        client.start_servers();
        tell(&client, None);
        Some(())
    }

    fn failed(&self, error: Error) -> Option<()> {
        tell(&self.client.upgrade().map(Client::of)?, Some(error));
        Some(())
    }
}

fn tell(client: &Client, error: Option<Error>) {
    client.discovery_stats().send_modify(|found| {
        found.rounds += 1;
        found.error = error;
    });
}

/// Keeps a client's servers those that a discovery finds, until the client is gone.
pub(crate) async fn run(
    discovery: Discovery,
    client: Weak<ClientState>,
    stop: CancellationToken,
    mut disconnects: watch::Receiver<u64>,
) {
    let Some(tls) = client.upgrade().map(|inner| Client::of(inner).config().transport.tls.is_some()) else { return };
    let members = DiscoveredServers { client, known: BTreeMap::new() };
    let work = async {
        match discovery.source {
            DiscoverySource::Name { name, period, lookup } => {
                names::follow(members, &name, tls, period, &lookup, &mut disconnects).await
            }
            DiscoverySource::Watch(addresses) => follow(members, addresses, tls).await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        Some(()) = work => {}
        else => {}
    }
}

/// Follows a watched list. When its sender is gone, the last list stays.
async fn follow(mut members: DiscoveredServers, mut addresses: watch::Receiver<Vec<String>>, tls: bool) -> Option<()> {
    loop {
        let list = addresses.borrow_and_update().clone();
        let parsed = list.iter().filter_map(|text| match Address::parse(text, tls) {
            Ok(address) => Some(address),
            Err(error) => {
                warn!(%error, "passed over");
                None
            }
        });
        members.become_these(parsed.collect())?;
        if addresses.changed().await.is_err() {
            return Some(());
        }
    }
}
