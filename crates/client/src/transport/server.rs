//! One server: its connections, and taking one for a call.
//!
//! Calls take the connection with the fewest open streams. Where every connection is
//! full one more is made, up to a limit; past that the server refuses the call here
//! and now, with a reason, rather than let it wait unseen.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sortie_dispatch::EndpointId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    address::Address,
    dial::{Dialer, Transport},
    reconnect::Reconnector,
    wire::{StreamPermit, Stub, Wire},
};
use crate::{
    compression::Compression,
    error::{Error, ErrorKind},
    metrics,
};

/// What is called as connections come and go.
pub(crate) trait ConnectionObserver: Send + Sync {
    /// Has the server answer a call on a new connection, and learns from the answer. Fails where the
    /// connection does; a refusal is an answer.
    fn check_connection(&self, id: EndpointId, stub: Stub) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    /// The server has its first connection, or lost its last.
    fn connected(&self, id: EndpointId, connected: bool);
}

/// A place for one connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionSlot {
    wire: Mutex<Option<Wire>>,
    reconnector: Mutex<Reconnector>,
    asked: Arc<Notify>,
}

impl ConnectionSlot {
    fn live(&self) -> Option<Wire> {
        self.wire.lock().as_ref().filter(|wire| !wire.is_closed()).cloned()
    }
}

/// How a server's connections stand.
#[derive(Clone, Debug, Default)]
struct ConnectionState {
    connected: usize,
    failures: u64,
    last: Option<Error>,
}

/// What the tasks that keep connections share with the server. They hold it weakly: it goes with the server.
pub(super) struct ServerState {
    pub(super) id: EndpointId,
    pub(super) dialer: Dialer,
    pub(super) observer: Arc<dyn ConnectionObserver>,
    pub(super) stop: CancellationToken,
    pub(super) check_timeout: Duration,
    address: Address,
    slots: Box<[ConnectionSlot]>,
    /// Slots that are to be connected.
    wanted: AtomicUsize,
    connection_state: watch::Sender<ConnectionState>,
    /// Held while the observer is called, so that it sees changes in their order.
    telling: Mutex<()>,
    max_message_bytes: usize,
    compression: Option<Compression>,
}

impl ServerState {
    pub(super) fn stub(&self, wire: Wire) -> Stub {
        let stub = Stub::with_origin(wire, self.address.origin().clone())
            .max_decoding_message_size(self.max_message_bytes)
            .max_encoding_message_size(self.max_message_bytes);
        match self.compression {
            Some(compression) => compression.apply(stub),
            None => stub,
        }
    }

    pub(super) fn asked(&self, index: usize) -> Arc<Notify> {
        self.slots.get(index).map(|slot| Arc::clone(&slot.asked)).unwrap_or_default()
    }

    pub(super) fn connected(&self, index: usize, wire: Wire) {
        if self.stop.is_cancelled() {
            return;
        }
        if let Some(slot) = self.slots.get(index) {
            *slot.wire.lock() = Some(wire);
        }
        self.count();
    }

    pub(super) fn lost(&self, index: usize) {
        if let Some(slot) = self.slots.get(index) {
            slot.wire.lock().take();
        }
        self.count();
    }

    /// Counts the connections that stand, and tells where there is now one, or none.
    fn count(&self) {
        let _order = self.telling.lock();
        if self.stop.is_cancelled() {
            return;
        }
        let connected = self.slots.iter().filter_map(ConnectionSlot::live).count();
        let mut before = 0;
        self.connection_state.send_modify(|connection_state| {
            before = std::mem::replace(&mut connection_state.connected, connected);
            if connected > 0 {
                connection_state.last = None;
            }
        });
        if (before > 0) != (connected > 0) {
            self.observer.connected(self.id, connected > 0);
        }
    }

    pub(super) fn failed(&self, error: Error) {
        self.connection_state.send_modify(|connection_state| {
            connection_state.failures += 1;
            connection_state.last = Some(error);
        });
    }
}

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
    state: Arc<ServerState>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectionState { connected, failures, .. } = &*self.state.connection_state.borrow();
        f.debug_struct("Server")
            .field("address", &self.state.address.as_str())
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
        let dialer = Dialer::new(address.clone(), transport, tls)?;
        let state = ServerState {
            id,
            dialer,
            observer,
            stop: CancellationToken::new(),
            check_timeout: transport.connect_timeout,
            address,
            slots: (0..transport.max_connections.max(transport.connections))
                .map(|_| ConnectionSlot::default())
                .collect(),
            wanted: AtomicUsize::new(transport.connections),
            connection_state: watch::Sender::new(ConnectionState::default()),
            telling: Mutex::new(()),
            max_message_bytes: transport.max_message_bytes,
            compression: transport.compression,
        };
        Ok(Self { state: Arc::new(state) })
    }

    pub(crate) fn address(&self) -> &str {
        self.state.address.as_str()
    }

    /// Connections that stand.
    pub(crate) fn connections(&self) -> usize {
        self.state.connection_state.borrow().connected
    }

    /// Starts to connect, in the background. Must be called inside a tokio runtime.
    pub(crate) fn start(&self) {
        if self.state.stop.is_cancelled() {
            return;
        }
        let wanted = self.state.wanted.load(Ordering::Relaxed);
        for (index, slot) in self.state.slots.iter().enumerate().take(wanted) {
            slot.reconnector.lock().start(&self.state, index);
        }
    }

    /// Makes no more connections and offers none; calls under way keep theirs until they end.
    pub(crate) fn retire(&self) {
        self.state.stop.cancel();
        for slot in &self.state.slots {
            slot.wire.lock().take();
        }
        self.state.connection_state.send_modify(|connection_state| connection_state.connected = 0);
    }

    /// Takes a stream, waiting for a connection where none stands: until one is made, or the next
    /// attempt to make one fails. Must be called inside a tokio runtime.
    pub(crate) async fn lease(&self) -> Result<Lease, Error> {
        self.start();
        loop {
            let mut connection_state = self.state.connection_state.subscribe();
            let seen = connection_state.borrow_and_update().clone();
            match self.take() {
                LeaseOutcome::Lease(lease) => return Ok(lease),
                LeaseOutcome::Full if !self.grow() => return Err(self.full()),
                LeaseOutcome::Full => {}
                LeaseOutcome::None if self.state.stop.is_cancelled() => return Err(self.gone()),
                LeaseOutcome::None => self.ask(),
            }
            let changed = |now: &ConnectionState| now.connected != seen.connected || now.failures > seen.failures;
            // Fails only when the server is gone.
            let now = connection_state.wait_for(changed).await.map_err(|_| self.gone())?.clone();
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
        let live: Vec<Wire> = self.state.slots.iter().filter_map(ConnectionSlot::live).collect();
        if live.is_empty() {
            return LeaseOutcome::None;
        }
        let limits = live.iter().map(|wire| (wire, wire.limit()));
        let least =
            limits.filter_map(|(wire, limit)| Some((limit.room()?, wire, limit))).min_by_key(|(open, ..)| *open);
        // Another call may have taken the last stream meanwhile; then it is full.
        match least.and_then(|(_, wire, limit)| Some((wire, limit.take()?))) {
            Some((wire, stream)) => LeaseOutcome::Lease(Lease { stub: self.state.stub(wire.clone()), _stream: stream }),
            None => LeaseOutcome::Full,
        }
    }

    /// Makes one more connection, unless there are as many as there may be. True where one is being
    /// made.
    fn grow(&self) -> bool {
        let most = self.state.slots.len();
        let wanted = self.state.wanted.load(Ordering::Relaxed);
        let connection_state = self.connections();
        if wanted <= connection_state && wanted < most {
            let more = self.state.wanted.compare_exchange(wanted, wanted + 1, Ordering::Relaxed, Ordering::Relaxed);
            if more.is_ok() {
                tracing::debug!(endpoint = self.address(), connections = wanted + 1, "all streams taken");
            }
        }
        self.start();
        self.state.wanted.load(Ordering::Relaxed) > connection_state
    }

    /// Has the tasks that wait connect at once.
    fn ask(&self) {
        for slot in self.state.slots.iter().take(self.state.wanted.load(Ordering::Relaxed)) {
            slot.asked.notify_one();
        }
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
