//! Fills chunks with items: most work first, each where it would end soonest, within
//! the limits, which are in tokens (LPT; Graham 1969: no chunk passes 4/3 of the best possible on equal
//! servers).
//!
//! Invariant: an item is put in exactly one bin, and no bin passes its bounds.

use super::{
    choose::{slope_us, start_us},
    chunk::{Chunk, ItemSize, SharedSize},
};
use crate::{config::DispatchConfig, ids::EndpointId, place::Candidate};

/// Bytes of a request or an answer that are neither items nor shared: options, names, timings.
const MESSAGE_OVERHEAD: u64 = 1_024;

/// Bytes that framing adds to an item, and its facts (tokens, cut or not) to an answer.
const ITEM_OVERHEAD: u64 = 16;

/// What one chunk may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkLimits {
    items: u64,
    bytes: u64,
    answer_bytes: u64,
    tokens: u64,
}

impl ChunkLimits {
    /// What every candidate takes, so that a chunk can go to any.
    pub(super) fn of(config: &DispatchConfig, candidates: &[Candidate], shared: SharedSize) -> Self {
        let limits = candidates.iter().map(|server| server.limits.or(config.limits));
        let limits = limits.reduce(|a, b| a.both(b)).unwrap_or(config.limits);
        let message =
            ((limits.max_message_bytes as f64 * config.plan.message_share) as u64).saturating_sub(MESSAGE_OVERHEAD);
        let queue = (limits.max_queue_tokens as f64 * config.plan.queue_share) as u64;
        Self {
            items: limits.max_items.max(1),
            bytes: message.saturating_sub(shared.bytes),
            answer_bytes: message,
            tokens: queue.saturating_sub(shared.tokens).max(1),
        }
    }

    /// Whether a request can hold the item at all. One with too many tokens for the share of a queue
    /// goes alone: the server is the judge of that.
    pub(super) fn takes(&self, item: &ItemSize) -> bool {
        item.bytes.saturating_add(ITEM_OVERHEAD) <= self.bytes
    }

    /// Fewest chunks that can hold the items.
    pub(super) fn least_chunks<'a>(&self, items: impl Iterator<Item = &'a ItemSize>) -> usize {
        let all = items.fold(ChunkSize::default(), |size, item| size.with(item));
        let of = |amount: u64, bound: u64| amount.div_ceil(bound.max(1));
        let least = of(all.items, self.items)
            .max(of(all.bytes, self.bytes))
            .max(of(all.answer_bytes, self.answer_bytes))
            .max(of(all.tokens, self.tokens));
        usize::try_from(least).unwrap_or(usize::MAX).max(1)
    }

    fn hold(&self, size: &ChunkSize) -> bool {
        size.items == 1
            || (size.items <= self.items
                && size.bytes <= self.bytes
                && size.answer_bytes <= self.answer_bytes
                && size.tokens <= self.tokens)
    }
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, Default)]
struct ChunkSize {
    items: u64,
    bytes: u64,
    answer_bytes: u64,
    tokens: u64,
    work: u64,
}

impl ChunkSize {
    fn with(self, item: &ItemSize) -> Self {
        Self {
            items: self.items + 1,
            bytes: self.bytes.saturating_add(item.bytes).saturating_add(ITEM_OVERHEAD),
            answer_bytes: self.answer_bytes.saturating_add(item.answer_bytes).saturating_add(ITEM_OVERHEAD),
            tokens: self.tokens.saturating_add(item.tokens),
            work: self.work.saturating_add(item.work),
        }
    }
}

/// A chunk that is being filled.
#[derive(Clone, Debug)]
pub(super) struct ChunkBuilder {
    target: Option<EndpointId>,
    start: f64,
    slope: f64,
    shared: SharedSize,
    size: ChunkSize,
    items: Vec<usize>,
}

impl ChunkBuilder {
    /// One for a server.
    pub(super) fn aimed(server: &Candidate, shared: SharedSize) -> Self {
        let (start, slope) = (start_us(server), slope_us(server));
        Self { target: Some(server.endpoint), start, slope, ..Self::waiting(shared) }
    }

    /// One for whichever server is free.
    pub(super) fn waiting(shared: SharedSize) -> Self {
        let size = ChunkSize::default();
        Self { target: None, start: 0.0, slope: 1.0, shared, size, items: Vec::new() }
    }

    /// The chunk; none if it stayed empty.
    pub(super) fn into_chunk(mut self) -> Option<Chunk> {
        self.items.sort_unstable();
        let (tokens, work) = (self.size.tokens + self.shared.tokens, self.size.work + self.shared.work);
        (!self.items.is_empty()).then_some(Chunk { items: self.items, tokens, work, target: self.target })
    }

    fn end_with(&self, item: &ItemSize) -> f64 {
        self.start + self.slope * (self.size.work + item.work) as f64
    }
}

/// Puts every item in a bin, opening more where none has room.
pub(super) fn pack(
    builders: &mut Vec<ChunkBuilder>,
    mut items: Vec<(usize, ItemSize)>,
    bounds: &ChunkLimits,
    shared: SharedSize,
) {
    items.sort_by(|(a_place, a), (b_place, b)| b.work.cmp(&a.work).then(a_place.cmp(b_place)));
    for (place, item) in items {
        let open = builders.iter_mut().filter(|builder| bounds.hold(&builder.size.with(&item)));
        let builder = open.min_by(|a, b| a.end_with(&item).total_cmp(&b.end_with(&item)));
        let fill = |builder: &mut ChunkBuilder| {
            builder.size = builder.size.with(&item);
            builder.items.push(place);
        };
        match builder {
            Some(builder) => fill(builder),
            None => {
                let mut builder = ChunkBuilder::waiting(shared);
                fill(&mut builder);
                builders.push(builder);
            }
        }
    }
}
