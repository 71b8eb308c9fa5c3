//! How a job is cut: into `k` chunks of work that should finish together.
//!
//! Rules of the fleet's load cap the number of chunks (`view`); of what is left the number
//! that is predicted to end soonest is taken, if it gains enough over one chunk (`choose`).
//!
//! Items go to chunks longest first, each to the chunk that would end soonest with
//! it (LPT). Limits of messages, items and queues hold for every chunk; where they
//! force more chunks than there are servers the rest wait, without a target.
//!
//! Invariant: every item is in exactly one chunk or in `oversized`; no two chunks
//! have the same target.

mod choose;
mod chunk;
mod pack;
mod view;

pub use chunk::{Chunk, ItemSize, SharedSize};
pub use view::{FleetView, PlanReason};

pub(crate) use view::Contention;

use crate::{config::DispatchConfig, ids::EndpointId, options::JobOptions, place::Candidate};
use choose::{JobSize, choose};
use pack::{ChunkBuilder, ChunkLimits, pack};

/// A job, cut, or to be cut once probes have come back.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The chunks, most work first; none yet where the plan is deferred.
    pub chunks: Vec<Chunk>,
    /// Items that no request can hold, ascending.
    pub oversized: Vec<usize>,
    /// Why so many chunks.
    pub reason: PlanReason,
    /// What is left to do once servers have said how loaded they are.
    pub deferred: Option<DeferredPlan>,
}

impl Plan {
    /// Chunks that there are or, by the look of it, will be.
    #[must_use]
    pub fn expected_chunks(&self) -> usize {
        self.deferred.as_ref().map_or(self.chunks.len(), |deferred| deferred.chunks)
    }
}

/// A job that is cut when it is known how loaded some servers are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeferredPlan {
    /// Servers to ask.
    pub probes: Vec<EndpointId>,
    /// Most chunks it will be cut into.
    pub chunks: usize,
    /// Work of one of them in tokens, about.
    pub chunk_work: u64,
    /// Items of the job.
    pub(crate) items: Vec<ItemSize>,
    pub(crate) shared: SharedSize,
    pub(crate) view: FleetView,
    pub(crate) options: JobOptions,
}

/// Cuts a job for `candidates`, which are not empty. Of servers that are as good the earlier ones in the list are taken.
#[must_use]
pub fn plan(
    config: &DispatchConfig,
    items: &[ItemSize],
    shared: SharedSize,
    candidates: &[Candidate],
    view: &FleetView,
) -> Plan {
    let limits = ChunkLimits::of(config, candidates, shared);
    let (mut fitting, mut oversized) = (Vec::with_capacity(items.len()), Vec::new());
    for (place, item) in items.iter().enumerate() {
        if limits.takes(item) { fitting.push((place, *item)) } else { oversized.push(place) }
    }
    if fitting.is_empty() {
        return Plan { oversized, ..Plan::default() };
    }
    let job = JobSize {
        work: fitting.iter().map(|(_, item)| item.work).sum::<u64>() as f64,
        largest: fitting.iter().map(|(_, item)| item.work).max().unwrap_or(0) as f64,
        shared: shared.work as f64,
        items: fitting.len(),
        least: limits.least_chunks(fitting.iter().map(|(_, item)| item)),
    };
    let (chosen, reason) = choose(config, &job, candidates, view);
    let mut builders: Vec<ChunkBuilder> = match chosen {
        Some(chosen) => chosen.iter().map(|server| ChunkBuilder::aimed(server, shared)).collect(),
        None => (0..job.least).map(|_| ChunkBuilder::waiting(shared)).collect(),
    };
    pack(&mut builders, fitting, &limits, shared);

    let mut chunks: Vec<Chunk> = builders.into_iter().filter_map(ChunkBuilder::into_chunk).collect();
    chunks.sort_by(|a, b| b.work.cmp(&a.work).then_with(|| a.items.cmp(&b.items)));
    Plan { chunks, oversized, reason, deferred: None }
}
