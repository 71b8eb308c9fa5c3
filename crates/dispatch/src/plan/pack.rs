//! Fills chunks with items: longest first, each where it would end soonest, within
//! the limits (LPT; Graham 1969: no chunk passes 4/3 of the best possible on equal
//! servers).
//!
//! Invariant: an item is put in exactly one bin, and no bin passes its bounds.

use super::{
    Chunk, Item, Shared,
    choose::{slope_us, start_us},
};
use crate::{config::Config, fleet::EndpointId, place::Candidate};

/// Bytes of a request or an answer that are neither items nor shared: options, names, timings.
const MESSAGE_OVERHEAD: u64 = 1_024;

/// Bytes that framing adds to an item, and its facts (tokens, cut or not) to an answer.
const ITEM_OVERHEAD: u64 = 16;

/// What one chunk may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    items: u64,
    bytes: u64,
    answer_bytes: u64,
    tokens: u64,
}

impl Bounds {
    /// What every candidate takes, so that a chunk can go to any.
    pub(super) fn of(config: &Config, candidates: &[Candidate], shared: Shared) -> Self {
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
    pub(super) fn takes(&self, item: &Item) -> bool {
        item.bytes.saturating_add(ITEM_OVERHEAD) <= self.bytes
    }

    /// Fewest chunks that can hold the items.
    pub(super) fn least_chunks<'a>(&self, items: impl Iterator<Item = &'a Item>) -> usize {
        let all = items.fold(Load::default(), |load, item| load.with(item));
        let of = |amount: u64, bound: u64| amount.div_ceil(bound.max(1));
        let least = of(all.items, self.items)
            .max(of(all.bytes, self.bytes))
            .max(of(all.answer_bytes, self.answer_bytes))
            .max(of(all.tokens, self.tokens));
        usize::try_from(least).unwrap_or(usize::MAX).max(1)
    }

    fn hold(&self, load: &Load) -> bool {
        load.items == 1
            || (load.items <= self.items
                && load.bytes <= self.bytes
                && load.answer_bytes <= self.answer_bytes
                && load.tokens <= self.tokens)
    }
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    items: u64,
    bytes: u64,
    answer_bytes: u64,
    tokens: u64,
}

impl Load {
    fn with(self, item: &Item) -> Self {
        Self {
            items: self.items + 1,
            bytes: self.bytes.saturating_add(item.bytes).saturating_add(ITEM_OVERHEAD),
            answer_bytes: self.answer_bytes.saturating_add(item.answer_bytes).saturating_add(ITEM_OVERHEAD),
            tokens: self.tokens.saturating_add(item.tokens),
        }
    }
}

/// A chunk that is being filled.
#[derive(Clone, Debug)]
pub(super) struct Bin {
    target: Option<EndpointId>,
    start: f64,
    slope: f64,
    shared: u64,
    load: Load,
    items: Vec<usize>,
}

impl Bin {
    /// One for a server.
    pub(super) fn aimed(server: &Candidate, shared: Shared) -> Self {
        let (start, slope) = (start_us(server), slope_us(server));
        Self { target: Some(server.endpoint), start, slope, ..Self::waiting(shared) }
    }

    /// One for whichever server is free.
    pub(super) fn waiting(shared: Shared) -> Self {
        let load = Load::default();
        Self { target: None, start: 0.0, slope: 1.0, shared: shared.tokens, load, items: Vec::new() }
    }

    /// The chunk; none if it stayed empty.
    pub(super) fn into_chunk(mut self) -> Option<Chunk> {
        self.items.sort_unstable();
        let tokens = self.load.tokens + self.shared;
        (!self.items.is_empty()).then_some(Chunk { items: self.items, tokens, target: self.target })
    }

    fn end_with(&self, item: &Item) -> f64 {
        self.start + self.slope * (self.load.tokens + item.tokens) as f64
    }
}

/// Puts every item in a bin, opening more where none has room.
pub(super) fn pack(bins: &mut Vec<Bin>, mut items: Vec<(usize, Item)>, bounds: &Bounds, shared: Shared) {
    items.sort_by(|(a_place, a), (b_place, b)| b.tokens.cmp(&a.tokens).then(a_place.cmp(b_place)));
    for (place, item) in items {
        let open = bins.iter_mut().filter(|bin| bounds.hold(&bin.load.with(&item)));
        let bin = open.min_by(|a, b| a.end_with(&item).total_cmp(&b.end_with(&item)));
        let fill = |bin: &mut Bin| {
            bin.load = bin.load.with(&item);
            bin.items.push(place);
        };
        match bin {
            Some(bin) => fill(bin),
            None => {
                let mut bin = Bin::waiting(shared);
                fill(&mut bin);
                bins.push(bin);
            }
        }
    }
}
