//! The connections of one server: how many stand, and how many are wanted.

use std::{
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
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    address::Address,
    dial::{Dialer, Transport},
    wire::{Stub, Wire},
};
use crate::{compression::Compression, error::Error};

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
    task: Mutex<Option<JoinHandle<()>>>,
    asked: Arc<Notify>,
}

impl ConnectionSlot {
    /// Its connection, if one stands.
    fn live(&self) -> Option<Wire> {
        self.wire.lock().as_ref().filter(|wire| !wire.is_closed()).cloned()
    }

    /// Has `spawn` start the task that keeps the slot connected, unless it runs. A task dies with the runtime it ran on.
    pub(super) fn keep(&self, spawn: impl FnOnce() -> JoinHandle<()>) {
        let mut task = self.task.lock();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(spawn());
        }
    }
}

/// How a server's connections stand.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionState {
    pub(super) connected: usize,
    /// Connections that could not be made.
    pub(super) failures: u64,
    /// Why the last could not, while none stands.
    pub(super) last: Option<Error>,
}

/// The connections of one server. The tasks that keep them hold this weakly: it goes with the server.
pub(super) struct Connections {
    pub(super) id: EndpointId,
    pub(super) dialer: Dialer,
    pub(super) observer: Arc<dyn ConnectionObserver>,
    pub(super) stop: CancellationToken,
    pub(super) check_timeout: Duration,
    pub(super) address: Address,
    slots: Box<[ConnectionSlot]>,
    /// Slots that are to be connected.
    wanted: AtomicUsize,
    pub(super) state: watch::Sender<ConnectionState>,
    /// Held while the observer is called, so that it sees changes in their order.
    telling: Mutex<()>,
    max_message_bytes: usize,
    compression: Option<Compression>,
}

impl Connections {
    /// None stands yet.
    pub(super) fn new(
        id: EndpointId,
        address: Address,
        transport: &Transport,
        tls: Arc<rustls::ClientConfig>,
        observer: Arc<dyn ConnectionObserver>,
    ) -> Result<Self, Error> {
        let slots = 0..transport.max_connections.max(transport.connections);
        Ok(Self {
            id,
            dialer: Dialer::new(address.clone(), transport, tls)?,
            observer,
            stop: CancellationToken::new(),
            check_timeout: transport.connect_timeout,
            address,
            slots: slots.map(|_| ConnectionSlot::default()).collect(),
            wanted: AtomicUsize::new(transport.connections),
            state: watch::Sender::new(ConnectionState::default()),
            telling: Mutex::new(()),
            max_message_bytes: transport.max_message_bytes,
            compression: transport.compression,
        })
    }

    /// Slots that are to be connected, by number.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (usize, &ConnectionSlot)> {
        self.slots.iter().enumerate().take(self.wanted.load(Ordering::Relaxed))
    }

    /// Connections that stand.
    pub(super) fn live(&self) -> Vec<Wire> {
        self.slots.iter().filter_map(ConnectionSlot::live).collect()
    }

    /// Wants one connection more where all that are wanted stand and there may be more. True where more are wanted
    /// than stand.
    pub(super) fn grow(&self) -> bool {
        let standing = self.state.borrow().connected;
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted <= standing && wanted < self.slots.len() {
            let more = self.wanted.compare_exchange(wanted, wanted + 1, Ordering::Relaxed, Ordering::Relaxed);
            if more.is_ok() {
                debug!(endpoint = self.address.as_str(), connections = wanted + 1, "all streams taken");
            }
        }
        self.wanted.load(Ordering::Relaxed) > standing
    }

    /// Has the tasks that wait connect at once.
    pub(super) fn ask(&self) {
        for (_, slot) in self.wanted() {
            slot.asked.notify_one();
        }
    }

    /// Makes no more connections and offers none; calls under way keep theirs until they end.
    pub(super) fn retire(&self) {
        self.stop.cancel();
        for slot in &self.slots {
            slot.wire.lock().take();
        }
        self.state.send_modify(|state| state.connected = 0);
    }

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
        let connected = self.live().len();
        let mut before = 0;
        self.state.send_modify(|state| {
            before = std::mem::replace(&mut state.connected, connected);
            if connected > 0 {
                state.last = None;
            }
        });
        if (before > 0) != (connected > 0) {
            self.observer.connected(self.id, connected > 0);
        }
    }

    pub(super) fn failed(&self, error: Error) {
        self.state.send_modify(|state| {
            state.failures += 1;
            state.last = Some(error);
        });
    }
}
