//! The address of a server: scheme, host and port, and the name it is known by.
//!
//! Invariant: an address holds no user name and no password; those are refused, and
//! never printed.

use std::fmt;

use http::Uri;

use crate::error::{Error, ErrorKind};

/// An address as text without what stands before an `@`.
pub(crate) fn redact(address: &str) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), address),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.get(..end).and_then(|authority| authority.rfind('@')) {
        Some(at) => format!("{scheme}…{}", rest.get(at..).unwrap_or_default()),
        None => address.to_owned(),
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `scheme://host:port`: what connections are made to.
    uri: Uri,
    /// `scheme://name:port`: what requests say they go to, and what a certificate is held against.
    origin: Uri,
    shown: String,
}

impl Address {
    /// Reads `http://host:port`, `https://host:port`, or `host:port`, which is `https` where `tls` is set.
    pub(crate) fn parse(text: &str, tls: bool) -> Result<Self, Error> {
        let shown = redact(text);
        let bad = |why: &str| Error::new(ErrorKind::Config, format!("endpoint {shown:?}: {why}"));
        let full = match (text.contains("://"), tls) {
            (true, _) => text.to_owned(),
            (false, true) => format!("https://{text}"),
            (false, false) => format!("http://{text}"),
        };
        let uri: Uri = full.parse().map_err(|error| bad("is no address of a server").with_source(error))?;
        let authority = uri.authority().ok_or_else(|| bad("is no address of a server"))?;
        if authority.as_str().contains('@') {
            return Err(bad("holds a user name or password; set a bearer token instead"));
        }
        if authority.host().is_empty() {
            return Err(bad("has no host"));
        }
        let scheme = match uri.scheme_str() {
            Some("https") => "https",
            Some("http") if !tls => "http",
            Some("http") => return Err(bad("tls was asked for, but the address says http")),
            _ => return Err(bad("the scheme is neither http nor https")),
        };
        let shown = format!("{scheme}://{authority}");
        let uri: Uri = shown.parse().map_err(|error| bad("is no address of a server").with_source(error))?;
        Ok(Self { origin: uri.clone(), uri, shown })
    }

    /// The same place under a name: what a lookup of that name found.
    pub(crate) fn named(mut self, name: &str) -> Result<Self, Error> {
        let origin = format!("{}://{name}", self.uri.scheme_str().unwrap_or("http"));
        let bad = |error| Error::new(ErrorKind::Config, format!("name {name:?} is no host")).with_source(error);
        self.origin = origin.parse().map_err(bad)?;
        Ok(self)
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn origin(&self) -> &Uri {
        &self.origin
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Host of the origin, without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        self.origin.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.shown
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        let table = [
            ("host:1", false, "http://host:1"),
            ("host:1", true, "https://host:1"),
            ("https://host:1", false, "https://host:1"),
            ("http://[::1]:2/ignored?x", false, "http://[::1]:2"),
        ];
        for (text, tls, want) in table {
            assert_eq!(Address::parse(text, tls).unwrap().as_str(), want, "{text}");
        }
        for (text, tls) in [("", false), ("http://", false), ("ftp://h", false), ("http://h:1", true), ("a b", false)] {
            assert_eq!(Address::parse(text, tls).unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
        assert_eq!(Address::parse("[::1]:2", false).unwrap().host(), "::1");
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_never_shown() {
        let error = Address::parse("http://me:hunter2@host:1", false).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        for text in ["http://me:hunter2@host:1/x", "me:hunter2@host:1", "https://hunter2@h"] {
            assert!(!redact(text).contains("hunter2"), "{text}");
        }
        assert_eq!(redact("http://host:1/a@b"), "http://host:1/a@b");
    }

    #[test]
    fn a_name_is_kept_apart_from_where_it_leads() {
        let address = Address::parse("https://10.0.0.7:50051", true).unwrap().named("models.internal:50051").unwrap();
        assert_eq!((address.host(), address.as_str()), ("models.internal", "https://10.0.0.7:50051"));
        assert_eq!(address.origin().to_string(), "https://models.internal:50051/");
    }
}
