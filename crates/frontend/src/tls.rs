//! TLS and mutual TLS, by rustls on ring. Certificates are read anew when their
//! files change: later connections get the new ones, open connections stay.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::FrontendConfig,
    metrics::WireMetrics,
    protocol::Protocol,
    reload::{FileError, NamedFile, Reloaded},
};

/// What the protocols are called during the handshake (RFC 9113 §3.2, RFC 7301 §6).
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

const CERT: &str = "tls_cert";
const KEY: &str = "tls_key";
const CLIENT_CA: &str = "tls_client_ca";

/// The server's side of TLS.
#[derive(Debug)]
pub(crate) struct ServerTls(Reloaded<TlsAcceptor>);

impl ServerTls {
    /// Reads the files of `config`; none where it names none.
    ///
    /// # Errors
    /// When a file cannot be read or holds no certificate, no key, or ones that do not belong together.
    pub(crate) async fn start(
        config: &FrontendConfig,
        protocol: Protocol,
        metrics: &WireMetrics,
    ) -> Result<Option<Self>, FileError> {
        let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
        let mut files: Vec<NamedFile> = vec![(CERT, cert.clone()), (KEY, key.clone())];
        files.extend(config.tls_client_ca.iter().map(|path: &PathBuf| (CLIENT_CA, path.clone())));
        let interval = config.reload_interval.0;
        Ok(Some(Self(
            Reloaded::start("tls", files, interval, metrics.clone(), move |files| acceptor(files, protocol)).await?,
        )))
    }

    /// Takes handshakes with the certificates of now.
    pub(crate) fn acceptor(&self) -> Arc<TlsAcceptor> {
        self.0.get()
    }
}

/// Of certificate chain, key and, for mutual TLS, the authorities of clients.
fn acceptor(files: &[Vec<u8>], protocol: Protocol) -> Result<TlsAcceptor, FileError> {
    let [cert, key, rest @ ..] = files else { return Err(wrong(CERT, "no certificate and key")) };
    let chain = certificates(CERT, cert)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| wrong(KEY, "holds no private key in PEM"))?;
    let provider = Arc::new(ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(CERT, e))?;
    let builder = match rest.first() {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let verifier = verifier(authorities, provider)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|e| wrong(KEY, e))?;
    config.alpn_protocols = match protocol {
        Protocol::Grpc => vec![HTTP2.to_vec()],
        Protocol::Http => vec![HTTP2.to_vec(), HTTP1.to_vec()],
    };
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(
    authorities: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, FileError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(CLIENT_CA, authorities)? {
        roots.add(authority).map_err(|e| wrong(CLIENT_CA, e))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|e| wrong(CLIENT_CA, e))
}

fn certificates(setting: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|e| wrong(setting, e))?;
    if chain.is_empty() {
        return Err(wrong(setting, "holds no certificate in PEM"));
    }
    Ok(chain)
}

fn wrong(setting: &'static str, message: impl ToString) -> FileError {
    FileError::Content { setting, message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_by_its_setting_and_never_shown() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = |text: String| text.into_bytes();
        let (cert, key) = (pem(own.cert.pem()), pem(own.signing_key.serialize_pem()));
        assert!(acceptor(&[cert.clone(), key.clone()], Protocol::Grpc).is_ok());
        assert!(acceptor(&[cert.clone(), key.clone(), cert.clone()], Protocol::Http).is_ok());
        let strange = pem(other.signing_key.serialize_pem());
        for (files, setting) in [
            (vec![b"nothing".to_vec(), key.clone()], CERT),
            (vec![cert.clone(), b"secret-nothing".to_vec()], KEY),
            (vec![cert.clone(), strange], KEY),
            (vec![cert.clone(), key, b"nothing".to_vec()], CLIENT_CA),
        ] {
            let Err(error) = acceptor(&files, Protocol::Grpc) else { panic!("{setting} was taken") };
            let error = error.to_string();
            assert!(error.starts_with(setting) && !error.contains("secret"), "{error}");
        }
    }
}
