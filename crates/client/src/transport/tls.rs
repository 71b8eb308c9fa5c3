//! Certificates: whom to trust, and whom to say one is.
//!
//! Invariant: the private key is never printed, not in errors either.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::error::{Error, ErrorKind};

/// Certificates for TLS.
///
/// Without any setting the server must have a certificate of a well-known authority.
#[derive(Clone, Default)]
pub struct Tls {
    ca: Option<Vec<u8>>,
    domain: Option<String>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Prints what is set, and never the private key.
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

    /// What rustls needs. The provider is the program's own where it has chosen one, else ring.
    pub(crate) fn config(&self) -> Result<ClientConfig, Error> {
        let chosen = CryptoProvider::get_default().cloned();
        let provider = chosen.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad("no protocol version that the provider knows").with_source(error))?
            .with_root_certificates(self.roots()?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let none = "identity is no certificate and key in pem form";
                let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
                let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| bad(none))?;
                // The source of this error may quote the key: it is dropped.
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| bad(none))?;
                let pair = builder.with_client_auth_cert(chain, key);
                pair.map_err(|error| bad("identity cannot be used").with_source(error))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        let Some(pem) = &self.ca else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            return Ok(roots);
        };
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| bad("ca cannot be read").with_source(error))?;
            roots
                .add(certificate)
                .map_err(|error| bad("ca holds no certificate of an authority").with_source(error))?;
        }
        // The reader skips what it does not know, and would leave nothing to trust.
        if roots.is_empty() { Err(bad("ca holds no certificate in pem form")) } else { Ok(roots) }
    }

    pub(crate) fn domain_name(&self) -> Option<&str> {
        self.domain.as_deref()
    }
}

fn bad(why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("tls: {why}"))
}
