//! The client: servers, defaults, and the fleet's state that all jobs share.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sortie_dispatch::{Config as DispatchConfig, Fleet, Time};
use tokio::time::Instant;

use crate::{
    builder::ClientBuilder,
    call::CallOptions,
    channel::{Lease, Server},
    error::{Error, ErrorKind},
    greet::{Acquainted, Patience},
    metadata::{self, JobMetadata, Lane},
    stats::Stats,
};

/// Calls encoder models on a fleet of servers.
///
/// Cheap to clone: clones share connections and what was learned of the servers.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

/// What a call takes where it does not say.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) model: String,
    pub(crate) deadline: Duration,
    pub(crate) lane: Lane,
    pub(crate) tenant: Option<metadata::Value>,
    pub(crate) authorization: Option<metadata::Value>,
}

#[derive(Debug)]
struct Inner {
    servers: Vec<Server>,
    defaults: Defaults,
    /// Held for arithmetic only, never over an await.
    fleet: Mutex<Fleet>,
    /// The fleet's time is counted from here.
    origin: Instant,
    patience: Patience,
    acquainted: Acquainted,
}

impl Client {
    /// Starts a client's configuration.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn new(servers: Vec<Server>, defaults: Defaults, patience: Patience, dispatch: DispatchConfig) -> Self {
        let fleet = Mutex::new(Fleet::new(dispatch, servers.len(), rand::random()));
        let (origin, acquainted) = (Instant::now(), Acquainted::default());
        Self { inner: Arc::new(Inner { servers, defaults, fleet, origin, patience, acquainted }) }
    }

    /// Addresses of the servers, each once, in the order they were given.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = &str> {
        self.inner.servers.iter().map(Server::address)
    }

    /// What was learned of the servers, as it stands now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::new(self.endpoints(), &self.inner.fleet.lock(), self.now())
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.servers.len()
    }

    pub(crate) fn address(&self, index: usize) -> String {
        self.inner.servers.get(index).map(|server| server.address().to_owned()).unwrap_or_default()
    }

    pub(crate) fn connection(&self, index: usize) -> Result<Lease, Error> {
        let server = self.inner.servers.get(index);
        server.ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no endpoint {index}")))?.lease()
    }

    pub(crate) fn patience(&self) -> Patience {
        self.inner.patience
    }

    pub(crate) fn acquainted(&self) -> &Acquainted {
        &self.inner.acquainted
    }

    pub(crate) fn fleet(&self) -> &Mutex<Fleet> {
        &self.inner.fleet
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
        options.model.as_deref().unwrap_or(&self.inner.defaults.model)
    }

    /// The time a call may take, and when that is over.
    pub(crate) fn deadline(&self, options: &CallOptions) -> (Duration, Instant) {
        /// Longer than any call should take, and short enough to add to an instant.
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        let within = options.deadline.unwrap_or(self.inner.defaults.deadline).min(FAR);
        (within, Instant::now() + within)
    }

    /// What every attempt of a call carries.
    pub(crate) fn metadata(&self, options: &CallOptions) -> Result<JobMetadata, Error> {
        let read =
            |field: &str, text: &Option<String>| text.as_deref().map(|text| metadata::value(field, text)).transpose();
        Ok(JobMetadata {
            job_id: read("job_id", &options.job_id)?,
            lane: options.lane.unwrap_or(self.inner.defaults.lane),
            tenant: read("tenant", &options.tenant)?.or_else(|| self.inner.defaults.tenant.clone()),
            authorization: self.inner.defaults.authorization.clone(),
            traceparent: read("traceparent", &options.traceparent)?,
        })
    }
}
