//! Makes one HTTP/2 connection: TCP, TLS where the address says so, handshake.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use http::HeaderValue;
use hyper::client::conn::http2;
use hyper_util::{
    client::legacy::connect::HttpConnector,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tonic::codegen::Service as _;

use super::{address::Address, wire::Wire};
use crate::error::{Error, ErrorKind};

/// HTTP/2 flow-control window of a connection and its streams, that is, of answers: vectors for a chunk of a few
/// hundred documents come without waiting for a window update. The price is memory: a connection may hold as many bytes
/// of answers that nobody has read yet.
const HTTP2_WINDOW_BYTES: u32 = 2 << 20;

/// How long an idle TCP connection goes before the kernel asks whether the peer is still there:
/// below the time after which load balancers and NAT forget a connection (60 s and more).
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// How connections are made, the same for every server.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) tls: Option<super::Tls>,
    pub(crate) connect_timeout: Duration,
    pub(crate) keepalive_interval: Duration,
    pub(crate) keepalive_timeout: Duration,
    pub(crate) keepalive_while_idle: bool,
    pub(crate) user_agent: String,
    pub(crate) connections: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_streams: usize,
    pub(crate) max_message_bytes: usize,
    pub(crate) compression: Option<crate::compression::Compression>,
}

/// A connection's life: it must be polled for the connection to live, and ends with it.
pub(crate) type ConnectionDriver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// Makes connections to one address.
#[derive(Clone)]
pub(crate) struct Dialer {
    address: Address,
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    http2: http2::Builder<TokioExecutor>,
    user_agent: HeaderValue,
    within: Duration,
    max_streams: usize,
}

impl Dialer {
    /// A dialer for an address; `tls` is what [`super::Tls::config`] made.
    pub(crate) fn new(address: Address, transport: &Transport, tls: Arc<rustls::ClientConfig>) -> Result<Self, Error> {
        let bad = |why: &str| Error::new(ErrorKind::Config, format!("endpoint {:?}: {why}", address.as_str()));
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        tcp.set_connect_timeout(Some(transport.connect_timeout));
        let domain = transport.tls.as_ref().and_then(super::Tls::domain_name);
        let tls = if address.is_tls() {
            let name = domain.unwrap_or_else(|| address.host()).to_owned();
            let name = ServerName::try_from(name)
                .map_err(|error| bad("its name cannot be in a certificate").with_source(error))?;
            Some((TlsConnector::from(tls), name))
        } else {
            None
        };
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .keep_alive_interval(transport.keepalive_interval)
            .keep_alive_timeout(transport.keepalive_timeout)
            .keep_alive_while_idle(transport.keepalive_while_idle);
        let user_agent = HeaderValue::from_str(&transport.user_agent)
            .map_err(|error| bad("the user agent is no header value").with_source(error))?;
        let (within, max_streams) = (transport.connect_timeout, transport.max_streams);
        Ok(Self { address, tcp, tls, http2, user_agent, within, max_streams })
    }

    /// Makes a connection, within the connect timeout.
    pub(crate) async fn dial(&self) -> Result<(Wire, ConnectionDriver), Error> {
        let late = |_| self.failed(format!("no connection within {:?}", self.within));
        tokio::time::timeout(self.within, self.connect()).await.map_err(late)?
    }

    pub(crate) fn address(&self) -> &str {
        self.address.as_str()
    }

    fn failed(&self, message: String) -> Error {
        Error::new(ErrorKind::Unavailable, message).with_endpoint(self.address.as_str())
    }

    async fn connect(&self) -> Result<(Wire, ConnectionDriver), Error> {
        let tcp = self.tcp.clone().call(self.address.uri().clone()).await;
        let tcp = tcp.map_err(|error| self.failed(innermost(&error)).with_source(error))?.into_inner();
        let Some((tls, name)) = &self.tls else { return self.handshake(tcp).await };
        let stream = tls.connect(name.clone(), tcp).await;
        let stream = stream.map_err(|error| self.failed(innermost(&error)).with_source(error))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(self.failed("the server does not speak HTTP/2".to_owned()));
        }
        self.handshake(stream).await
    }

    async fn handshake<T>(&self, io: T) -> Result<(Wire, ConnectionDriver), Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shaken = self.http2.handshake(TokioIo::new(io)).await;
        let (send, mut connection) = shaken.map_err(|error| self.failed(innermost(&error)).with_source(error))?;
        let wire = Wire::new(send, self.user_agent.clone(), self.max_streams);
        let limit = wire.limit();
        let driver = std::future::poll_fn(move |cx| {
            let ended = Pin::new(&mut connection).poll(cx);
            limit.allow(connection.current_max_send_streams());
            ended
        });
        Ok((wire, Box::pin(driver)))
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("address", &self.address.as_str()).finish_non_exhaustive()
    }
}

/// The last cause of an error, which says most.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
