//! From a configuration and a listener to a running gateway, and back down.

use std::{future::Future, net::SocketAddr, sync::Arc};

use axum::Router;
use sortie_frontend::{Backing, BoundAddress, Frontend, FrontendError, ServerHealth};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cache::AnswerCache,
    catalog::Catalog,
    config::GatewayConfig,
    fleet::{FleetClient, FleetError},
    metrics::{self, GatewayMetrics, ReuseCounters},
    service::GatewayService,
    tei,
};

/// Why the gateway did not start or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayExit {
    /// An address, a file of keys or certificates, or where traces go.
    #[error(transparent)]
    Frontend(#[from] FrontendError),
    /// The settings do not make a client of the fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Metrics do not fit together.
    #[error("cannot build metrics")]
    GatewayMetrics(#[from] prometheus::Error),
}

/// Takes the address of `config` and serves the fleet on it until `shutdown` resolves.
///
/// # Errors
/// When an address is taken, a file makes no sense, or the settings make no client.
pub async fn run(
    config: GatewayConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), GatewayExit> {
    let bound = BoundAddress::take("listen", config.frontend.listen)?;
    let address = bound.address();
    let gateway = Gateway::start(config, address).await?;
    gateway.serve(bound.listen()?, shutdown).await
}

/// Serves the fleet on `listener` until `shutdown` resolves.
///
/// # Errors
/// When a file makes no sense or the settings make no client.
pub async fn serve(
    listener: TcpListener,
    config: GatewayConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), GatewayExit> {
    let address = config.frontend.listen;
    let bound = listener.local_addr().map_err(|source| FrontendError::Listen { setting: "listen", address, source })?;
    Gateway::start(config, bound).await?.serve(listener, shutdown).await
}

/// What lives as long as the process serves.
struct Gateway {
    config: GatewayConfig,
    frontend: Frontend,
    fleet: FleetClient,
    replica: String,
    cache: Option<Arc<AnswerCache>>,
    reuse: ReuseCounters,
}

impl Gateway {
    /// Reads keys and certificates, makes the client and opens the admin port.
    async fn start(config: GatewayConfig, bound: SocketAddr) -> Result<Self, GatewayExit> {
        let metrics = Arc::new(GatewayMetrics::new()?);
        let shared = Arc::clone(&metrics.frontend);
        let mut frontend = Frontend::start(config.frontend.clone(), shared, "sortie-gateway").await?;
        let replica = frontend.replica(bound);
        let fleet = FleetClient::new(&config, &frontend, &replica).await?;
        let cache = AnswerCache::new(config.cache_bytes).map(Arc::new);
        let reuse = metrics.reuse.clone();
        let (client, kept) = (fleet.client.clone(), cache.clone());
        let render = move |ready| metrics.render(&client, kept.as_deref(), ready);
        frontend.open_admin(Arc::new(render), Router::new()).await?;
        Ok(Self { config, frontend, fleet, replica, cache, reuse })
    }

    async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), GatewayExit> {
        let Self { config, frontend, fleet, replica, cache, reuse } = self;
        let max_message = config.frontend.max_message_bytes;
        let catalog = Arc::new(Catalog::new(fleet.client.clone(), max_message));
        frontend.show(Arc::<Catalog>::clone(&catalog));
        let service = GatewayService {
            client: fleet.client.clone(),
            catalog: Arc::clone(&catalog),
            cache,
            reuse,
            replica: replica.as_str().into(),
            max_message_bytes: max_message,
        };
        let health = ServerHealth::new(Vec::new()).await;
        let (answers, answering) = watch::channel(false);
        let backing: Arc<dyn Backing> = Arc::<Catalog>::clone(&catalog);
        let mut services = frontend.services(service, backing, health.clone(), answering);
        tei::add(&mut services, Arc::clone(&catalog), &config.frontend);
        let rounds = follow_fleet(catalog, health, frontend.requests(), config, answers);
        let _rounds = AbortOnDropHandle::new(tokio::spawn(rounds));
        Ok(frontend.serve(listener, services, shutdown).await?)
    }
}

/// Asks the fleet round after round, and says in health and metrics which models there are.
async fn follow_fleet(
    catalog: Arc<Catalog>,
    health: ServerHealth,
    requests: Arc<sortie_frontend::metrics::RequestMetrics>,
    config: GatewayConfig,
    answers: watch::Sender<bool>,
) {
    let mut known: Vec<String> = Vec::new();
    let mut ticks = tokio::time::interval(config.refresh_interval.0);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let ready = catalog.round().await;
        let now: Vec<String> = catalog.all().iter().map(|model| model.info.name.clone()).collect();
        for name in now.iter().filter(|name| !known.contains(name)) {
            tracing::info!(model = name, "the fleet serves a model");
            requests.expect(name);
            health.add_model(name).await;
        }
        for name in known.iter().filter(|name| !now.contains(name)) {
            tracing::warn!(model = name, "no server says that it serves a model any more");
            health.forget(name).await;
        }
        known = now;
        answers.send_if_modified(|before| {
            if *before != ready {
                tracing::info!(ready, servers = catalog.all().len(), "the fleet");
            }
            std::mem::replace(before, ready) != ready
        });
        metrics::settle();
    }
}
