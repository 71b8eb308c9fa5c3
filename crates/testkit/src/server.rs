//! One scripted server: its port, its script, its connections.

use std::{io, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use sortie_proto::v1::{LoadReport, ModelInfo, encoder_service_server::EncoderServiceServer};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    codec::CompressionEncoding,
    transport::{Server, ServerTlsConfig},
};

use crate::{
    closed_port::ClosedPort,
    faulty_connection::FaultSwitch,
    script::{RecordedCall, Reply, Script},
    service::{Scripted, default_model, default_report},
};

/// Largest message taken, as by a real server.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// A scripted server. It stops when it is dropped.
#[derive(Debug)]
pub struct TestServer {
    scheme: &'static str,
    /// Its address, which stays its own while it is dead.
    place: ClosedPort,
    service: Scripted,
    faults: FaultSwitch,
    stop: CancellationToken,
    task: JoinSet<Result<(), tonic::transport::Error>>,
}

impl TestServer {
    /// Starts one on a free port of this machine. It answers every call until told otherwise.
    ///
    /// # Errors
    ///
    /// Where no port can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::serve(Server::builder(), "http").await
    }

    /// Starts one that takes so many calls at once on a connection (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    ///
    /// # Errors
    ///
    /// Where no port can be bound.
    pub async fn start_limited(max_streams: u32) -> io::Result<Self> {
        Self::serve(Server::builder().max_concurrent_streams(max_streams), "http").await
    }

    /// Starts one that speaks TLS.
    ///
    /// # Errors
    ///
    /// Where no port can be bound, or the certificates are none.
    pub async fn start_tls(tls: ServerTlsConfig) -> io::Result<Self> {
        // With two providers compiled in and none chosen rustls panics; an earlier choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::serve(Server::builder().tls_config(tls).map_err(io::Error::other)?, "https").await
    }

    async fn serve(server: Server, scheme: &'static str) -> io::Result<Self> {
        let place = ClosedPort::new()?;
        let listener = place.listen()?;
        let faults = FaultSwitch::default();
        let service = Scripted {
            replica: format!("replica-{}", place.socket().port()),
            script: Arc::new(Script::default()),
            model: Arc::new(Mutex::new(default_model())),
            report: Arc::new(Mutex::new(default_report())),
            faults: faults.clone(),
        };
        let (stop, task) = (CancellationToken::new(), JoinSet::new());
        let mut test_server = Self { scheme, place, service, faults, stop, task };
        test_server.listen(server, listener);
        Ok(test_server)
    }

    /// Serves a listener until it is told to stop.
    fn listen(&mut self, mut server: Server, listener: TcpListener) {
        let encoder = EncoderServiceServer::new(self.service.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let lines = self.faults.clone();
        let incoming = TcpListenerStream::new(listener).map(move |stream| {
            let stream = stream?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(lines.connection(stream))
        });
        let stopped = self.stop.clone().cancelled_owned();
        self.task.spawn(async move {
            let serving = server.add_service(encoder).serve_with_incoming(incoming);
            tokio::select! {
                served = serving => served,
                () = stopped => Ok(()),
            }
        });
    }

    /// Stops reading and writing, as a stopped process does: connections stay, nothing is answered.
    pub fn freeze(&self) {
        self.faults.freeze(true);
    }

    /// Goes on where it stopped.
    pub fn thaw(&self) {
        self.faults.freeze(false);
    }

    /// Its port, `127.0.0.1:…`.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        self.place.socket()
    }

    /// Comes back on the same port after [`TestServer::kill`].
    ///
    /// # Errors
    ///
    /// Where it cannot listen any more.
    pub fn revive(&mut self) -> io::Result<()> {
        let listener = self.place.listen()?;
        self.stop = CancellationToken::new();
        self.listen(Server::builder(), listener);
        Ok(())
    }

    /// Where it listens, as an endpoint.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}://{}", self.scheme, self.place.socket())
    }

    /// Its name in answers.
    #[must_use]
    pub fn replica(&self) -> &str {
        &self.service.replica
    }

    /// Meets the next call that is not scripted yet with this; may be said several times. GetModel,
    /// ListModels and Probe are not scripted: they are always answered.
    pub fn then(&self, reply: Reply) -> &Self {
        self.service.script.push(reply);
        self
    }

    /// Meets every further call with this.
    pub fn always(&self, reply: Reply) -> &Self {
        self.service.script.always(reply);
        self
    }

    /// Meets hedges and retries, which are second attempts and later ones, with this, whatever else is scripted.
    pub fn again(&self, reply: Reply) -> &Self {
        self.service.script.again(reply);
        self
    }

    /// Changes how it describes its model.
    pub fn model(&self, change: impl FnOnce(&mut ModelInfo)) -> &Self {
        change(&mut self.service.model.lock());
        self
    }

    /// Changes what it reports when probed.
    pub fn load(&self, change: impl FnOnce(&mut LoadReport)) -> &Self {
        change(&mut self.service.report.lock());
        self
    }

    /// The calls that came so far, GetModel, ListModels and Probe left out.
    #[must_use]
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.service.script.calls()
    }

    /// The calls of GetModel and Probe that came so far.
    #[must_use]
    pub fn first_contacts(&self) -> Vec<RecordedCall> {
        self.service.script.first_contacts()
    }

    /// Dies: connections are reset, new ones are refused.
    pub async fn kill(&mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
        self.faults.cut();
    }
}
