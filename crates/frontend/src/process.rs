//! A process that listens, from its settings to its end.
//!
//! Up: keys and certificates → admin port → whatever the program needs → health SERVING → accept.
//! Down: health NOT_SERVING and reports DRAINING → `drain_grace` → refuse new work, close the listener,
//! finish what is in flight within `drain_timeout` → return.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use ::http::{Request, Response};
use axum::Router;
use sortie_page::{LivePage, PageSource};
use sortie_proto::v1::encoder_service_server::{EncoderService, EncoderServiceServer};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{
    body::Body,
    codec::CompressionEncoding,
    service::{Routes, RoutesBuilder},
};
use tower::{Layer as _, ServiceExt as _};

use crate::{
    admin::{self, MetricsScrape},
    auth::Keys,
    backing::Backing,
    config::FrontendConfig,
    connection::{ConnectionLimits, accept},
    health::ServerHealth,
    http,
    layer::{RequestLayer, RequestService},
    load_reports::OrcaStream,
    metrics::{FrontendMetrics, RequestMetrics},
    open_files,
    page::{MountedPage, PageAccess},
    panics,
    phase::Phase,
    protocol::Protocol,
    reflection,
    reload::{FileError, NamedFile, Reloaded},
    tls::ServerTls,
    traces::Traces,
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why the process did not start or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontendError {
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
    /// Traces cannot be sent as asked.
    #[error("otlp_endpoint: cannot send traces")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A file of keys or certificates cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// An address that is taken and not listened on yet: one in use is known at once, and nothing is accepted before the
/// program is ready.
#[derive(Debug)]
pub struct BoundAddress {
    setting: &'static str,
    socket: TcpSocket,
    address: SocketAddr,
}

impl BoundAddress {
    /// Takes `address`, which `setting` names.
    ///
    /// # Errors
    /// When it is taken already.
    pub fn take(setting: &'static str, address: SocketAddr) -> Result<Self, FrontendError> {
        let failed = |source| FrontendError::Listen { setting, address, source };
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
        // As tokio's own listener does: a restart must not wait for old connections to time out.
        #[cfg(unix)]
        socket.set_reuseaddr(true).map_err(failed)?;
        socket.bind(address).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { setting, socket, address })
    }

    /// The address, its port filled in.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen(self) -> Result<TcpListener, FrontendError> {
        let Self { setting, socket, address } = self;
        socket.listen(BACKLOG).map_err(|source| FrontendError::Listen { setting, address, source })
    }
}

/// What a program serves.
#[derive(Debug)]
pub struct Services {
    /// `sortie.v1` in process, for what stands on it.
    pub stack: Stack,
    /// Its gRPC services, `sortie.v1` among them, without health and reflection.
    pub routes: RoutesBuilder,
    /// Descriptors of those besides `sortie.v1`, for reflection.
    pub descriptors: Vec<&'static [u8]>,
    layer: RequestLayer,
    health: ServerHealth,
    /// Whether what answers is there: health and the admin port say so. Its sender may be dropped.
    answering: watch::Receiver<bool>,
}

/// `sortie.v1` in process, behind the layer: what is called there has its key, deadline, permit and count like any call.
pub type Stack = RequestService<Routes>;

/// What lives as long as a process of ours listens.
#[derive(Debug)]
pub struct Frontend {
    config: FrontendConfig,
    metrics: Arc<FrontendMetrics>,
    phase: Arc<Phase>,
    /// Keys that callers must show, if they must.
    callers: Option<Arc<Keys>>,
    tls: Option<Arc<ServerTls>>,
    /// Where plain HTTP is served: its listener and its TLS.
    http: Option<(BoundAddress, Option<Arc<ServerTls>>)>,
    traces: Option<Arc<Traces>>,
    /// What browsers see, where they see something.
    page: Option<LivePage>,
    /// The admin port's task; ends with this.
    admin: Option<AbortOnDropHandle<()>>,
}

impl Frontend {
    /// Reads keys and certificates, before anything that takes long. `program` is the name in traces.
    ///
    /// # Errors
    /// When a file cannot be used or traces cannot be sent as asked.
    pub async fn start(
        config: FrontendConfig,
        metrics: Arc<FrontendMetrics>,
        program: &'static str,
    ) -> Result<Self, FrontendError> {
        panics::watch();
        open_files::allow_most();
        let callers = Keys::of_callers(&config, &metrics.wire).await?;
        let tls = ServerTls::start(&config, Protocol::Grpc, &metrics.wire).await?.map(Arc::new);
        let http = match config.http {
            None => None,
            Some(address) => {
                let listener = BoundAddress::take("http", address)?;
                let tls = ServerTls::start(&config, Protocol::Http, &metrics.wire).await?.map(Arc::new);
                Some((listener, tls))
            }
        };
        let traces = Traces::start(&config, program)?.map(Arc::new);
        let phase = Arc::<Phase>::default();
        let ready = Arc::clone(&phase);
        let page = config.page.then(|| LivePage::new(program, Arc::new(move || ready.ready())));
        Ok(Self { config, metrics, phase, callers, tls, http, traces, page, admin: None })
    }

    /// Opens the admin port where the settings name one: what every process has, and `more` of the program.
    ///
    /// # Errors
    /// When its address is taken or its address file cannot be written.
    pub async fn open_admin(&mut self, scrape: MetricsScrape, more: Router) -> Result<(), FrontendError> {
        let Some(address) = self.config.admin else { return Ok(()) };
        let failed = |source| FrontendError::Listen { setting: "admin", address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        write_address("admin_addr_file", self.config.admin_addr_file.as_deref(), bound)?;
        tracing::info!(address = %bound, "admin port on {bound}");
        let mut router = admin::router(Arc::clone(&self.phase), scrape).merge(more);
        if let Some(page) = &self.page {
            // It has no TLS, so nobody shows a certificate.
            let access = PageAccess::of("admin", bound, self.callers.clone(), false);
            router = router.merge(MountedPage::new(page.clone(), access).router());
        }
        // Until dropped: through the whole drain, so that its last state can be scraped.
        let serving = axum::serve(listener, router);
        self.admin = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the admin port failed");
            }
        })));
        Ok(())
    }

    /// The page shows `source` from now on.
    pub fn show(&self, source: Arc<dyn PageSource>) {
        if let Some(page) = &self.page {
            page.show(source);
        }
    }

    /// The name of this process in answers: the one set, else host and port.
    #[must_use]
    pub fn replica(&self, bound: SocketAddr) -> String {
        if !self.config.replica.is_empty() {
            return self.config.replica.clone();
        }
        let host = std::env::var("HOSTNAME").ok().filter(|h| !h.is_empty());
        let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok().map(|h| h.trim().to_owned()));
        format!("{}:{}", host.filter(|h| !h.is_empty()).unwrap_or_else(|| bound.ip().to_string()), bound.port())
    }

    /// A value made of files, and made anew when they change; `what` is the label in metrics, one of
    /// [`RELOADED`](crate::metrics::RELOADED).
    ///
    /// # Errors
    /// When a file cannot be read or makes no sense now; later that is logged only.
    pub async fn reloaded<T: Send + Sync + 'static>(
        &self,
        what: &'static str,
        files: Vec<NamedFile>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Reloaded<T>, FileError> {
        Reloaded::start(what, files, self.config.reload_interval.0, self.metrics.wire.clone(), make).await
    }

    /// Where requests are counted.
    #[must_use]
    pub fn requests(&self) -> Arc<RequestMetrics> {
        Arc::clone(&self.metrics.requests)
    }

    /// What a program serves: `service` is the contract's, `backing` what answers behind it, `health` its health.
    #[must_use]
    pub fn services<S: EncoderService>(
        &self,
        service: S,
        backing: Arc<dyn Backing>,
        health: ServerHealth,
        answering: watch::Receiver<bool>,
    ) -> Services {
        let max_message = usize::try_from(self.config.max_message_bytes).unwrap_or(usize::MAX);
        let encoder = EncoderServiceServer::new(service)
            .max_decoding_message_size(max_message)
            .max_encoding_message_size(max_message)
            // Answers are floats, which compress poorly: requests may be compressed, answers are not.
            .accept_compressed(CompressionEncoding::Gzip);
        let requests = Arc::clone(&self.metrics.requests);
        let (keys, traces, jobs) = (self.callers.clone(), self.traces.clone(), self.page.as_ref().map(LivePage::jobs));
        let layer = RequestLayer::new(&self.config, backing, requests, keys, traces, jobs);
        let stack = layer.layer(Routes::new(encoder.clone()).prepare());
        let mut routes = Routes::builder();
        routes.add_service(encoder);
        Services { stack, routes, descriptors: Vec::new(), layer, health, answering }
    }

    /// Serves until `shutdown` resolves and what is in flight is done, or `drain_timeout` is over.
    ///
    /// # Errors
    /// When the address file cannot be written.
    pub async fn serve(
        self,
        listener: TcpListener,
        services: Services,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), FrontendError> {
        let Self { config, metrics, phase, callers, tls, http, traces, page, admin: _admin } = self;
        let address = config.listen;
        let bound =
            listener.local_addr().map_err(|source| FrontendError::Listen { setting: "listen", address, source })?;
        let Services { stack, mut routes, descriptors, layer, health, mut answering } = services;
        let backing = layer.backing();
        routes.add_service(OrcaStream::service(layer.reports(), health.leaving()));
        if config.health {
            routes.add_service(health.service());
        }
        if config.reflection {
            routes.add_service(reflection::current(&descriptors)?).add_service(reflection::alpha(&descriptors)?);
        }
        let service = layer.layer(routes.routes().prepare());

        let stop = CancellationToken::new();
        let limits = ConnectionLimits::of(&config);
        let grpc = accept(listener, service, Protocol::Grpc, tls, limits, metrics.wire.clone(), stop.clone());
        let http = match http {
            None => None,
            Some((bound, tls)) => {
                let address = bound.address();
                let listener = bound.listen()?;
                write_address("http_addr_file", config.http_addr_file.as_deref(), address)?;
                tracing::info!(%address, "http on {address}");
                let mut options = http::options(&config, Arc::clone(&phase));
                let mut router = Router::new();
                if let Some(page) = page {
                    let certified = config.tls_client_ca.is_some();
                    let access = PageAccess::of("http", address, callers, certified);
                    let page = MountedPage::new(page.with_dialects(), access);
                    router = page.files();
                    options.page = Some(Arc::new(move |request| page.root(request)));
                }
                let router = router.merge(sortie_http::routes(stack, options));
                let service = router.map_request(|request: Request<Body>| request.map(axum::body::Body::new));
                let service = service.map_response(|response: Response<axum::body::Body>| response.map(Body::new));
                Some(accept(listener, service, Protocol::Http, tls, limits, metrics.wire.clone(), stop.clone()))
            }
        };
        let server = async {
            match http {
                Some(http) => drop(tokio::join!(grpc, http)),
                None => grpc.await,
            }
        };
        tokio::pin!(server);

        write_address("addr_file", config.addr_file.as_deref(), bound)?;
        if *answering.borrow() {
            health.serving().await;
        } else {
            phase.answering(false);
        }
        phase.serving();
        tracing::info!(address = %bound, "listening on {bound}");
        tokio::select! {
            () = &mut server => return Ok(()),
            () = shutdown => {}
            never = follow(&mut answering, &health, &phase) => match never {},
        }

        tracing::info!(drain_grace = %config.drain_grace, drain_timeout = %config.drain_timeout, "stopping");
        phase.draining();
        backing.announce_drain();
        health.not_serving().await;
        if let Some(grace) = config.drain_grace.some() {
            tokio::select! {
                () = &mut server => return Ok(()),
                () = tokio::time::sleep(grace) => {}
            }
        }
        backing.drain();
        health.end_watches().await;
        stop.cancel();
        if tokio::time::timeout(config.drain_timeout.0, server).await.is_err() {
            tracing::warn!("requests were still in flight after {}", config.drain_timeout);
        }
        if let Some(traces) = traces {
            traces.finish().await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Says through health and the admin port whether what answers is there, for as long as it is polled.
async fn follow(answering: &mut watch::Receiver<bool>, health: &ServerHealth, phase: &Phase) -> Infallible {
    while answering.changed().await.is_ok() {
        let answers = *answering.borrow_and_update();
        phase.answering(answers);
        if answers { health.serving().await } else { health.not_serving().await }
    }
    std::future::pending().await
}

/// Writes a bound address to the file that was asked for, which readers see whole or not at all.
fn write_address(setting: &'static str, path: Option<&Path>, bound: SocketAddr) -> Result<(), FrontendError> {
    let Some(path) = path else { return Ok(()) };
    let failed = |source| FrontendError::AddrFile { setting, path: path.to_owned(), source };
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, format!("{bound}\n")).map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)
}
