//! TLS, to and from both ends.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sortie_client::{ClientBuilder, ErrorKind, Tls};
use sortie_testkit::{TestServer, score_of};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::common::begin;

/// An authority and one certificate of it, in PEM.
struct Papers {
    authority: String,
    certificate: String,
    key: String,
}

fn papers(name: &str) -> Papers {
    let authority_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("a certificate").pem();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate").pem();
    Papers { authority, certificate, key: key.serialize_pem() }
}

fn client(server: &TestServer, tls: Tls) -> ClientBuilder {
    begin().endpoint(server.address()).tls(tls)
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_and_name() {
    let (ours, theirs) = (papers("models.internal"), papers("models.internal"));
    let identity = Identity::from_pem(&ours.certificate, &ours.key);
    let server = TestServer::start_tls(ServerTlsConfig::new().identity(identity)).await.unwrap();
    assert!(server.address().starts_with("https://"));

    let good = client(&server, Tls::new().ca(ours.authority.as_str()).domain("models.internal"));
    let answer = good.build().unwrap().rerank("q", ["d"]).await.unwrap();
    assert_eq!(answer.scores, [Some(score_of("d"))]);

    let wrong = [
        ("another authority", Tls::new().ca(theirs.authority.as_str()).domain("models.internal")),
        ("another name", Tls::new().ca(ours.authority.as_str()).domain("models.external")),
        ("the well-known authorities", Tls::new().domain("models.internal")),
    ];
    for (what, tls) in wrong {
        let error = client(&server, tls).build().unwrap().rerank("q", ["d"]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}");
        assert!(error.to_string().contains("certificate"), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_client_shows_who_it_is() {
    let (ours, theirs) = (papers("localhost"), papers("client"));
    let identity = Identity::from_pem(&ours.certificate, &ours.key);
    let mutual = ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(&theirs.authority));
    let server = TestServer::start_tls(mutual).await.unwrap();
    let trusting = Tls::new().ca(ours.authority.as_str()).domain("localhost");

    let known = trusting.clone().identity(theirs.certificate.as_str(), theirs.key.as_str());
    let answer = client(&server, known).build().unwrap().rerank("q", ["d"]).await.unwrap();
    assert_eq!(answer.scores, [Some(score_of("d"))]);

    let error = client(&server, trusting).build().unwrap().rerank("q", ["d"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(server.calls().len(), 1);
}
