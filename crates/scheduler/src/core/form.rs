//! What goes in the next batch. The rules, in the order they are applied:
//!
//! 1. **Nobody waits for ever.** One token in [`OWED_SHARE`] is owed to the part
//!    that waits longest, whatever its lane, tenant or size; once what is owed
//!    covers its next unit, that unit leads the batch.
//! 2. **Lanes.** Interactive first attempts, interactive hedges, bulk first
//!    attempts, bulk hedges. Within each, tenants take turns of at most
//!    1/[`TURNS`] batch by what they were served ([`tenants`](super::tenants)), and
//!    a tenant's parts go by latest start, that is by deadline slack. Slack orders nobody else: who is about to be late
//!    must not pass other tenants for it, or the latest ones would lead under overload.
//! 3. **Small among large.** Of a batch, 1/[`SMALL_ROOM`] is kept for parts of at
//!    most 1/[`SMALL_SHARE`] batch while any wait, so that a small part need not
//!    wait for a large one to end.
//!
//! The first unit of a batch is taken whatever its size; after it, a later unit
//! that fits may pass one that does not, but what was passed leads in time by
//! rule 1. Of a part the largest unit that fits goes first.
//!
//! A batch is cut short (not below the knee) where a longer one would make a rider miss its deadline, by the cost
//! stretched by the error it has had. Parts that would be late anyway have left before. And it takes at most
//! 1/[`DEADLINE_SHARE`] of the time that any rider came with, where smaller batches cost next to nothing: a rider is
//! answered when its batch ends, so a long batch makes everybody wait for the last of it.
//!
//! Invariants: the sum is within the budget or there is one unit; a part that
//! waits gets at least 1/[`OWED_SHARE`] of the device by the time it is the oldest.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{
    At, Promise,
    cost::Cost,
    queue::{CLASSES, PartId, Queue, Taken},
};
use crate::request::Tenant;

/// One token in so many goes by age alone: 6% of a device, enough to end every
/// wait, too little for a flood of old bulk work to be felt by interactive work.
pub(crate) const OWED_SHARE: usize = 16;

/// A part of at most this share of a batch is a small one: eight of them fit.
pub(crate) const SMALL_SHARE: usize = 8;

/// Share of a batch kept for small parts while any wait. A quarter delays a large
/// part by a third at most and lets two small ones ride along at once.
const SMALL_ROOM: usize = 4;

/// Turns in a batch when several tenants wait: the grain of their fair share.
const TURNS: usize = 16;

/// Parts that are looked at and do not fit before a batch is closed: bounds the
/// time under the lock; a batch this full gains nothing from searching on.
const LOOK_AHEAD: usize = 32;

/// A batch takes at most one in so many of the time from a rider's arrival to its deadline. With a standing queue held
/// to a third of that time, riders are answered within half of it.
const DEADLINE_SHARE: f64 = 8.0;

/// Share of a batch's time that may be its fixed cost where it is cut short for that: what is lost of the device.
const MOST_FIXED: f64 = 0.02;

/// When and how large the next batch may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealing {
    /// When it will start.
    pub(crate) starts: At,
    /// Most tokens.
    pub(crate) budget: usize,
    /// What it costs, once that was measured.
    pub(crate) cost: Option<Cost>,
    /// A batch is not cut shorter than this to meet a deadline.
    pub(crate) knee: usize,
}

/// A batch being formed.
struct Fill<I> {
    sealing: Sealing,
    tokens: usize,
    /// Most tokens that let every rider be in time.
    cap: usize,
    formed: Formed<I>,
}

/// A batch, and the parts that nothing more is to come of.
#[derive(Debug)]
pub(crate) struct Formed<I> {
    pub(crate) units: Vec<Taken<I>>,
    /// What was estimated of the parts that end with this batch.
    pub(crate) complete: Vec<Promise>,
}

impl<I> Fill<I> {
    fn room(&self) -> usize {
        if self.formed.units.is_empty() {
            // The first unit goes whatever its size.
            usize::MAX
        } else {
            self.cap.saturating_sub(self.tokens)
        }
    }

    fn is_full(&self) -> bool {
        !self.formed.units.is_empty() && self.tokens >= self.cap
    }

    /// A part that came at `admitted` with this deadline rides along: the batch must not outlast it, nor take much of
    /// its time.
    fn due(&mut self, admitted: At, deadline: Option<At>) {
        let (Some(at), Some(cost)) = (deadline, self.sealing.cost) else { return };
        let tokens = |seconds: f64| ((seconds - cost.a) / cost.b).max(0.0) as usize;
        let in_time = tokens(at.saturating_sub(self.sealing.starts).as_secs_f64());
        let brief = tokens(at.saturating_sub(admitted).as_secs_f64() / DEADLINE_SHARE);
        let efficient = (cost.a / cost.b * (1.0 - MOST_FIXED) / MOST_FIXED) as usize;
        let cap = in_time.min(brief.max(efficient)).max(self.sealing.knee);
        self.cap = self.cap.min(cap);
    }
}

impl<K, I> Queue<K, I> {
    /// Takes the next batch, longest unit first. Empty when nothing waits.
    pub(super) fn form(&mut self, sealing: Sealing) -> Formed<I> {
        let formed = Formed { units: Vec::new(), complete: Vec::new() };
        let mut fill = Fill { sealing, tokens: 0, cap: sealing.budget, formed };
        self.take_owed(&mut fill);
        for class in 0..CLASSES {
            if fill.is_full() {
                break;
            }
            let large_room = sealing.budget - sealing.budget / SMALL_ROOM;
            self.take_turns(class, large_room, &mut fill);
            self.take_turns(class, usize::MAX, &mut fill);
        }
        // Nothing is owed while nobody is left behind.
        self.owed = if self.waiting.is_empty() {
            0
        } else {
            (self.owed + fill.tokens.div_ceil(OWED_SHARE)).min(sealing.budget)
        };
        fill.formed.units.sort_by_key(|unit| Reverse(unit.tokens));
        fill.formed
    }

    /// Takes what fits of a part, at most `quota` tokens but at least one unit.
    fn ride(&mut self, id: PartId, quota: usize, fill: &mut Fill<I>) -> usize {
        let Some((admitted, deadline)) = self.part(id).map(|part| (part.admitted(), part.deadline)) else { return 0 };
        let before = fill.tokens;
        let first = fill.room();
        if self.part(id).and_then(|part| part.largest(first)).is_none() {
            return 0;
        }
        fill.due(admitted, deadline);
        let cap = fill.cap;
        let mut tokens = fill.tokens;
        let room = |unit: &Taken<I>| {
            tokens += unit.tokens;
            cap.saturating_sub(tokens).min(quota.saturating_sub(tokens - before))
        };
        // The first unit was found to fit before the cap may have fallen under it: it
        // rides all the same, being what the cap is for.
        let taken = self.take(id, room, first, &mut fill.formed);
        fill.tokens += taken;
        taken
    }

    /// Rule 1.
    fn take_owed(&mut self, fill: &mut Fill<I>) {
        while let Some(oldest) = self.waiting.first().copied() {
            let Some(size) = self.part(oldest).and_then(|part| part.longest()) else { return };
            let price = size.min(fill.sealing.budget);
            if self.owed < price || size > fill.room() || self.ride(oldest, 1, fill) == 0 {
                return;
            }
            self.owed -= price;
        }
    }

    /// Rules 2 and 3: turns of the tenants of a class. Large parts may take `large_room` in all.
    fn take_turns(&mut self, class: usize, mut large_room: usize, fill: &mut Fill<I>) {
        // Parts that did not fit once do not fit later: room only shrinks.
        let mut skipped: BTreeSet<PartId> = BTreeSet::new();
        let mut done: BTreeSet<Tenant> = BTreeSet::new();
        while !fill.is_full() && skipped.len() < LOOK_AHEAD {
            let small_only = large_room == 0;
            let mut tenants = self.classes[class].ready(small_only);
            let Some(tenant) = tenants.find(|tenant| !done.contains(tenant)) else { return };
            drop(tenants);
            let alone = self.classes[class].ready_count() == 1;
            let quota = if alone { usize::MAX } else { (fill.sealing.budget / TURNS).max(1) };
            let mut parts = self.classes[class].parts(tenant, small_only);
            let Some(id) = parts.find(|id| !skipped.contains(id)) else {
                drop(parts);
                done.insert(tenant);
                continue;
            };
            drop(parts);
            let small = self.is_small(id);
            let taken = self.ride(id, if small { quota } else { quota.min(large_room) }, fill);
            if taken == 0 {
                skipped.insert(id);
            } else if !small {
                large_room = large_room.saturating_sub(taken);
            }
        }
    }
}
