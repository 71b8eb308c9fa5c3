//! What goes in the next batch. The rules, in the order they are applied:
//!
//! 1. **Nobody waits for ever.** One token of work in [`AGING_SHARE`] is owed to the chunk
//!    that waits longest, whatever its lane, tenant or size; once what is owed
//!    covers its next item, that item leads the batch.
//! 2. **Lanes.** Interactive first attempts, interactive hedges, bulk first
//!    attempts, bulk hedges. Within each, tenants take turns of at most
//!    1/[`TURNS`] batch by what they were served ([`tenants`](super::tenants)), and
//!    a tenant's chunks go by latest start, that is by deadline slack. Slack orders nobody else: who is about to be
//!    late must not pass other tenants for it, or the latest ones would lead under overload.
//! 3. **Small among large.** Of a batch, 1/[`SMALL_ROOM`] is kept for chunks of at
//!    most 1/[`SMALL_SHARE`] batch while any wait, so that a small chunk need not
//!    wait for a large one to end.
//!
//! The first item of a batch is taken whatever its size; after it, a later item
//! that fits may pass one that does not, but what was passed leads in time by
//! rule 1. Of a chunk the largest item that fits goes first.
//!
//! A batch is cut short (not below the knee) where a longer one would make a chunk in it miss its deadline, by the cost
//! stretched by the error it has had. Chunks that would be late anyway have left before. And it takes at most
//! 1/[`DEADLINE_SHARE`] of the time that any chunk in it came with, where smaller batches cost next to nothing: a chunk
//! is answered when its batch ends, so a long batch makes everybody wait for the last of it.
//!
//! While interactive work is about, bulk work fills batches only so far ([`beside`](super::beside)): then the cap falls before
//! rule 2 comes to its classes.
//!
//! Two measures hold at once: the budget is in tokens, which memory goes by; whatever is of time is in tokens of work,
//! since a long text takes longer than its tokens say ([`WorkCurve`](sortie_work::WorkCurve)).
//!
//! Invariants: the sum of tokens is within the budget or there is one item; a chunk that
//! waits gets at least 1/[`AGING_SHARE`] of the device by the time it is the oldest.

use std::{cmp::Reverse, collections::BTreeSet};

use sortie_work::{Amount, Cost, WorkCurve};

use super::{
    beside::BulkRoom,
    queue::{BULK, CLASSES, Queue},
    units::{At, BatchItem, ChunkId, Formed},
};
use crate::request::Tenant;

/// One token in so many goes by age alone: 6% of a device, enough to end every
/// wait, too little for a flood of old bulk work to be felt by interactive work.
pub(crate) const AGING_SHARE: usize = 16;

/// A chunk of at most this share of a batch is a small one: eight of them fit.
pub(crate) const SMALL_SHARE: usize = 8;

/// Share of a batch kept for small chunks while any wait. A quarter delays a large
/// chunk by a third at most and lets two small ones in at once.
const SMALL_ROOM: usize = 4;

/// Turns in a batch when several tenants wait: the grain of their fair share.
const TURNS: usize = 16;

/// Chunks that are looked at and do not fit before a batch is closed: bounds the
/// time under the lock; a batch this full gains nothing from searching on.
const LOOK_AHEAD: usize = 32;

/// A batch takes at most one in so many of the time from a chunk's arrival to its deadline. With a standing queue held
/// to a third of that time, chunks are answered within half of it.
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
    /// Most work: this device's share of what waits.
    pub(crate) share: u64,
    /// What it costs, once that was measured.
    pub(crate) cost: Option<Cost>,
    /// A batch is not cut to less work than this to meet a deadline.
    pub(crate) knee: u64,
    /// How far bulk work may fill it, while interactive work is about.
    pub(crate) bulk: Option<BulkRoom>,
}

/// A batch being formed.
struct BatchBuilder<I> {
    sealing: Sealing,
    curve: WorkCurve,
    taken: Amount,
    /// Most work that lets every chunk in it be in time.
    cap: u64,
    formed: Formed<I>,
}

impl<I> BatchBuilder<I> {
    /// Tokens of the longest item that may come in.
    fn room(&self) -> usize {
        // The first item goes whatever its size.
        if self.formed.items.is_empty() { usize::MAX } else { self.room_beside(self.taken) }
    }

    /// The same beside so much.
    fn room_beside(&self, taken: Amount) -> usize {
        let in_time = self.curve.longest(self.cap.saturating_sub(taken.work));
        usize::try_from(in_time.min((self.sealing.budget as u64).saturating_sub(taken.tokens))).unwrap_or(usize::MAX)
    }

    fn is_full(&self) -> bool {
        !self.formed.items.is_empty()
            && (self.taken.work >= self.cap || self.taken.tokens >= self.sealing.budget as u64)
    }

    /// A chunk that came at `admitted` with this deadline is in it: the batch must not outlast it, nor take much of
    /// its time.
    fn due(&mut self, admitted: At, deadline: Option<At>) {
        let (Some(at), Some(cost)) = (deadline, self.sealing.cost) else { return };
        let work = |seconds: f64| ((seconds * 1e6 - cost.a_us) / cost.b_us).max(0.0) as u64;
        let in_time = work(at.saturating_sub(self.sealing.starts).as_secs_f64());
        let brief = work(at.saturating_sub(admitted).as_secs_f64() / DEADLINE_SHARE);
        let efficient = (cost.break_even_tokens() * (1.0 - MOST_FIXED) / MOST_FIXED) as u64;
        let cap = in_time.min(brief.max(efficient)).max(self.sealing.knee);
        self.cap = self.cap.min(cap);
    }
}

impl<K, I> Queue<K, I> {
    /// Takes the next batch, longest item first. Empty when nothing waits.
    pub(super) fn form(&mut self, sealing: Sealing) -> Formed<I> {
        let formed = Formed::default();
        let (taken, cap) = (Amount::default(), sealing.share);
        let mut builder = BatchBuilder { sealing, curve: self.curve, taken, cap, formed };
        self.take_oldest(&mut builder);
        let aged = builder.taken.tokens;
        for class in 0..CLASSES {
            if class == BULK
                && let Some(room) = sealing.bulk
            {
                let joined = builder.taken.tokens > aged;
                builder.cap = builder.cap.min(if joined { room.joined } else { room.alone });
                builder.formed.cut = joined && room.joined < room.alone && !self.waiting.is_empty();
            }
            if builder.is_full() {
                break;
            }
            let large_room = sealing.budget - sealing.budget / SMALL_ROOM;
            self.take_turns(class, large_room, &mut builder);
            self.take_turns(class, usize::MAX, &mut builder);
        }
        // Nothing is owed while nobody is left behind.
        self.aging_credit = if self.waiting.is_empty() {
            0
        } else {
            let owed = builder.taken.work.div_ceil(AGING_SHARE as u64);
            (self.aging_credit + usize::try_from(owed).unwrap_or(usize::MAX)).min(sealing.budget)
        };
        builder.formed.items.sort_by_key(|item| Reverse(item.tokens));
        builder.formed
    }

    /// Takes what fits of a chunk, at most `quota` tokens but at least one item.
    fn add_from(&mut self, id: ChunkId, quota: usize, builder: &mut BatchBuilder<I>) -> usize {
        let Some((admitted, deadline)) = self.chunk(id).map(|chunk| (chunk.admitted(), chunk.deadline)) else {
            return 0;
        };
        let before = builder.taken.tokens;
        let first = builder.room();
        if self.chunk(id).and_then(|chunk| chunk.largest(first)).is_none() {
            return 0;
        }
        builder.due(admitted, deadline);
        let mut so_far = builder.taken;
        let mut formed = std::mem::take(&mut builder.formed);
        let room = |item: &BatchItem<I>| {
            so_far += Amount { tokens: item.tokens as u64, work: item.work };
            let own = usize::try_from(so_far.tokens - before).unwrap_or(usize::MAX);
            builder.room_beside(so_far).min(quota.saturating_sub(own))
        };
        // The first item was found to fit before the cap may have fallen under it: it
        // goes all the same, being what the cap is for.
        let taken = self.take(id, room, first, &mut formed);
        builder.formed = formed;
        builder.taken += taken;
        usize::try_from(taken.tokens).unwrap_or(usize::MAX)
    }

    /// Rule 1.
    fn take_oldest(&mut self, builder: &mut BatchBuilder<I>) {
        while let Some(oldest) = self.waiting.first().copied() {
            let Some(size) = self.chunk(oldest).and_then(|chunk| chunk.longest()) else { return };
            let work = usize::try_from(self.curve.work(size as u64)).unwrap_or(usize::MAX);
            let price = work.min(builder.sealing.budget);
            if self.aging_credit < price || size > builder.room() || self.add_from(oldest, 1, builder) == 0 {
                return;
            }
            self.aging_credit -= price;
        }
    }

    /// Rules 2 and 3: turns of the tenants of a class. Large chunks may take `large_room` in all.
    fn take_turns(&mut self, class: usize, mut large_room: usize, builder: &mut BatchBuilder<I>) {
        // Chunks that did not fit once do not fit later: room only shrinks.
        let mut skipped: BTreeSet<ChunkId> = BTreeSet::new();
        let mut done: BTreeSet<Tenant> = BTreeSet::new();
        while !builder.is_full() && skipped.len() < LOOK_AHEAD {
            let small_only = large_room == 0;
            let mut tenants = self.classes[class].ready(small_only);
            let Some(tenant) = tenants.find(|tenant| !done.contains(tenant)) else { return };
            drop(tenants);
            let alone = self.classes[class].ready_count() == 1;
            let quota = if alone { usize::MAX } else { (builder.sealing.budget / TURNS).max(1) };
            let mut chunks = self.classes[class].chunks(tenant, small_only);
            let Some(id) = chunks.find(|id| !skipped.contains(id)) else {
                drop(chunks);
                done.insert(tenant);
                continue;
            };
            drop(chunks);
            let small = self.is_small(id);
            let taken = self.add_from(id, if small { quota } else { quota.min(large_room) }, builder);
            if taken == 0 {
                skipped.insert(id);
            } else if !small {
                large_room = large_room.saturating_sub(taken);
            }
        }
    }
}
