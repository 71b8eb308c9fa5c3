//! From a configuration and a listener to a running server, and back down.
//!
//! Up: load every model → health SERVING → accept; asked to stop meanwhile, it ends
//! at once. Down: health NOT_SERVING and
//! reports DRAINING → `drain_delay_ms` → refuse new work, close the listener,
//! finish what is in flight within `shutdown_grace_ms` → return.

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use sortie_proto::v1::{ModelState, encoder_service_server::EncoderServiceServer};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::oneshot,
    task::JoinSet,
};
use tonic::{
    codec::CompressionEncoding,
    transport::{Server, server::TcpIncoming},
};

use crate::{
    config::{Config, defaults},
    health::Health,
    layer::RequestLayer,
    models::{Registry, Served, StartupError},
    reflection,
    service::Service,
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why the server did not start or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The address cannot be listened on.
    #[error("listen: cannot listen on {address}")]
    Listen {
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
    #[error("addr_file: cannot write {}", .path.display())]
    AddrFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The transport failed.
    #[error("the transport failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Takes the address of `config`, loads its models, then listens and serves until `shutdown`
/// resolves.
///
/// The address is taken before models load, so that one in use is known at once, but nothing is
/// accepted before they are there. When `shutdown` resolves while they load, nothing is served.
///
/// # Errors
/// When the address is taken, a model does not load or the transport fails.
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), RunError> {
    let address = config.listen;
    let failed = |source| RunError::Listen { address, source };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    // As tokio's own listener does: a restart must not wait for old connections to time out.
    #[cfg(unix)]
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    tokio::pin!(shutdown);
    let Some(registry) = load(&config, bound, shutdown.as_mut()).await? else { return Ok(()) };
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    serve_models(listener, registry, config, shutdown).await
}

/// Loads the models of `config` and serves them on `listener` until `shutdown` resolves.
///
/// When it resolves while they load, nothing is served.
///
/// # Errors
/// When a model does not load or the transport fails.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let failed = |source| RunError::Listen { address: config.listen, source };
    let bound = listener.local_addr().map_err(failed)?;
    tokio::pin!(shutdown);
    let Some(registry) = load(&config, bound, shutdown.as_mut()).await? else { return Ok(()) };
    serve_models(listener, registry, config, shutdown).await
}

/// Loads the models, or gives none when `shutdown` resolves first.
async fn load(
    config: &Config,
    bound: SocketAddr,
    shutdown: impl Future<Output = ()>,
) -> Result<Option<Registry>, StartupError> {
    let replica = replica(config, bound);
    tokio::select! {
        biased;
        () = shutdown => {
            tracing::info!("stopped before every model was loaded");
            Ok(None)
        }
        loaded = Registry::load(config, &replica) => loaded.map(Some),
    }
}

/// Serves loaded models.
async fn serve_models(
    listener: TcpListener,
    registry: Registry,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let bound = listener.local_addr().map_err(|source| RunError::Listen { address: config.listen, source })?;
    let (health, health_service) = Health::new(registry.names()).await;

    let max_message = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
    let encoder = EncoderServiceServer::new(Service::new(registry.clone(), config.max_message_bytes))
        .max_decoding_message_size(max_message)
        .max_encoding_message_size(max_message)
        // Answers are floats, which compress poorly: requests may be compressed, answers are not.
        .accept_compressed(CompressionEncoding::Gzip);
    let (v1, alpha) = match config.reflection {
        true => (Some(reflection::current()?), Some(reflection::alpha()?)),
        false => (None, None),
    };
    let only = registry.get("").ok().cloned();
    let router = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_millis(defaults::HTTP2_KEEPALIVE_MS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(defaults::HTTP2_KEEPALIVE_TIMEOUT_MS)))
        .layer(RequestLayer::new(config.max_concurrent_requests, config.max_message_bytes, only))
        .add_service(encoder)
        .add_optional_service(config.health.then_some(health_service))
        .add_optional_service(v1)
        .add_optional_service(alpha);

    if let Some(path) = &config.addr_file {
        write_whole(path, &format!("{bound}\n")).map_err(|source| RunError::AddrFile { path: path.clone(), source })?;
    }
    health.serving().await;
    let mut watchers = JoinSet::new();
    for served in registry.all() {
        watchers.spawn(watch(Arc::clone(served), health.clone()));
    }
    tracing::info!(address = %bound, models = registry.names().join(","), "listening on {bound}");

    let (stop, stopped) = oneshot::channel::<()>();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = router.serve_with_incoming_shutdown(incoming, async {
        // An error means that the sender is gone, which also means stop.
        let _ = stopped.await;
    });
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = shutdown => {}
    }

    tracing::info!(drain_delay_ms = config.drain_delay_ms, grace_ms = config.shutdown_grace_ms, "stopping");
    registry.announce_drain();
    health.not_serving().await;
    if config.drain_delay_ms > 0 {
        let delay = tokio::time::sleep(Duration::from_millis(config.drain_delay_ms));
        tokio::select! {
            ended = &mut server => return Ok(ended?),
            () = delay => {}
        }
    }
    registry.drain();
    health.end_watches().await;
    let _ = stop.send(());
    match tokio::time::timeout(Duration::from_millis(config.shutdown_grace_ms), server).await {
        Ok(ended) => ended?,
        Err(_) => tracing::warn!("requests were still in flight after {} ms", config.shutdown_grace_ms),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Says NOT_SERVING for a model whose thread ended though nobody asked for it.
async fn watch(served: Arc<Served>, health: Health) {
    served.scheduler.drained().await;
    if served.state() == ModelState::Failed {
        tracing::error!(model = served.name, "the model's thread ended");
        health.failed(&served.name).await;
    }
}

/// The name of this process in answers: the one set, else host and port.
fn replica(config: &Config, bound: SocketAddr) -> String {
    if !config.replica.is_empty() {
        return config.replica.clone();
    }
    let host = std::env::var("HOSTNAME").ok().filter(|h| !h.is_empty());
    let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok().map(|h| h.trim().to_owned()));
    format!("{}:{}", host.filter(|h| !h.is_empty()).unwrap_or_else(|| bound.ip().to_string()), bound.port())
}

/// Writes a file that readers see whole or not at all.
fn write_whole(path: &std::path::Path, text: &str) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, text)?;
    std::fs::rename(&part, path)
}
