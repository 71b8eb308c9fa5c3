//! From a configuration and a listener to a running server, and back down: load every model, then serve by
//! [`sortie_frontend`]. Asked to stop meanwhile, it ends at once.

use std::{future::Future, net::SocketAddr, sync::Arc};

use sortie_frontend::{BoundAddress, FileError, Frontend, FrontendError, Keys, ServerHealth};
use tokio::{
    net::TcpListener,
    sync::{OnceCell, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::Admin,
    config::ServerConfig,
    metrics::Metrics,
    model_manager::ModelManager,
    models::{Registry, StartupError},
    service::Service,
};

/// Why the server did not start or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerExit {
    /// A model did not load.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// A model's GPU was lost and could not be had again in this process.
    #[error("a model's gpu was lost; a new process may have it again")]
    GpuLost,
    /// Metrics do not fit together.
    #[error("cannot build metrics")]
    Metrics(#[from] prometheus::Error),
    /// An address, a file of keys or certificates, or where traces go.
    #[error(transparent)]
    Frontend(#[from] FrontendError),
}

impl From<FileError> for ServerExit {
    fn from(error: FileError) -> Self {
        FrontendError::from(error).into()
    }
}

/// Takes the address of `config`, loads its models, then listens and serves until `shutdown`
/// resolves.
///
/// The address is taken before models load, so that one in use is known at once, but nothing is
/// accepted before they are there. When `shutdown` resolves while they load, nothing is served.
///
/// # Errors
/// When an address is taken, a model does not load or the transport fails.
pub async fn run(config: ServerConfig, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServerExit> {
    let bound = BoundAddress::take("listen", config.frontend.listen)?;
    let server = Process::start(config).await?;
    tokio::pin!(shutdown);
    let Some(registry) = server.load(bound.address(), shutdown.as_mut()).await? else { return Ok(()) };
    server.serve(bound.listen()?, registry, shutdown).await
}

/// Loads the models of `config` and serves them on `listener` until `shutdown` resolves.
///
/// When it resolves while they load, nothing is served.
///
/// # Errors
/// When a model does not load or the transport fails.
pub async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerExit> {
    let address = config.frontend.listen;
    let bound = listener.local_addr().map_err(|source| FrontendError::Listen { setting: "listen", address, source })?;
    let server = Process::start(config).await?;
    tokio::pin!(shutdown);
    let Some(registry) = server.load(bound, shutdown.as_mut()).await? else { return Ok(()) };
    server.serve(listener, registry, shutdown).await
}

/// What lives as long as the process serves.
struct Process {
    config: ServerConfig,
    metrics: Arc<Metrics>,
    frontend: Frontend,
    admin: Arc<Admin>,
}

impl Process {
    /// Reads keys and certificates and opens the admin port, before anything that takes long.
    async fn start(config: ServerConfig) -> Result<Self, ServerExit> {
        let metrics = Arc::new(Metrics::new()?);
        let shared = &metrics.frontend;
        let mut frontend = Frontend::start(config.frontend.clone(), Arc::clone(shared), "sortie-server").await?;
        let operators =
            Keys::of_setting("admin_keys", config.admin_keys.as_deref(), &config.frontend, &shared.wire).await?;
        let admin = Arc::new(Admin {
            metrics: Arc::clone(&metrics),
            manager: OnceCell::new(),
            change_models: config.admin_models,
            keys: operators,
        });
        frontend.open_admin(Arc::clone(&admin).scrape(), Arc::clone(&admin).router()).await?;
        Ok(Self { config, metrics, frontend, admin })
    }

    /// Loads the models, or gives none when `shutdown` resolves first.
    async fn load(
        &self,
        bound: SocketAddr,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Option<Registry>, StartupError> {
        let replica = self.frontend.replica(bound);
        tokio::select! {
            biased;
            () = shutdown => {
                tracing::info!("stopped before every model was loaded");
                Ok(None)
            }
            loaded = Registry::load(&self.config, &replica, &self.metrics.batches) => loaded.map(Some),
        }
    }

    /// Serves loaded models.
    async fn serve(
        self,
        listener: TcpListener,
        registry: Registry,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerExit> {
        let Self { config, metrics, frontend, admin } = self;
        let health = ServerHealth::new(registry.names()).await;
        let gpu_lost = CancellationToken::new();
        let manager = ModelManager::new(registry.clone(), health.clone(), metrics, gpu_lost.clone()).await;
        // Nobody else sets it.
        drop(admin.manager.set(Arc::new(manager)));
        frontend.show(Arc::new(registry.clone()));
        tracing::info!(models = registry.names().join(","), "models loaded");
        let service = Service::new(registry.clone(), config.frontend.max_message_bytes);
        let services = frontend.services(service, Arc::new(registry), health, watch::channel(true).1);
        let stop = async {
            tokio::select! {
                () = shutdown => {}
                () = gpu_lost.cancelled() => tracing::error!("a gpu is lost; other models finish, then the process ends"),
            }
        };
        frontend.serve(listener, services, stop).await?;
        if gpu_lost.is_cancelled() { Err(ServerExit::GpuLost) } else { Ok(()) }
    }
}
