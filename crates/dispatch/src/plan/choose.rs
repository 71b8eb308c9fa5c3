//! For which servers a job is cut.
//!
//! Tokens are of work here. For `k` servers with start `s` (backlog, round trip and fixed cost) and cost `b`
//! a token, the level that `T` tokens fill them to is
//! `L = (T + Σ s/b) / Σ 1/b`, and server `i` gets `(L − sᵢ)/bᵢ` tokens: faster
//! servers get larger chunks. A share below `contention · a/b` tokens would be mostly
//! overhead, so that many servers are too many. An item is not cut: where the largest alone ends later than `L`, that
//! is when the job does, and more servers than are done by then are no gain. The chunks finish at
//! `L + noise · √(2 ln k) · service`; the `k` that ends soonest is taken if it
//! ends [`crate::config::PlanConfig::min_gain`] sooner than one chunk, and before the deadline, else the job stays
//! whole.
//!
//! Servers that would end within [`crate::config::PlaceConfig::margin`] of the first are equal: of those the ones that come
//! first in the list are taken.

use super::{FleetView, PlanReason};
use crate::{config::DispatchConfig, place::Candidate};

/// The job that is to be cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobSize {
    /// Work of its items.
    pub(super) work: f64,
    /// That of the largest.
    pub(super) largest: f64,
    /// Work that each chunk has beside.
    pub(super) shared: f64,
    /// Its items.
    pub(super) items: usize,
    /// Fewest chunks that limits allow.
    pub(super) least: usize,
}

/// Microseconds until a server could be done with its first token.
pub(super) fn start_us(server: &Candidate) -> f64 {
    server.backlog_us + server.cost.a_us + server.round_trip_us
}

/// Microseconds a token of work takes, the fixed cost of further batches spread over them.
pub(super) fn slope_us(server: &Candidate) -> f64 {
    server.cost.b_us + server.cost.a_us / server.limits.max_batch_tokens.max(1) as f64
}

/// The time up to which servers end as soon as one that takes `finish` in all, `service` of it for the work itself. The more
/// a fleet has to do, the less counts as equal: under load every server is used, and learnt of, anyway.
fn as_soon_as(config: &DispatchConfig, view: &FleetView, finish: f64, service: f64) -> f64 {
    let least = config.place.least_margin.as_secs_f64() * 1e6;
    let idle = (1.0 - view.load).clamp(0.0, 1.0);
    finish + (config.place.margin * idle * service).max(least)
}

/// The servers to cut for; `None` where limits force more chunks than there are servers.
pub(super) fn choose<'a>(
    config: &DispatchConfig,
    job: &JobSize,
    candidates: &'a [Candidate],
    view: &FleetView,
) -> (Option<Vec<&'a Candidate>>, PlanReason) {
    let &JobSize { work, largest, shared, items, least } = job;
    if least > candidates.len() {
        return (None, PlanReason::Forced);
    }
    let (cap, capped) = view.cap(config);
    let even = work / candidates.len().min(cap) as f64;
    let finish = |server: &Candidate, work: f64| start_us(server) + slope_us(server) * work;
    // Where the first ends with so much work, and until when others end as soon.
    let soonest = |work: f64| {
        let first = candidates.iter().min_by(|a, b| finish(a, work).total_cmp(&finish(b, work)));
        first.map(|first| {
            let finish = finish(first, work);
            (finish, as_soon_as(config, view, finish, first.cost.a_us + slope_us(first) * work))
        })
    };
    let (Some((first_even, as_even)), Some((alone, as_alone))) = (soonest(even), soonest(work + shared)) else {
        return (None, PlanReason::Forced);
    };
    let Some(single) = candidates.iter().find(|server| finish(server, work + shared) <= as_alone) else {
        return (None, PlanReason::Forced);
    };
    let key = |server: &Candidate| match finish(server, even) {
        end if end <= as_even => first_even,
        end => end,
    };
    let mut order: Vec<(f64, &Candidate)> = candidates.iter().map(|server| (key(server), server)).collect();
    // Equals stay in the order in which they came.
    order.sort_by(|a, b| a.0.total_cmp(&b.0));

    let mut best = (least == 1).then_some((alone, 1));
    let bar = best.map_or(f64::INFINITY, |(whole, _)| whole * (1.0 - config.plan.min_gain));
    let most = order.len().min(items).min(cap.max(least));
    // Why no more: the last rule that a larger k met.
    let mut ends = if most < order.len() && most == cap { capped } else { PlanReason::Servers };
    let (mut filled, mut rates) = (0.0, 0.0);
    let mut least_start = f64::INFINITY;
    // When the largest item ends where it ends first.
    let mut largest_end = f64::INFINITY;
    for (k, (_, server)) in (1..).zip(order.iter().take(most)) {
        let (start, slope) = (start_us(server), slope_us(server));
        filled += start / slope + shared;
        rates += 1.0 / slope;
        least_start = least_start.min(start);
        largest_end = largest_end.min(start + slope * (largest + shared));
        if k < least.max(2) {
            continue;
        }
        let level = (work + filled) / rates;
        let sound = |server: &Candidate| {
            let share = (level - start_us(server)) / slope_us(server) - shared;
            share >= (view.contention * server.cost.break_even_tokens()).max(1.0)
        };
        if k > least && !order.iter().take(k).all(|(_, server)| sound(server)) {
            ends = PlanReason::Overhead;
            continue;
        }
        let last = level.max(largest_end);
        let service = last - least_start;
        let end = last + config.plan.service_noise * (2.0 * (k as f64).ln()).sqrt() * service;
        if end > view.time_us && k > least {
            ends = PlanReason::NoTime;
        } else if end > bar {
            ends = PlanReason::NoGain;
        } else if best.is_none_or(|(soonest, _)| end < soonest) {
            best = Some((end, k));
        }
    }
    let take = |k: usize| Some(order.iter().take(k).map(|&(_, server)| server).collect());
    match best {
        Some((_, 1)) => (Some(vec![single]), if most == 1 { capped } else { ends }),
        Some((_, k)) if k == most => (take(k), ends),
        Some((_, k)) => (take(k), PlanReason::Soonest),
        None => (take(least), PlanReason::Forced),
    }
}
