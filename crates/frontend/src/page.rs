//! The page ([`sortie_page`]) on our ports: where it is shown, and to whom.
//!
//! | the address | keys or mutual TLS | the page |
//! | --- | --- | --- |
//! | any | keys (`api_keys`) | for whoever shows one: as Bearer, as `x-api-key`, or as the password of HTTP Basic |
//! | any | mutual TLS, no keys | for whoever has the connection |
//! | loopback | neither | for this machine, asked for by a name of it and by no proxy |
//! | other | neither | off |

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderValue, StatusCode, Version,
        header::{FORWARDED, HOST, VIA, WWW_AUTHENTICATE},
        request::Parts,
        uri::Authority,
    },
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::get,
};
use sortie_http::basic_password;
use sortie_page::{LivePage, plain};

use crate::auth::Keys;

/// What browsers are asked for. The realm names the door, not the machine.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"Sortie: any name, the key as password\", charset=\"UTF-8\"");

/// Headers of proxies beside `forwarded` and `via`: they say for whom they ask.
const OF_PROXIES: [&str; 6] =
    ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-server", "x-real-ip"];

/// Whom a port shows the page.
#[derive(Clone, Debug)]
pub(crate) enum PageAccess {
    /// Whoever shows a key.
    Keys(Arc<Keys>),
    /// Whoever has a connection, for all show a certificate.
    Certified,
    /// This machine.
    Loopback,
    /// Nobody.
    Off,
}

impl PageAccess {
    /// Of the port that `setting` opened at `address`.
    pub(crate) fn of(setting: &'static str, address: SocketAddr, keys: Option<Arc<Keys>>, certified: bool) -> Self {
        match keys {
            Some(keys) => Self::Keys(keys),
            None if certified => Self::Certified,
            None if address.ip().to_canonical().is_loopback() => Self::Loopback,
            None => {
                tracing::info!(%address, "the page is off on the {setting} port: it is not loopback, and there are no api_keys");
                Self::Off
            }
        }
    }

    /// Whether a request may see it.
    ///
    /// # Errors
    /// The answer in its place, boxed for its size.
    fn check(&self, parts: &Parts) -> Result<(), Box<Response>> {
        let refused = |text: &'static str| Err(Box::new(plain(StatusCode::FORBIDDEN, text)));
        match self {
            Self::Certified => Ok(()),
            Self::Keys(keys) => {
                let known = match basic_password(&parts.headers) {
                    Some(key) => keys.find(&key).is_some(),
                    None => keys.check(&parts.headers).is_ok(),
                };
                if known {
                    return Ok(());
                }
                let mut asked =
                    plain(StatusCode::UNAUTHORIZED, "the page needs a key: any name, the key as password\n");
                asked.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
                Err(Box::new(asked))
            }
            // A name of elsewhere that leads here: a proxy in front, or another site's script.
            Self::Loopback if !asked_for_this_machine(parts) => {
                refused("without api_keys the page is for this machine only; ask for it as localhost\n")
            }
            Self::Loopback if asked_by_a_proxy(parts) => {
                refused("without api_keys the page is for this machine only, and this request came through a proxy\n")
            }
            Self::Loopback => Ok(()),
            Self::Off => refused("the page is off: this address is not loopback, and no api_keys are set\n"),
        }
    }
}

/// Whether the request names this machine as its host.
fn asked_for_this_machine(parts: &Parts) -> bool {
    let header = || parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let Some(authority) = parts.uri.authority().cloned().or_else(|| header()?.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host();
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a proxy on this machine asks, for whomever: it says so, or it speaks HTTP/1.0, as nginx does to what stands
/// behind it and no browser does. One that hides both and puts a name of this machine in place of its own cannot be told
/// from a browser; `docs/http.md` says so.
fn asked_by_a_proxy(parts: &Parts) -> bool {
    let says_so = |name: &str| parts.headers.contains_key(name);
    parts.version <= Version::HTTP_10
        || parts.headers.contains_key(FORWARDED)
        || parts.headers.contains_key(VIA)
        || OF_PROXIES.into_iter().any(says_so)
}

/// A page on one port.
#[derive(Clone, Debug)]
pub(crate) struct MountedPage {
    page: LivePage,
    access: Arc<PageAccess>,
}

impl MountedPage {
    pub(crate) fn new(page: LivePage, access: PageAccess) -> Self {
        Self { page, access: Arc::new(access) }
    }

    /// The page, or what stands in its place.
    pub(crate) fn root(&self, request: &Parts) -> Response {
        match self.access.check(request) {
            Ok(()) => self.page.html(),
            Err(instead) => *instead,
        }
    }

    /// What the page loads.
    pub(crate) fn files(&self) -> Router {
        sortie_page::routes(self.page.clone()).layer(from_fn_with_state(Arc::clone(&self.access), guard))
    }

    /// All of it, for a port that has nothing else at `/`.
    pub(crate) fn router(self) -> Router {
        let files = self.files();
        Router::new().route("/", get(whole)).with_state(self).merge(files)
    }
}

async fn whole(State(page): State<MountedPage>, request: Request) -> Response {
    page.root(&request.into_parts().0)
}

async fn guard(State(access): State<Arc<PageAccess>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match access.check(&parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(instead) => *instead,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn parts(uri: &str, host: Option<&str>) -> Parts {
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        request.body(Body::empty()).unwrap().into_parts().0
    }

    fn of(address: &str, certified: bool) -> PageAccess {
        PageAccess::of("http", address.parse().unwrap(), None, certified)
    }

    #[tokio::test]
    async fn without_keys_only_loopback_shows_it() {
        for address in ["127.0.0.1:1", "127.8.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(matches!(of(address, false), PageAccess::Loopback), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let access = of(address, false);
            let refused = access.check(&parts("/", Some("localhost"))).unwrap_err();
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{address}");
            assert!(refused.headers().contains_key("content-security-policy"));
            assert!(of(address, true).check(&parts("/", None)).is_ok(), "{address}");
        }
    }

    #[test]
    fn on_loopback_no_proxy_sees_it() {
        let access = of("127.0.0.1:1", false);
        let mut request = parts("/", Some("127.0.0.1:1"));
        assert!(access.check(&request).is_ok());
        request.version = Version::HTTP_10;
        assert_eq!(access.check(&request).unwrap_err().status(), StatusCode::FORBIDDEN);
        for name in OF_PROXIES.into_iter().chain(["forwarded", "via"]) {
            let mut request = parts("/", Some("localhost"));
            request.headers.insert(name, HeaderValue::from_static("for=192.0.2.1"));
            assert_eq!(access.check(&request).unwrap_err().status(), StatusCode::FORBIDDEN, "{name}");
            assert!(of("127.0.0.1:1", true).check(&request).is_ok(), "who shows a certificate may use one");
        }
    }

    #[test]
    fn on_loopback_it_must_be_asked_for_by_a_name_of_this_machine() {
        for host in ["localhost", "LocalHost:8080", "127.0.0.1:1", "[::1]:80", "127.1.2.3"] {
            assert!(asked_for_this_machine(&parts("/", Some(host))), "{host}");
        }
        for host in ["attacker.example", "localhost.example:80", "10.0.0.1", "[::2]", "", "a b"] {
            assert!(!asked_for_this_machine(&parts("/", Some(host))), "{host}");
        }
        assert!(!asked_for_this_machine(&parts("/", None)));
        // HTTP/2 has the name in the address, which goes before the header.
        assert!(asked_for_this_machine(&parts("http://localhost:1/", None)));
        assert!(!asked_for_this_machine(&parts("http://attacker.example/", Some("localhost"))));
    }
}
