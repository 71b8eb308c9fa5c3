//! Keeps one connection of a server up, in a task of its own.
//!
//! ```text
//! dial --ok--> check --ok--> connected, driven until it ends --> dial
//!   |            |
//!   +---error----+--> wait min(base · 2^n, most), jittered, or until a call asks --> dial
//! ```
//!
//! A connection is *checked* before it counts: HTTP/2 says nothing of itself, and the
//! kernel takes connections for a process that is stopped. What counts is the answer,
//! whatever it says, to a call.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use sortie_dispatch::Backoff;
use tokio::{task::JoinHandle, time::timeout};
use tracing::debug;

use super::{
    connections::Connections,
    dial::{ConnectionDriver, Dialer},
    wire::Wire,
};
use crate::{
    error::{Error, ErrorKind},
    metrics,
};

/// Waits after a connection could not be made. A process that restarts is back in seconds, and a refused connection
/// costs next to nothing. The longest is far below gRPC's two minutes: a rack that comes back is work for everybody, and
/// one SYN every two seconds harms nobody.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), limit: Duration::from_secs(2) };

/// Starts a task that keeps slot `index` connected until the server is retired or nobody holds it. Must be called
/// inside a tokio runtime.
pub(super) fn spawn(connections: &Arc<Connections>, index: usize) -> JoinHandle<()> {
    tokio::spawn(reconnect(Arc::downgrade(connections), index, connections.dialer.clone()))
}

async fn reconnect(connections: Weak<Connections>, index: usize, dialer: Dialer) {
    let mut failures = 0;
    loop {
        let Some(stop) = connections.upgrade().map(|connections| connections.stop.clone()) else { return };
        let made = tokio::select! {
            () = stop.cancelled() => return,
            made = connect(&connections, &dialer) => made,
        };
        metrics::connect(made.is_ok());
        match made {
            Ok((wire, driver)) => {
                failures = 0;
                debug!(endpoint = dialer.address(), connection = index, "connected");
                let Some(()) = hold(&connections, index, wire, driver).await else { return };
                debug!(endpoint = dialer.address(), connection = index, "connection ended");
            }
            Err(error) => {
                failures += 1;
                debug!(endpoint = dialer.address(), connection = index, failures, %error, "no connection");
                let Some(connections) = connections.upgrade() else { return };
                connections.failed(error);
            }
        }
        let Some(asked) = connections.upgrade().map(|connections| connections.asked(index)) else { return };
        // A connection that lived and ended is made again at once.
        let wait = if failures == 0 { Duration::ZERO } else { BACKOFF.equal_jitter(failures, &mut rand::rng()) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = asked.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Dials, and has the server answer a call.
async fn connect(connections: &Weak<Connections>, dialer: &Dialer) -> Result<(Wire, ConnectionDriver), Error> {
    let (wire, mut driver) = dialer.dial().await?;
    let gone = || Error::new(ErrorKind::Unavailable, "the client is gone");
    let (check, within) = {
        let connections = connections.upgrade().ok_or_else(gone)?;
        (
            connections.observer.check_connection(connections.id, connections.stub(wire.clone())),
            connections.check_timeout,
        )
    };
    let failed = |message: String| Error::new(ErrorKind::Unavailable, message).with_endpoint(dialer.address());
    tokio::select! {
        biased;
        checked = timeout(within, check) => match checked {
            Ok(checked) => checked?,
            Err(_) => return Err(failed(format!("the connection stands, but no answer came within {within:?}"))),
        },
        ended = &mut driver => {
            let error = failed("the connection ended before anything was answered".to_owned());
            return Err(match ended {
                Ok(()) => error,
                Err(cause) => error.with_source(cause),
            });
        }
    }
    Ok((wire, driver))
}

/// Offers a connection to calls for as long as it lives. `None` where the client is gone for good.
async fn hold(connections: &Weak<Connections>, index: usize, wire: Wire, driver: ConnectionDriver) -> Option<()> {
    {
        let connections = connections.upgrade()?;
        connections.connected(index, wire);
    }
    // Calls keep the connection: it is driven to its end also when the server was retired.
    if let Err(error) = driver.await {
        debug!(connection = index, %error, "connection broke");
    }
    connections.upgrade()?.lost(index);
    Some(())
}
