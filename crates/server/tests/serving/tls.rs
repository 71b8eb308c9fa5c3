//! TLS, mutual TLS, and certificates that change while connections are open.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sortie_frontend::config::ConfigDuration;
use sortie_proto::v1;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::support::{Client, Running, with_frontend};

/// An authority that signs for localhost.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        // rustls is compiled with two providers; the client side of these tests takes ring.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut about = CertificateParams::new(vec![]).unwrap();
        about.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(about, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (certificate.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Puts a new certificate into the folder, the pair at once as far as a reader can tell.
    fn renew(&self, dir: &Path) {
        let (certificate, key) = self.sign();
        for (name, text) in [("cert.pem", certificate), ("key.pem", key)] {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }

    /// A connection that trusts this authority only.
    async fn connect(&self, server: &Running, identity: Option<&Authority>) -> Result<Client, tonic::transport::Error> {
        let tls = ClientTlsConfig::new().domain_name("localhost").ca_certificate(Certificate::from_pem(self.pem()));
        let tls = match identity {
            Some(authority) => {
                let (certificate, key) = authority.sign();
                tls.identity(Identity::from_pem(certificate, key))
            }
            None => tls,
        };
        let endpoint = Channel::from_shared(format!("https://{}", server.address)).unwrap().tls_config(tls)?;
        Ok(Client::new(endpoint.connect().await?))
    }
}

async fn serve(dir: &Path, clients: Option<&Authority>) -> Running {
    let client_ca = clients.map(|authority| {
        let path = dir.join("clients.pem");
        std::fs::write(&path, authority.pem()).unwrap();
        path
    });
    let config = with_frontend(&["bert-base"], |f| {
        f.tls_cert = Some(dir.join("cert.pem"));
        f.tls_key = Some(dir.join("key.pem"));
        f.tls_client_ca = client_ca;
        f.reload_interval = ConfigDuration::millis(1);
    });
    Running::start(config).await
}

async fn works(client: &mut Client) -> bool {
    client.list_models(v1::ListModelsRequest {}).await.is_ok()
}

#[tokio::test]
async fn a_server_with_a_certificate_speaks_tls_only() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.renew(dir.path());
    let server = serve(dir.path(), None).await;
    assert!(works(&mut authority.connect(&server, None).await.unwrap()).await);
    assert!(!works(&mut server.client().await).await, "plain HTTP/2 was answered");
    assert!(Authority::new().connect(&server, None).await.is_err(), "a stranger's authority was trusted");
}

#[tokio::test]
async fn with_client_authorities_only_their_callers_get_in() {
    let (dir, authority, clients) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    authority.renew(dir.path());
    let server = serve(dir.path(), Some(&clients)).await;
    assert!(works(&mut authority.connect(&server, Some(&clients)).await.unwrap()).await);
    for stranger in [None, Some(Authority::new())] {
        // The refusal may come with the handshake or, in TLS 1.3, right after it.
        let got_in = match authority.connect(&server, stranger.as_ref()).await {
            Ok(mut client) => works(&mut client).await,
            Err(_) => false,
        };
        assert!(!got_in, "certificate shown: {}", stranger.is_some());
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_dropping_connections() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    old.renew(dir.path());
    let server = serve(dir.path(), None).await;
    let mut before = old.connect(&server, None).await.unwrap();
    assert!(works(&mut before).await);
    new.renew(dir.path());
    let mut after = loop {
        if let Ok(client) = new.connect(&server, None).await {
            break client;
        }
    };
    assert!(works(&mut after).await);
    assert!(works(&mut before).await, "the old connection was dropped");
    assert!(old.connect(&server, None).await.is_err(), "the old certificate is still shown");
}
