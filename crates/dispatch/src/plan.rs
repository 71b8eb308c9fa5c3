//! How a job is cut: into `k` chunks of work that should finish together.
//!
//! For `k` servers with start `s` (backlog, round trip and fixed cost) and cost `b`
//! a token, the level that `T` tokens fill them to is
//! `L = (T + Σ s/b) / Σ 1/b`, and server `i` gets `(L − sᵢ)/bᵢ` tokens: faster
//! servers get larger chunks. A share below `a/b` tokens would be mostly overhead,
//! so that many servers are too many. The chunks finish at
//! `L + noise · √(2 ln k) · service`; the `k` that ends soonest is taken if it
//! ends [`Config::min_gain`] sooner than one chunk, else the job stays whole.
//!
//! Items go to chunks longest first, each to the chunk that would end soonest with
//! it (LPT). Limits of messages, items and queues hold for every chunk; where they
//! force more chunks than there are servers the rest wait, without a target.
//!
//! Invariant: every item is in exactly one chunk or in `oversized`; no two chunks
//! have the same target.

use crate::{
    config::Config,
    fleet::EndpointId,
    pack::{Bin, Bounds, pack},
    place::Candidate,
};

/// One item of a job as far as the planner cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Tokens it will have.
    pub tokens: u64,
    /// Bytes it takes in a request.
    pub bytes: u64,
    /// Bytes it takes in an answer.
    pub answer_bytes: u64,
}

/// What every chunk carries beside its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Tokens it adds to a chunk.
    pub tokens: u64,
    /// Bytes it adds to a request.
    pub bytes: u64,
}

/// Items that go to one server in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Places of the items in the job, ascending.
    pub items: Vec<usize>,
    /// Tokens of the chunk.
    pub tokens: u64,
    /// The server it was made for; none for a chunk that waits until one has finished another.
    pub target: Option<EndpointId>,
}

/// A job, cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The chunks, most tokens first.
    pub chunks: Vec<Chunk>,
    /// Items that no request can hold, ascending.
    pub oversized: Vec<usize>,
}

/// Cuts a job for `candidates`, which are not empty.
#[must_use]
pub fn plan(config: &Config, items: &[Item], shared: Shared, candidates: &[Candidate]) -> Plan {
    let bounds = Bounds::of(config, candidates, shared);
    let (mut fitting, mut oversized) = (Vec::with_capacity(items.len()), Vec::new());
    for (place, item) in items.iter().enumerate() {
        if bounds.takes(item) { fitting.push((place, *item)) } else { oversized.push(place) }
    }
    if fitting.is_empty() {
        return Plan { chunks: Vec::new(), oversized };
    }
    let least = bounds.least_chunks(fitting.iter().map(|(_, item)| item));
    let tokens: u64 = fitting.iter().map(|(_, item)| item.tokens).sum();
    let chosen = choose(config, tokens as f64, shared.tokens as f64, fitting.len(), least, candidates);

    let mut bins: Vec<Bin> = match chosen {
        Some(chosen) => chosen.iter().map(|server| Bin::aimed(server, config, shared)).collect(),
        None => (0..least).map(|_| Bin::waiting(shared)).collect(),
    };
    pack(&mut bins, fitting, &bounds, shared);

    let mut chunks: Vec<Chunk> = bins.into_iter().filter_map(Bin::into_chunk).collect();
    chunks.sort_by(|a, b| b.tokens.cmp(&a.tokens).then_with(|| a.items.cmp(&b.items)));
    Plan { chunks, oversized }
}

/// Microseconds until a server could be done with its first token.
pub(crate) fn start_us(config: &Config, server: &Candidate) -> f64 {
    server.backlog_us + server.cost.a_us + config.plan.round_trip.as_secs_f64() * 1e6
}

/// Microseconds a token takes, the fixed cost of further batches spread over them.
pub(crate) fn slope_us(server: &Candidate) -> f64 {
    server.cost.b_us + server.cost.a_us / server.limits.max_batch_tokens.max(1) as f64
}

/// The servers to cut for; `None` where limits force more chunks than there are servers.
fn choose<'a>(
    config: &Config,
    tokens: f64,
    shared: f64,
    items: usize,
    least: usize,
    candidates: &'a [Candidate],
) -> Option<Vec<&'a Candidate>> {
    if least > candidates.len() {
        return None;
    }
    let even = tokens / candidates.len() as f64;
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    let eager = |server: &&Candidate| start_us(config, server) + slope_us(server) * even;
    order.sort_by(|a, b| eager(a).total_cmp(&eager(b)));
    let alone = |server: &&Candidate| start_us(config, server) + slope_us(server) * (tokens + shared);
    let single = *order.iter().min_by(|a, b| alone(a).total_cmp(&alone(b)))?;

    let mut best = (least == 1).then(|| (alone(&single), 1));
    let bar = best.map_or(f64::INFINITY, |(whole, _)| whole * (1.0 - config.plan.min_gain));
    let (mut filled, mut rates) = (0.0, 0.0);
    let most = order.len().min(items).min(config.plan.max_chunks.max(least));
    for (k, server) in (1..).zip(order.iter().take(most)) {
        let (start, slope) = (start_us(config, server), slope_us(server));
        filled += start / slope + shared;
        rates += 1.0 / slope;
        if k < least.max(2) {
            continue;
        }
        let level = (tokens + filled) / rates;
        let used = order.iter().take(k);
        let sound = |server: &&Candidate| {
            let share = (level - start_us(config, server)) / slope_us(server) - shared;
            share >= server.cost.break_even_tokens().max(1.0)
        };
        if k > least && !used.clone().all(sound) {
            continue;
        }
        let service = used.map(|server| level - start_us(config, server)).fold(0.0, f64::max);
        let end = level + config.plan.service_noise * (2.0 * (k as f64).ln()).sqrt() * service;
        if end <= bar && best.is_none_or(|(soonest, _)| end < soonest) {
            best = Some((end, k));
        }
    }
    match best {
        Some((_, 1)) => Some(vec![single]),
        Some((_, k)) => Some(order.into_iter().take(k).collect()),
        None => Some(order.into_iter().take(least).collect()),
    }
}
