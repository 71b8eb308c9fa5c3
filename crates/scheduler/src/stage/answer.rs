//! Reads what the devices gave and answers the parts, off the devices' threads.
//!
//! Invariant: every unit of a group gets an output or a fault, in its place.

use std::sync::{Arc, mpsc::Receiver};

use super::{Answered, Group, guard};
use crate::{
    backend::{Backend, Host as _, Item, Outputs},
    shared::Shared,
    ticket::PartError,
};

/// The thread's whole life: ends once every device's thread has.
pub(crate) fn run<B: Backend>(shared: &Shared<B>, answered: &Receiver<Answered<B>>) {
    while let Ok(batch) = answered.recv() {
        // Dropping a caller's outputs may panic too.
        drop(guard(&shared.counters.panics_finish, "answer", || answer(shared, batch)));
    }
}

fn answer<B: Backend>(shared: &Shared<B>, batch: Answered<B>) {
    let Answered { groups, host, started, record } = batch;
    let mut riders = Vec::new();
    for Group { units, raw } in groups {
        let items: Vec<&Item<B>> = units.iter().map(|unit| &unit.item.item).collect();
        let outputs = raw.and_then(|raw| finish(shared, &host, &items, raw));
        match outputs {
            Ok(outputs) => {
                for (unit, output) in units.iter().zip(outputs) {
                    count_waste(shared, unit);
                    unit.item.part.put(unit.index, output);
                }
            }
            Err(why) => {
                for unit in &units {
                    match guard(&shared.counters.panics_finish, "answer", || host.give_up(why.clone())) {
                        Ok(fault) => unit.item.part.put(unit.index, Err(fault)),
                        Err(_) => drop(unit.item.part.fail(PartError::BackendGone)),
                    }
                }
            }
        }
        riders.extend(units.into_iter().map(|unit| (unit.part, unit.item.part)));
    }
    riders.sort_by_key(|(id, _)| *id);
    riders.dedup_by_key(|(id, _)| *id);
    for (_, part) in riders {
        part.rode(started, record);
        if part.settle() {
            shared.counters.answered.one();
        }
    }
}

/// The outputs of a group, one a unit, or why there are none.
fn finish<B: Backend>(
    shared: &Shared<B>,
    host: &Arc<B::Host>,
    items: &[&Item<B>],
    raw: crate::backend::Raw<B>,
) -> Result<Outputs<B>, String> {
    let outputs = guard(&shared.counters.panics_finish, "answer", || host.finish(items, raw))?;
    if outputs.len() == items.len() {
        return Ok(outputs);
    }
    tracing::error!(asked = items.len(), answered = outputs.len(), "the backend gave a wrong number of answers");
    Err(format!("the backend gave {} answers for {} items", outputs.len(), items.len()))
}

fn count_waste<B: Backend>(shared: &Shared<B>, unit: &crate::core::Taken<crate::shared::Work<B>>) {
    if unit.item.part.is_over() {
        shared.counters.wasted_tokens.add(unit.tokens as u64);
        if unit.item.part.attempt > 1 {
            shared.counters.wasted_hedge_tokens.add(unit.tokens as u64);
        }
    }
}
