//! A name that is looked up: every period, and when a connection breaks.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::warn;

use super::{DiscoveredServers, Lookup, MIN_LOOKUP_GAP};
use crate::{
    error::{Error, ErrorKind},
    transport::Address,
};

/// How long a lookup may take: what resolvers give one server (`resolv.conf`, `timeout`).
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A name with its port, and the scheme of what it leads to.
#[derive(Debug)]
pub(super) struct Name {
    tls: bool,
    authority: String,
}

impl Name {
    pub(super) fn parse(text: &str, tls: bool) -> Result<Self, Error> {
        let address = Address::parse(text, tls)?;
        let tls = address.is_tls();
        let port = address.uri().port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = address.uri().host().unwrap_or_default();
        Ok(Self { tls, authority: format!("{host}:{port}") })
    }

    fn address(&self, found: SocketAddr) -> Result<Address, Error> {
        let scheme = if self.tls { "https" } else { "http" };
        Address::parse(&format!("{scheme}://{found}"), self.tls)?.named(&self.authority)
    }
}

/// Looks a name up for as long as the client lives; `None` at its end.
pub(super) async fn follow(
    mut members: DiscoveredServers,
    name: &str,
    tls: bool,
    period: Duration,
    lookup: &Lookup,
    disconnects: &mut watch::Receiver<u64>,
) -> Option<()> {
    // Checked when the client was built.
    let name = Name::parse(name, tls).ok()?;
    loop {
        let started = Instant::now();
        let found = timeout(LOOKUP_TIMEOUT, lookup(name.authority.clone())).await;
        let found = found.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let failed = |why: String| Error::new(ErrorKind::Unavailable, format!("name {}: {why}", name.authority));
        let outcome = match found {
            Ok(found) if found.is_empty() => Err(failed("has no address".to_owned())),
            Ok(found) => found.into_iter().map(|found| name.address(found)).collect(),
            Err(error) => Err(failed(error.to_string()).with_source(error)),
        };
        match outcome {
            Ok(addresses) => members.become_these(addresses)?,
            Err(error) => {
                warn!(name = name.authority, %error, "lookup failed; the servers stay as they are");
                members.failed(error)?;
            }
        }
        tokio::select! {
            () = sleep_until(started + period) => {}
            // The sender goes with the client, and this task before it.
            Ok(()) = disconnects.changed() => sleep_until(started + MIN_LOOKUP_GAP.min(period)).await,
        }
        disconnects.mark_unchanged();
    }
}
