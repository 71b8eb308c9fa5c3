//! One server: its connections, and taking one for a call.
//!
//! Calls take the connection with the fewest open streams. Where every connection is
//! full one more is made, up to a limit; past that the server refuses the call here
//! and now, with a reason, rather than let it wait unseen.

use std::{fmt, sync::Arc};

use sortie_dispatch::EndpointId;

use super::{
    address::Address,
    connections::{ConnectionObserver, ConnectionState, Connections},
    dial::Transport,
    reconnect,
    wire::{StreamPermit, Stub},
};
use crate::{
    error::{Error, ErrorKind},
    metrics,
};

/// A stream of a connection, taken for one call and given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    stub: Stub,
    _stream: StreamPermit,
}

impl Lease {
    pub(crate) fn stub(&self) -> Stub {
        self.stub.clone()
    }
}

/// A server.
pub(crate) struct Server {
    connections: Arc<Connections>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectionState { connected, failures, .. } = &*self.connections.state.borrow();
        f.debug_struct("Server")
            .field("address", &self.address())
            .field("connections", connected)
            .field("failures", failures)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.retire();
    }
}

impl Server {
    /// A server at an address; nothing is connected.
    pub(crate) fn new(
        id: EndpointId,
        address: Address,
        transport: &Transport,
        tls: Arc<rustls::ClientConfig>,
        observer: Arc<dyn ConnectionObserver>,
    ) -> Result<Self, Error> {
        let connections = Connections::new(id, address, transport, tls, observer)?;
        Ok(Self { connections: Arc::new(connections) })
    }

    pub(crate) fn address(&self) -> &str {
        self.connections.address.as_str()
    }

    /// Connections that stand.
    pub(crate) fn connections(&self) -> usize {
        self.connections.state.borrow().connected
    }

    /// Starts to connect, in the background. Must be called inside a tokio runtime.
    pub(crate) fn start(&self) {
        if self.connections.stop.is_cancelled() {
            return;
        }
        for (index, slot) in self.connections.wanted() {
            slot.keep(|| reconnect::spawn(&self.connections, index));
        }
    }

    /// Makes no more connections and offers none; calls under way keep theirs until they end.
    pub(crate) fn retire(&self) {
        self.connections.retire();
    }

    /// Takes a stream, waiting for a connection where none stands: until one is made, or the next
    /// attempt to make one fails. Must be called inside a tokio runtime.
    pub(crate) async fn lease(&self) -> Result<Lease, Error> {
        self.start();
        loop {
            let mut state = self.connections.state.subscribe();
            let seen = state.borrow_and_update().clone();
            match self.take() {
                LeaseOutcome::Lease(lease) => return Ok(lease),
                LeaseOutcome::Full if !self.grow() => return Err(self.full()),
                LeaseOutcome::Full => {}
                LeaseOutcome::None if self.connections.stop.is_cancelled() => return Err(self.gone()),
                LeaseOutcome::None => self.connections.ask(),
            }
            let changed = |now: &ConnectionState| now.connected != seen.connected || now.failures > seen.failures;
            // Fails only when the server is gone.
            let now = state.wait_for(changed).await.map_err(|_| self.gone())?.clone();
            if now.connected == 0
                && now.failures > seen.failures
                && let Some(error) = now.last
            {
                return Err(error);
            }
            if now.connected > 0 && now.failures > seen.failures && matches!(self.take(), LeaseOutcome::Full) {
                return Err(self.full());
            }
        }
    }

    fn take(&self) -> LeaseOutcome {
        let live = self.connections.live();
        if live.is_empty() {
            return LeaseOutcome::None;
        }
        let limits = live.iter().map(|wire| (wire, wire.limit()));
        let least =
            limits.filter_map(|(wire, limit)| Some((limit.room()?, wire, limit))).min_by_key(|(open, ..)| *open);
        // Another call may have taken the last stream meanwhile; then it is full.
        match least.and_then(|(_, wire, limit)| Some((wire, limit.take()?))) {
            Some((wire, stream)) => {
                LeaseOutcome::Lease(Lease { stub: self.connections.stub(wire.clone()), _stream: stream })
            }
            None => LeaseOutcome::Full,
        }
    }

    /// Makes one more connection, unless there are as many as there may be. True where one is being
    /// made.
    fn grow(&self) -> bool {
        let grows = self.connections.grow();
        self.start();
        grows
    }

    fn full(&self) -> Error {
        metrics::streams_full();
        let message = "every stream of every connection is taken";
        Error::new(ErrorKind::Overloaded, message).with_reason("STREAMS_FULL").with_endpoint(self.address())
    }

    fn gone(&self) -> Error {
        Error::new(ErrorKind::Unavailable, "the server left the fleet").with_endpoint(self.address())
    }
}

enum LeaseOutcome {
    Lease(Lease),
    /// Connections stand, and none has room.
    Full,
    /// No connection stands.
    None,
}
