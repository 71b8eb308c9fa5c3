//! Reads what the devices gave and answers the chunks, off the devices' threads.
//!
//! Invariant: every item of a group gets an output or a fault, in its place.

use std::sync::{Arc, mpsc::Receiver};

use super::{AnsweredBatch, ItemGroup, guard};
use crate::{
    backend::{Backend, BatchOutputs, HostSide as _, ItemOf},
    outcome::ChunkError,
    shared::Shared,
};

/// The thread's whole life: ends once every device's thread has.
pub(crate) fn run<B: Backend>(shared: &Shared<B>, answered: &Receiver<AnsweredBatch<B>>) {
    while let Ok(batch) = answered.recv() {
        // Dropping a caller's outputs may panic too.
        drop(guard(&shared.counters.panics_finish, "answer", || answer(shared, batch)));
    }
}

fn answer<B: Backend>(shared: &Shared<B>, batch: AnsweredBatch<B>) {
    let AnsweredBatch { groups, host, started, record } = batch;
    let of_items = groups.iter().flat_map(|group| &group.items);
    let mut chunks: Vec<_> = of_items.map(|item| (item.chunk, Arc::clone(&item.item.chunk))).collect();
    chunks.sort_by_key(|(id, _)| *id);
    chunks.dedup_by_key(|(id, _)| *id);
    // Before any answer: with its last one a chunk may be closed, and so answered, from another thread.
    for (_, chunk) in &chunks {
        chunk.record_batch(started, record);
    }
    for ItemGroup { items, raw } in groups {
        let inputs: Vec<&ItemOf<B>> = items.iter().map(|item| &item.item.input).collect();
        let outputs = raw.and_then(|raw| finish(shared, &host, &inputs, raw));
        match outputs {
            Ok(outputs) => {
                for (item, output) in items.iter().zip(outputs) {
                    count_waste(shared, item);
                    item.item.chunk.put(item.index, output);
                }
            }
            Err(why) => {
                for item in &items {
                    match guard(&shared.counters.panics_finish, "answer", || host.item_fault(why.clone())) {
                        Ok(fault) => item.item.chunk.put(item.index, Err(fault)),
                        Err(_) => drop(item.item.chunk.fail(ChunkError::BackendGone)),
                    }
                }
            }
        }
    }
    for (_, chunk) in chunks {
        if chunk.settle() {
            shared.counters.answered.one();
        }
    }
}

/// The outputs of a group, one an item, or why there are none.
fn finish<B: Backend>(
    shared: &Shared<B>,
    host: &Arc<B::Host>,
    items: &[&ItemOf<B>],
    raw: crate::backend::RawOf<B>,
) -> Result<BatchOutputs<B>, String> {
    let outputs = guard(&shared.counters.panics_finish, "answer", || host.finish(items, raw))?;
    if outputs.len() == items.len() {
        return Ok(outputs);
    }
    tracing::error!(asked = items.len(), answered = outputs.len(), "the backend gave a wrong number of answers");
    Err(format!("the backend gave {} answers for {} items", outputs.len(), items.len()))
}

fn count_waste<B: Backend>(shared: &Shared<B>, item: &crate::core::BatchItem<crate::shared::ItemInFlight<B>>) {
    if item.item.chunk.is_over() {
        shared.counters.wasted_tokens.add(item.tokens as u64);
        if item.item.chunk.attempt > 1 {
            shared.counters.wasted_hedge_tokens.add(item.tokens as u64);
        }
    }
}
