//! The stages a batch passes, each a thread of its own that outlives any panic of
//! the code it calls:
//!
//! ```text
//! prepare (one a device): seal, fill tensors ─▶ device (one a device): run ─▶ answer (one): read, fan out
//! ```
//!
//! Channels between them hold one batch, so that nothing is sealed early.
//!
//! Invariants: the stages end in that order, each once what feeds it has ended and
//! is empty; an item that entered leaves with an answer, its chunk's error, or not at
//! all because its chunk is over.

pub(crate) mod answer;
mod bisect;
pub(crate) mod device;
pub(crate) mod prepare;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    backend::{Backend, PreparedOf, RawOf},
    counters::Counter,
    outcome::BatchRecord,
    shared::FormedBatch,
};

/// The host side of a device's present backend, and which backend that is.
pub(crate) struct HostSlot<B: Backend>(Mutex<(u64, Arc<B::Host>)>);

impl<B: Backend> HostSlot<B> {
    pub(crate) fn new(host: Arc<B::Host>) -> Self {
        Self(Mutex::new((0, host)))
    }

    /// The number of the backend and its host side.
    pub(crate) fn get(&self) -> (u64, Arc<B::Host>) {
        let slot = self.0.lock();
        (slot.0, Arc::clone(&slot.1))
    }

    /// A new backend was made.
    pub(crate) fn replace(&self, host: Arc<B::Host>) {
        let mut slot = self.0.lock();
        slot.0 += 1;
        let old = std::mem::replace(&mut slot.1, host);
        drop(slot);
        drop(old);
    }
}

/// A batch on its way to the device.
pub(crate) struct DeviceBatch<B: Backend> {
    batch: FormedBatch<B>,
    prepared: Result<PreparedOf<B>, String>,
    /// The backend it was prepared for.
    backend: u64,
    took: Duration,
}

/// A batch on its way to its callers, in the groups it was run in.
pub(crate) struct AnsweredBatch<B: Backend> {
    groups: Vec<ItemGroup<B>>,
    host: Arc<B::Host>,
    started: Instant,
    record: BatchRecord,
}

/// Items that were run together, and what the device gave, or why it gave nothing.
struct ItemGroup<B: Backend> {
    items: FormedBatch<B>,
    raw: Result<RawOf<B>, String>,
}

/// Runs a caller's code; a panic is counted and becomes its message.
fn guard<R>(panics: &Counter, stage: &'static str, f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        panics.one();
        let message = message(&*panic);
        tracing::error!(stage, panic = message, "a stage of the scheduler panicked");
        format!("the {stage} stage panicked: {message}")
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
