//! Seals the next batch of a device as late as can be and fills its tensors while
//! the device is still busy with the one before.
//!
//! Invariant: items of chunks that are over, and quarantined ones, are not prepared.

use std::sync::{Arc, mpsc::SyncSender};

use tokio::time::Instant;

use super::{DeviceBatch, HostSlot, guard};
use crate::{
    backend::{Backend, HostSide as _, ItemOf},
    core::BatchOutcome,
    outcome::ChunkError,
    shared::{FormedBatch, Shared},
};

/// The thread's whole life.
pub(crate) fn run<B: Backend>(
    shared: &Shared<B>,
    device: usize,
    host: &HostSlot<B>,
    batches: &SyncSender<DeviceBatch<B>>,
) {
    while let Some(batch) = shared.next_batch(device) {
        let begun = Instant::now();
        let (backend, host) = host.get();
        let batch = without_quarantined(shared, &host, batch);
        if batch.is_empty() {
            shared.finished(device, BatchOutcome::Otherwise);
            continue;
        }
        let prepared = prepare(shared, &host, &batch);
        let next = DeviceBatch { batch, prepared, backend, took: begun.elapsed() };
        if let Err(unsent) = batches.send(next) {
            // The device's thread is gone, and with it the device.
            shared.finished(device, BatchOutcome::Otherwise);
            shared.hand_on(unsent.0.batch);
            return;
        }
    }
}

/// Prepares a batch, or says why not.
pub(super) fn prepare<B: Backend>(
    shared: &Shared<B>,
    host: &Arc<B::Host>,
    batch: &FormedBatch<B>,
) -> Result<crate::backend::PreparedOf<B>, String> {
    let items: Vec<&ItemOf<B>> = batch.iter().map(|item| &item.item.input).collect();
    guard(&shared.counters.panics_prepare, "prepare", || host.prepare(&items))
}

/// Gives up the items that failed alone before.
fn without_quarantined<B: Backend>(shared: &Shared<B>, host: &Arc<B::Host>, batch: FormedBatch<B>) -> FormedBatch<B> {
    if shared.quarantine.lock().is_empty() {
        return batch;
    }
    let now = Instant::now();
    let held = |item: &ItemOf<B>| {
        let print = guard(&shared.counters.panics_prepare, "prepare", || host.fingerprint(item)).ok().flatten();
        print.is_some_and(|print| shared.quarantine.lock().holds(print, now))
    };
    let (out, rest): (FormedBatch<B>, FormedBatch<B>) = batch.into_iter().partition(|item| held(&item.item.input));
    for item in out {
        shared.counters.quarantined.one();
        let why = "this input made a batch fail more than once and is refused for a while".to_owned();
        let fault = guard(&shared.counters.panics_prepare, "prepare", || host.item_fault(why));
        match fault {
            Ok(fault) => item.item.chunk.put(item.index, Err(fault)),
            Err(_) => drop(item.item.chunk.fail(ChunkError::BackendGone)),
        }
        if item.item.chunk.settle() {
            shared.counters.answered.one();
        }
    }
    rest
}
