//! A name that leads to servers: its port, and the scheme of what it leads to.

use std::net::SocketAddr;

use crate::{error::Error, transport::Address};

/// A name with its port, and the scheme of what it leads to.
#[derive(Debug)]
pub(super) struct Name {
    tls: bool,
    /// `host:port`.
    pub(super) authority: String,
}

impl Name {
    pub(super) fn parse(text: &str, tls: bool) -> Result<Self, Error> {
        let address = Address::parse(text, tls)?;
        let tls = address.is_tls();
        let port = address.uri().port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = address.uri().host().unwrap_or_default();
        Ok(Self { tls, authority: format!("{host}:{port}") })
    }

    pub(super) fn address(&self, found: SocketAddr) -> Result<Address, Error> {
        let scheme = if self.tls { "https" } else { "http" };
        Address::parse(&format!("{scheme}://{found}"), self.tls)?.named(&self.authority)
    }
}
