//! Where servers come from beside the fixed ones.

use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::name::Name;
use crate::{
    error::{Error, ErrorKind},
    transport::redact,
};

/// How often a name is looked up again: the TTL that cluster DNS gives headless services is 5 to
/// 30 s, and the system's resolver does not tell it.
pub const LOOKUP_PERIOD: Duration = Duration::from_secs(10);

/// Least time between two lookups of a name, however many connections break: a rolling restart
/// breaks many.
pub const MIN_LOOKUP_GAP: Duration = Duration::from_secs(1);

pub(super) type LookupFn = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

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
    pub(super) source: DiscoverySource,
}

#[derive(Clone)]
pub(super) enum DiscoverySource {
    Name { name: String, period: Duration, lookup: LookupFn },
    Watch(watch::Receiver<Vec<String>>),
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            DiscoverySource::Name { name, period, .. } => {
                let name = redact(name);
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
        let lookup: LookupFn = Arc::new(move |name| Box::pin(lookup(name)));
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
                Name::parse(name, tls)?;
                if period.is_zero() {
                    return Err(Error::new(ErrorKind::Config, "discovery: the period is zero"));
                }
                Ok(())
            }
            DiscoverySource::Watch(_) => Ok(()),
        }
    }
}
