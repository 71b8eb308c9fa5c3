//! Connections to one server: a few HTTP/2 connections, made when first needed,
//! kept alive, and used in turn by least calls in flight.
//!
//! One connection is one TCP stream and one task at either end, so large answers
//! queue behind one another on it; a few connections lift that (tonic issue 607
//! measured 30,000 to 170,000 calls a second from one to five).
//!
//! Connections belong to the tokio runtime that first used them.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::{
    error::{Error, ErrorKind},
    scatter::Stub,
};

/// HTTP/2 flow-control window of a connection and its streams: a part of a few hundred documents
/// fits without waiting for a window update.
const HTTP2_WINDOW_BYTES: u32 = 2 << 20;

/// Certificates for TLS.
///
/// Without any setting the server must have a certificate of a well-known authority.
#[derive(Clone, Default)]
pub struct Tls {
    ca: Option<Vec<u8>>,
    domain: Option<String>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Says what is set; the private key never shows.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ca, domain, identity } = self;
        f.debug_struct("Tls")
            .field("ca", &ca.is_some())
            .field("domain", domain)
            .field("identity", &identity.is_some())
            .finish()
    }
}

impl Tls {
    /// Trusts the well-known authorities.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities of these PEM certificates instead.
    #[must_use]
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Expects this name in the server's certificate, rather than the host of its address.
    #[must_use]
    pub fn domain(mut self, name: impl Into<String>) -> Self {
        self.domain = Some(name.into());
        self
    }

    /// Shows this PEM certificate, with its PEM key, to servers that ask for one.
    #[must_use]
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// The PEM reader skips what it does not know, and would leave nothing to trust.
    fn problem(&self) -> Option<&'static str> {
        let has = |pem: &[u8], what: &str| pem.windows(what.len()).any(|part| part == what.as_bytes());
        let (certificate, key) = ("-----BEGIN CERTIFICATE-----", "PRIVATE KEY-----");
        if self.ca.as_ref().is_some_and(|pem| !has(pem, certificate)) {
            return Some("tls: ca holds no certificate in pem form");
        }
        let identity = self.identity.as_ref()?;
        let whole = has(&identity.0, certificate) && has(&identity.1, key);
        (!whole).then_some("tls: identity is no certificate and key in pem form")
    }

    fn config(&self) -> ClientTlsConfig {
        // rustls panics where a program has two providers compiled in and has chosen none. A
        // program that has chosen keeps its choice: then this fails, which is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = match &self.ca {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_webpki_roots(),
        };
        if let Some(domain) = &self.domain {
            config = config.domain_name(domain);
        }
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        config
    }
}

/// How connections are made, the same for every server.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) tls: Option<Tls>,
    pub(crate) connect_timeout: Duration,
    pub(crate) keepalive_interval: Duration,
    pub(crate) keepalive_timeout: Duration,
    pub(crate) user_agent: String,
    pub(crate) connections: usize,
    pub(crate) max_message_bytes: usize,
}

/// One server: its address and its connections.
#[derive(Debug)]
pub(crate) struct Server {
    address: String,
    endpoint: Endpoint,
    connections: Box<[Connection]>,
    max_message_bytes: usize,
}

#[derive(Debug, Default)]
struct Connection {
    channel: OnceLock<Channel>,
    in_flight: Arc<AtomicUsize>,
}

/// A connection taken for one call; the call counts as in flight until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    stub: Stub,
    in_flight: Arc<AtomicUsize>,
}

impl Lease {
    pub(crate) fn stub(&self) -> Stub {
        self.stub.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    /// Reads the address; nothing is connected.
    pub(crate) fn new(address: &str, transport: &Transport) -> Result<Self, Error> {
        let scheme = if transport.tls.is_some() { "https" } else { "http" };
        let full = if address.contains("://") { address.to_owned() } else { format!("{scheme}://{address}") };
        let bad = |why: String| Error::new(ErrorKind::Config, format!("endpoint {address:?}: {why}"));
        let mut endpoint = Endpoint::from_shared(full.clone())
            .map_err(|error| bad("is no address of a server".to_owned()).with_source(error))?;
        match endpoint.uri().scheme_str() {
            Some("https") => {
                let tls = transport.tls.clone().unwrap_or_default();
                if let Some(problem) = tls.problem() {
                    return Err(bad(problem.to_owned()));
                }
                endpoint = endpoint
                    .tls_config(tls.config())
                    .map_err(|e| bad("tls cannot be set up".to_owned()).with_source(e))?;
            }
            Some("http") if transport.tls.is_none() => {}
            Some("http") => return Err(bad("tls was asked for, but the address says http".to_owned())),
            _ => return Err(bad("the scheme is neither http nor https".to_owned())),
        }
        let endpoint = endpoint
            .user_agent(&transport.user_agent)
            .map_err(|error| bad("the user agent is no header value".to_owned()).with_source(error))?
            .connect_timeout(transport.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(transport.keepalive_interval)
            .keep_alive_timeout(transport.keepalive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES);
        let connections = (0..transport.connections).map(|_| Connection::default()).collect();
        Ok(Self { address: full, endpoint, connections, max_message_bytes: transport.max_message_bytes })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Takes the connection with the fewest calls in flight. Must be called inside a tokio runtime.
    pub(crate) fn lease(&self) -> Result<Lease, Error> {
        let least = self.connections.iter().min_by_key(|c| c.in_flight.load(Ordering::Relaxed));
        let connection = least.ok_or_else(|| Error::new(ErrorKind::Config, "an endpoint has no connections"))?;
        let channel = connection.channel.get_or_init(|| self.endpoint.connect_lazy()).clone();
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        let stub = Stub::new(channel)
            .max_decoding_message_size(self.max_message_bytes)
            .max_encoding_message_size(self.max_message_bytes);
        Ok(Lease { stub, in_flight: Arc::clone(&connection.in_flight) })
    }
}
