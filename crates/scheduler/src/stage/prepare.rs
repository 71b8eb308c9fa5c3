//! Seals the next batch of a device as late as can be and fills its tensors while
//! the device is still busy with the one before.
//!
//! Invariant: units of parts that are over, and quarantined ones, are not prepared.

use std::sync::{Arc, mpsc::SyncSender};

use tokio::time::Instant;

use super::{HostSlot, Job, guard};
use crate::{
    backend::{Backend, Host as _, Item},
    core::Ran,
    shared::{Batch, Shared},
    ticket::PartError,
};

/// The thread's whole life.
pub(crate) fn run<B: Backend>(shared: &Shared<B>, device: usize, host: &HostSlot<B>, jobs: &SyncSender<Job<B>>) {
    while let Some(batch) = shared.next_batch(device) {
        let begun = Instant::now();
        let (backend, host) = host.get();
        let batch = without_quarantined(shared, &host, batch);
        if batch.is_empty() {
            shared.finished(device, Ran::Otherwise);
            continue;
        }
        let prepared = prepare(shared, &host, &batch);
        let job = Job { batch, prepared, backend, took: begun.elapsed() };
        if let Err(unsent) = jobs.send(job) {
            // The device's thread is gone, and with it the device.
            shared.finished(device, Ran::Otherwise);
            shared.fail_riders(unsent.0.batch, PartError::BackendGone);
            return;
        }
    }
}

/// Prepares a batch, or says why not.
pub(super) fn prepare<B: Backend>(
    shared: &Shared<B>,
    host: &Arc<B::Host>,
    batch: &Batch<B>,
) -> Result<crate::backend::Prepared<B>, String> {
    let items: Vec<&Item<B>> = batch.iter().map(|unit| &unit.item.item).collect();
    guard(&shared.counters.panics_prepare, "prepare", || host.prepare(&items))
}

/// Gives up the units that failed alone before.
fn without_quarantined<B: Backend>(shared: &Shared<B>, host: &Arc<B::Host>, batch: Batch<B>) -> Batch<B> {
    if shared.quarantine.lock().is_empty() {
        return batch;
    }
    let now = Instant::now();
    let held = |item: &Item<B>| {
        let print = guard(&shared.counters.panics_prepare, "prepare", || host.fingerprint(item)).ok().flatten();
        print.is_some_and(|print| shared.quarantine.lock().holds(print, now))
    };
    let (out, rest): (Batch<B>, Batch<B>) = batch.into_iter().partition(|unit| held(&unit.item.item));
    for unit in out {
        shared.counters.quarantined.one();
        let why = "this input made a batch fail more than once and is refused for a while".to_owned();
        let fault = guard(&shared.counters.panics_prepare, "prepare", || host.give_up(why));
        match fault {
            Ok(fault) => unit.item.part.put(unit.index, Err(fault)),
            Err(_) => drop(unit.item.part.fail(PartError::BackendGone)),
        }
        if unit.item.part.settle() {
            shared.counters.answered.one();
        }
    }
    rest
}
