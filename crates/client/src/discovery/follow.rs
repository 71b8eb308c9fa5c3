//! Keeps a client's servers those that a discovery finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Weak,
    time::Duration,
};

use sortie_dispatch::EndpointId;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{info, warn};

use super::{
    name::Name,
    source::{Discovery, DiscoverySource, LookupFn, MIN_LOOKUP_GAP},
};
use crate::{
    error::{Error, ErrorKind},
    state::ClientState,
    transport::Address,
};

/// How long a lookup may take: what resolvers give one server (`resolv.conf`, `timeout`).
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Servers that one discovery has brought in.
struct DiscoveredServers {
    state: Weak<ClientState>,
    known: BTreeMap<String, EndpointId>,
}

impl DiscoveredServers {
    /// Replaces them by those at these addresses. `None` once the client is gone.
    fn replace(&mut self, addresses: Vec<Address>) -> Option<()> {
        let state = self.state.upgrade()?;
        let addresses = state.config.choose(addresses);
        let named: BTreeSet<&str> = addresses.iter().map(Address::as_str).collect();
        self.known.retain(|address, id| {
            let stays = named.contains(address.as_str());
            if !stays {
                info!(endpoint = address, "left the fleet");
                state.remove(*id);
            }
            stays
        });
        for address in addresses {
            let text = address.as_str().to_owned();
            if self.known.contains_key(&text) || state.knows(&text) {
                continue;
            }
            match state.add(address) {
                Ok(id) => {
                    info!(endpoint = text, "joined the fleet");
                    self.known.insert(text, id);
                }
                Err(error) => warn!(endpoint = text, %error, "cannot join the fleet"),
            }
        }
        state.start_servers();
        state.discovered(None);
        Some(())
    }

    fn failed(&self, error: Error) -> Option<()> {
        self.state.upgrade()?.discovered(Some(error));
        Some(())
    }
}

/// Keeps a client's servers those that a discovery finds, until the client is gone.
pub(crate) async fn run(discovery: Discovery, state: Weak<ClientState>) {
    let Some((tls, stop, disconnects)) = state
        .upgrade()
        .map(|state| (state.config.transport.tls.is_some(), state.stop.clone(), state.disconnects.subscribe()))
    else {
        return;
    };
    let servers = DiscoveredServers { state, known: BTreeMap::new() };
    let work = async {
        match discovery.source {
            DiscoverySource::Name { name, period, lookup } => {
                follow_name(servers, &name, tls, period, &lookup, disconnects).await
            }
            DiscoverySource::Watch(addresses) => follow_list(servers, addresses, tls).await,
        };
        // There is nothing more to follow, which is no reason to begin again.
        std::future::pending().await
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Follows a watched list. When its sender is gone, the last list stays.
async fn follow_list(
    mut servers: DiscoveredServers,
    mut addresses: watch::Receiver<Vec<String>>,
    tls: bool,
) -> Option<()> {
    loop {
        let list = addresses.borrow_and_update().clone();
        let parsed = list.iter().filter_map(|text| match Address::parse(text, tls) {
            Ok(address) => Some(address),
            Err(error) => {
                warn!(%error, "passed over");
                None
            }
        });
        servers.replace(parsed.collect())?;
        if addresses.changed().await.is_err() {
            return Some(());
        }
    }
}

/// Looks a name up for as long as the client lives; `None` at its end.
async fn follow_name(
    mut servers: DiscoveredServers,
    name: &str,
    tls: bool,
    period: Duration,
    lookup: &LookupFn,
    mut disconnects: watch::Receiver<u64>,
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
            Ok(addresses) => servers.replace(addresses)?,
            Err(error) => {
                warn!(name = name.authority, %error, "lookup failed; the servers stay as they are");
                servers.failed(error)?;
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
