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
use rustls::ClientConfig;
use sortie_dispatch::EndpointId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    address::Address,
    dial::{Dialer, Transport},
    keeper::Keeper,
    wire::{Stream, Wire},
};
use crate::{
    compression::Compression,
    error::{Error, ErrorKind},
    meters,
    scatter::Stub,
};

/// What is told of connections as they come and go.
pub(crate) trait Watcher: Send + Sync {
    /// Has the server answer a call on a new connection, and learns from the answer. Fails where the
    /// connection does; a refusal is an answer.
    fn prove(&self, id: EndpointId, stub: Stub) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    /// The server has its first connection, or lost its last.
    fn connected(&self, id: EndpointId, connected: bool);
}

/// A place for one connection.
#[derive(Debug, Default)]
pub(super) struct Slot {
    wire: Mutex<Option<Wire>>,
    keeper: Mutex<Keeper>,
    asked: Arc<Notify>,
}

impl Slot {
    fn live(&self) -> Option<Wire> {
        self.wire.lock().as_ref().filter(|wire| !wire.is_closed()).cloned()
    }
}

/// How a server's connections stand.
#[derive(Clone, Debug, Default)]
struct Standing {
    connected: usize,
    failures: u64,
    last: Option<Error>,
}

/// What keepers share with the server. They hold it weakly: it goes with the server.
pub(super) struct Core {
    pub(super) id: EndpointId,
    pub(super) dialer: Dialer,
    pub(super) watcher: Arc<dyn Watcher>,
    pub(super) stop: CancellationToken,
    pub(super) proof_within: Duration,
    address: Address,
    slots: Box<[Slot]>,
    /// Slots that are to be connected.
    wanted: AtomicUsize,
    standing: watch::Sender<Standing>,
    /// Held while the watcher is told, so that it hears of changes in their order.
    telling: Mutex<()>,
    max_message_bytes: usize,
    compression: Option<Compression>,
}

impl Core {
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
        let connected = self.slots.iter().filter_map(Slot::live).count();
        let mut before = 0;
        self.standing.send_modify(|standing| {
            before = std::mem::replace(&mut standing.connected, connected);
            if connected > 0 {
                standing.last = None;
            }
        });
        if (before > 0) != (connected > 0) {
            self.watcher.connected(self.id, connected > 0);
        }
    }

    pub(super) fn failed(&self, error: Error) {
        self.standing.send_modify(|standing| {
            standing.failures += 1;
            standing.last = Some(error);
        });
    }
}

/// A stream of a connection, taken for one call and given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    stub: Stub,
    _stream: Stream,
}

impl Lease {
    pub(crate) fn stub(&self) -> Stub {
        self.stub.clone()
    }
}

/// A server.
pub(crate) struct Server {
    core: Arc<Core>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Standing { connected, failures, .. } = &*self.core.standing.borrow();
        f.debug_struct("Server")
            .field("address", &self.core.address.as_str())
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
        tls: Arc<ClientConfig>,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Self, Error> {
        let dialer = Dialer::new(address.clone(), transport, tls)?;
        let core = Core {
            id,
            dialer,
            watcher,
            stop: CancellationToken::new(),
            proof_within: transport.connect_timeout,
            address,
            slots: (0..transport.max_connections.max(transport.connections)).map(|_| Slot::default()).collect(),
            wanted: AtomicUsize::new(transport.connections),
            standing: watch::Sender::new(Standing::default()),
            telling: Mutex::new(()),
            max_message_bytes: transport.max_message_bytes,
            compression: transport.compression,
        };
        Ok(Self { core: Arc::new(core) })
    }

    pub(crate) fn address(&self) -> &str {
        self.core.address.as_str()
    }

    /// Connections that stand.
    pub(crate) fn connections(&self) -> usize {
        self.core.standing.borrow().connected
    }

    /// Starts to connect, in the background. Must be called inside a tokio runtime.
    pub(crate) fn start(&self) {
        if self.core.stop.is_cancelled() {
            return;
        }
        let wanted = self.core.wanted.load(Ordering::Relaxed);
        for (index, slot) in self.core.slots.iter().enumerate().take(wanted) {
            slot.keeper.lock().start(&self.core, index);
        }
    }

    /// Makes no more connections and offers none; calls under way keep theirs until they end.
    pub(crate) fn retire(&self) {
        self.core.stop.cancel();
        for slot in &self.core.slots {
            slot.wire.lock().take();
        }
        self.core.standing.send_modify(|standing| standing.connected = 0);
    }

    /// Takes a stream, waiting for a connection where none stands: until one is made, or the next
    /// attempt to make one fails. Must be called inside a tokio runtime.
    pub(crate) async fn lease(&self) -> Result<Lease, Error> {
        self.start();
        loop {
            let mut standing = self.core.standing.subscribe();
            let seen = standing.borrow_and_update().clone();
            match self.take() {
                Taken::Lease(lease) => return Ok(lease),
                Taken::Full if !self.grow() => return Err(self.full()),
                Taken::Full => {}
                Taken::None if self.core.stop.is_cancelled() => return Err(self.gone()),
                Taken::None => self.ask(),
            }
            let changed = |now: &Standing| now.connected != seen.connected || now.failures > seen.failures;
            // Fails only when the server is gone.
            let now = standing.wait_for(changed).await.map_err(|_| self.gone())?.clone();
            if now.connected == 0
                && now.failures > seen.failures
                && let Some(error) = now.last
            {
                return Err(error);
            }
            if now.connected > 0 && now.failures > seen.failures && matches!(self.take(), Taken::Full) {
                return Err(self.full());
            }
        }
    }

    fn take(&self) -> Taken {
        let live: Vec<Wire> = self.core.slots.iter().filter_map(Slot::live).collect();
        if live.is_empty() {
            return Taken::None;
        }
        let limits = live.iter().map(|wire| (wire, wire.limit()));
        let least =
            limits.filter_map(|(wire, limit)| Some((limit.room()?, wire, limit))).min_by_key(|(open, ..)| *open);
        // Another call may have taken the last stream meanwhile; then it is full.
        match least.and_then(|(_, wire, limit)| Some((wire, limit.take()?))) {
            Some((wire, stream)) => Taken::Lease(Lease { stub: self.core.stub(wire.clone()), _stream: stream }),
            None => Taken::Full,
        }
    }

    /// Makes one more connection, unless there are as many as there may be. True where one is being
    /// made.
    fn grow(&self) -> bool {
        let most = self.core.slots.len();
        let wanted = self.core.wanted.load(Ordering::Relaxed);
        let standing = self.connections();
        if wanted <= standing && wanted < most {
            let more = self.core.wanted.compare_exchange(wanted, wanted + 1, Ordering::Relaxed, Ordering::Relaxed);
            if more.is_ok() {
                tracing::debug!(endpoint = self.address(), connections = wanted + 1, "all streams taken");
            }
        }
        self.start();
        self.core.wanted.load(Ordering::Relaxed) > standing
    }

    /// Has keepers that wait connect at once.
    fn ask(&self) {
        for slot in self.core.slots.iter().take(self.core.wanted.load(Ordering::Relaxed)) {
            slot.asked.notify_one();
        }
    }

    fn full(&self) -> Error {
        meters::streams_full();
        let message = "every stream of every connection is taken";
        Error::new(ErrorKind::Overloaded, message).with_reason("STREAMS_FULL").with_endpoint(self.address())
    }

    fn gone(&self) -> Error {
        Error::new(ErrorKind::Unavailable, "the server left the fleet").with_endpoint(self.address())
    }
}

enum Taken {
    Lease(Lease),
    /// Connections stand, and none has room.
    Full,
    /// No connection stands.
    None,
}
