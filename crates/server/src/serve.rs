//! From a configuration and a listener to a running server, and back down.
//!
//! Up: keys and certificates → admin port → load every model → health SERVING → accept; asked to stop
//! meanwhile, it ends at once. Down: health NOT_SERVING and
//! reports DRAINING → `drain_grace` → refuse new work, close the listener,
//! finish what is in flight within `drain_timeout` → return.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use sortie_proto::v1::encoder_service_server::EncoderServiceServer;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::OnceCell,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{codec::CompressionEncoding, service::Routes};
use tower::Layer as _;

use crate::{
    admin::Admin,
    auth::Keys,
    config::ServerConfig,
    connection::{ConnectionLimits, accept},
    health::ServerHealth,
    layer::RequestLayer,
    metrics::Metrics,
    model_manager::ModelManager,
    models::{Registry, StartupError},
    open_files, panics,
    phase::Phase,
    reflection,
    reload::FileError,
    service::Service,
    tls::ServerTls,
    traces::Traces,
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why the server did not start or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerExit {
    /// The address cannot be listened on.
    #[error("{setting}: cannot listen on {address}")]
    Listen {
        /// Which address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A model did not load.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// The descriptors do not fit together.
    #[error("cannot build reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The address file cannot be written.
    #[error("{setting}: cannot write {}", .path.display())]
    AddrFile {
        /// Which file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A model's GPU was lost and could not be had again in this process.
    #[error("a model's gpu was lost; a new process may have it again")]
    GpuLost,
    /// Metrics do not fit together.
    #[error("cannot build metrics")]
    Metrics(#[from] prometheus::Error),
    /// Traces cannot be sent as asked.
    #[error("otlp_endpoint: cannot send traces")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A file of keys or certificates cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
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
    let address = config.listen;
    let failed = |source| ServerExit::Listen { setting: "listen", address, source };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    // As tokio's own listener does: a restart must not wait for old connections to time out.
    #[cfg(unix)]
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    let server = Process::start(config).await?;
    tokio::pin!(shutdown);
    let Some(registry) = server.load(bound, shutdown.as_mut()).await? else { return Ok(()) };
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    server.serve(listener, registry, shutdown).await
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
    let address = config.listen;
    let bound = listener.local_addr().map_err(|source| ServerExit::Listen { setting: "listen", address, source })?;
    let server = Process::start(config).await?;
    tokio::pin!(shutdown);
    let Some(registry) = server.load(bound, shutdown.as_mut()).await? else { return Ok(()) };
    server.serve(listener, registry, shutdown).await
}

/// What lives as long as the process serves.
struct Process {
    config: ServerConfig,
    metrics: Arc<Metrics>,
    phase: Arc<Phase>,
    /// Keys that callers must show, if they must.
    callers: Option<Arc<Keys>>,
    tls: Option<Arc<ServerTls>>,
    traces: Option<Arc<Traces>>,
    admin: Arc<Admin>,
    /// The admin port's task; ends with this.
    _admin: Option<AbortOnDropHandle<()>>,
}

impl Process {
    /// Reads keys and certificates and opens the admin port, before anything that takes long.
    async fn start(config: ServerConfig) -> Result<Self, ServerExit> {
        panics::watch();
        open_files::allow_most();
        let metrics = Arc::new(Metrics::new()?);
        let phase = Arc::new(Phase::default());
        let keys = async |setting, path: Option<&Path>| match path {
            Some(path) => {
                let keys = Keys::start(setting, path, config.reload_interval.0, &metrics.wire).await?;
                Ok::<_, FileError>(Some(Arc::new(keys)))
            }
            None => Ok(None),
        };
        let callers = keys("api_keys", config.api_keys.as_deref()).await?;
        let operators = keys("admin_keys", config.admin_keys.as_deref()).await?;
        let tls = ServerTls::start(&config, &metrics.wire).await?.map(Arc::new);
        let traces = Traces::start(&config)?.map(Arc::new);
        let admin = Arc::new(Admin {
            metrics: Arc::clone(&metrics),
            phase: Arc::clone(&phase),
            manager: OnceCell::new(),
            change_models: config.admin_models,
            keys: operators,
        });
        let mut task = None;
        if let Some(address) = config.admin {
            let failed = |source| ServerExit::Listen { setting: "admin", address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            write_address("admin_addr_file", config.admin_addr_file.as_deref(), bound)?;
            tracing::info!(address = %bound, models = config.admin_models, "admin port on {bound}");
            let serving = Arc::clone(&admin).serve(listener);
            task = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "the admin port failed");
                }
            })));
        }
        Ok(Self { config, metrics, phase, callers, tls, traces, admin, _admin: task })
    }

    /// Loads the models, or gives none when `shutdown` resolves first.
    async fn load(
        &self,
        bound: SocketAddr,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Option<Registry>, StartupError> {
        let replica = replica(&self.config, bound);
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
        let Self { config, metrics, phase, callers, tls, traces, admin, _admin } = self;
        let address = config.listen;
        let bound =
            listener.local_addr().map_err(|source| ServerExit::Listen { setting: "listen", address, source })?;
        let (health, health_service) = ServerHealth::new(registry.names()).await;

        let max_message = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
        let encoder = EncoderServiceServer::new(Service::new(registry.clone(), config.max_message_bytes))
            .max_decoding_message_size(max_message)
            .max_encoding_message_size(max_message)
            // Answers are floats, which compress poorly: requests may be compressed, answers are not.
            .accept_compressed(CompressionEncoding::Gzip);
        let mut routes = Routes::builder();
        routes.add_service(encoder);
        if config.health {
            routes.add_service(health_service);
        }
        if config.reflection {
            routes.add_service(reflection::current()?).add_service(reflection::alpha()?);
        }
        let layer = RequestLayer::new(&config, registry.clone(), Arc::clone(&metrics), callers, traces.clone());
        let service = layer.layer(routes.routes().prepare());

        let gpu_lost = CancellationToken::new();
        let manager = ModelManager::new(registry.clone(), health.clone(), Arc::clone(&metrics), gpu_lost.clone()).await;
        let manager = Arc::new(manager);
        write_address("addr_file", config.addr_file.as_deref(), bound)?;
        health.serving().await;
        phase.serving();
        // Nobody else sets it.
        drop(admin.manager.set(manager));
        tracing::info!(address = %bound, models = registry.names().join(","), "listening on {bound}");

        let stop = CancellationToken::new();
        let limits = ConnectionLimits::of(&config);
        let server = accept(listener, service, tls, limits, metrics.wire.clone(), stop.clone());
        tokio::pin!(server);
        tokio::select! {
            () = &mut server => return Ok(()),
            () = shutdown => {}
            () = gpu_lost.cancelled() => tracing::error!("a gpu is lost; other models finish, then the process ends"),
        }

        tracing::info!(drain_grace = %config.drain_grace, drain_timeout = %config.drain_timeout, "stopping");
        phase.draining();
        registry.announce_drain();
        health.not_serving().await;
        if let Some(grace) = config.drain_grace.some() {
            tokio::select! {
                () = &mut server => return Ok(()),
                () = tokio::time::sleep(grace) => {}
            }
        }
        registry.drain();
        health.end_watches().await;
        stop.cancel();
        if tokio::time::timeout(config.drain_timeout.0, server).await.is_err() {
            tracing::warn!("requests were still in flight after {}", config.drain_timeout);
        }
        if let Some(traces) = traces {
            traces.finish().await;
        }
        tracing::info!("stopped");
        if gpu_lost.is_cancelled() { Err(ServerExit::GpuLost) } else { Ok(()) }
    }
}

/// The name of this process in answers: the one set, else host and port.
fn replica(config: &ServerConfig, bound: SocketAddr) -> String {
    if !config.replica.is_empty() {
        return config.replica.clone();
    }
    let host = std::env::var("HOSTNAME").ok().filter(|h| !h.is_empty());
    let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok().map(|h| h.trim().to_owned()));
    format!("{}:{}", host.filter(|h| !h.is_empty()).unwrap_or_else(|| bound.ip().to_string()), bound.port())
}

/// Writes a bound address to the file that was asked for, which readers see whole or not at all.
fn write_address(setting: &'static str, path: Option<&Path>, bound: SocketAddr) -> Result<(), ServerExit> {
    let Some(path) = path else { return Ok(()) };
    let failed = |source| ServerExit::AddrFile { setting, path: path.to_owned(), source };
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, format!("{bound}\n")).map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)
}
