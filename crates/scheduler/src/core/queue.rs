//! The parts that are known and the orders they are found by.
//!
//! A part is *open* from its admission until its last unit was pushed, *waiting*
//! while one of its units waits. Its order key is its latest start: deadline less
//! its estimated work, but at most [`PATIENCE`] after it came, so that one without
//! a deadline is not passed for ever. The key never changes: a part that was begun
//! keeps its place.
//!
//! Invariants: `tokens` is the sum over every waiting unit, `reserved` over every
//! open part; each index holds exactly the waiting parts; what was cancelled or
//! expired is in none. A unit of no tokens counts as one, so that a batch is always bounded.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{
    At, Cost, Promise, secs,
    tenants::{Class, Order},
};
use crate::request::{Lane, Priority, Request, Tenant, Unit};

/// Names a part for its whole life; grows with arrival.
pub type PartId = u64;

/// Latest start of a part whose deadline is later or absent, counted from its
/// arrival. Within a class and tenant it makes the order first come, first served
/// for those without a deadline, behind parts with less than that left.
const PATIENCE: Duration = Duration::from_secs(1);

/// (interactive, bulk) × (first attempts, hedges), in the order of service.
pub(super) const CLASSES: usize = 4;

/// A unit that left the queue for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken<I> {
    /// Its part.
    pub part: PartId,
    /// Its place in the part.
    pub index: usize,
    /// Its size.
    pub tokens: usize,
    /// The work.
    pub item: I,
}

/// A part that left the queue unserved, or its unserved rest.
#[derive(Debug)]
pub struct Gone<K, I> {
    /// The part.
    pub id: PartId,
    /// The driver's name for it.
    pub key: K,
    /// What waited of it.
    pub units: Vec<I>,
    /// What was estimated of it.
    pub(crate) promise: Promise,
}

/// A part as it is known.
#[derive(Debug)]
pub(super) struct Part<K, I> {
    key: K,
    class: usize,
    pub(super) tenant: Tenant,
    pub(super) deadline: Option<At>,
    order: At,
    /// Deadline less the work it was admitted with.
    latest: Option<At>,
    small: bool,
    reserved: u64,
    open: bool,
    tokens: u64,
    promise: Promise,
    /// Ascending by (tokens, index from the end): units leave from the end, longest and first first.
    units: Vec<(usize, Reverse<usize>, I)>,
}

impl<K, I> Part<K, I> {
    /// Position of the largest unit of at most `limit` tokens.
    pub(super) fn largest(&self, limit: usize) -> Option<usize> {
        self.units.partition_point(|(tokens, ..)| *tokens <= limit).checked_sub(1)
    }

    /// When it came.
    pub(super) fn admitted(&self) -> At {
        self.promise.admitted
    }

    /// Tokens of the largest unit.
    pub(super) fn longest(&self) -> Option<usize> {
        self.units.last().map(|(tokens, ..)| *tokens)
    }
}

/// What admission found out of a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) promise: Promise,
    /// Time of its own work.
    pub(super) work: Duration,
    /// It is a small one if it has at most so many tokens.
    pub(super) small: usize,
}

/// Parts that are looked at for being too late before a batch: bounds the time under the lock.
const DOOM_LOOK: usize = 64;

/// Every part that is known.
#[derive(Debug)]
pub(crate) struct Queue<K, I> {
    parts: HashMap<PartId, Part<K, I>>,
    /// Waiting parts, oldest first.
    pub(super) waiting: BTreeSet<PartId>,
    /// Waiting parts with a deadline, by latest start.
    pub(super) urgent: BTreeSet<Order>,
    /// Every part with a deadline, by that.
    deadlines: BTreeSet<(At, PartId)>,
    pub(super) classes: [Class; CLASSES],
    /// Tokens owed to the oldest part; see [`form`](super::form).
    pub(super) owed: usize,
    tokens: u64,
    reserved: u64,
    next: PartId,
}

/// Index of a priority's class.
pub(super) fn class_of(priority: Priority) -> usize {
    let lane = match priority.lane {
        Lane::Interactive => 0,
        Lane::Bulk => 2,
    };
    lane + usize::from(priority.attempt > 1)
}

impl<K, I> Queue<K, I> {
    /// An empty queue.
    pub(super) fn new() -> Self {
        Self {
            parts: HashMap::new(),
            waiting: BTreeSet::new(),
            urgent: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            classes: Default::default(),
            owed: 0,
            tokens: 0,
            reserved: 0,
            next: 0,
        }
    }

    /// Tokens that wait.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens of open parts that were not pushed yet.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Parts that are known.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// True when no part is known.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The next deadline of any part.
    pub(super) fn next_deadline(&self) -> Option<At> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The part, if it waits or is open.
    pub(super) fn part(&self, id: PartId) -> Option<&Part<K, I>> {
        self.parts.get(&id)
    }

    /// A part that was admitted.
    pub(super) fn open(&mut self, request: Request<At>, key: K, entry: Entry) -> PartId {
        let id = self.next;
        self.next += 1;
        let Request { tokens, deadline, priority, tenant } = request;
        let Entry { promise, work, small } = entry;
        let patient = promise.admitted.saturating_add(PATIENCE);
        let latest = deadline.map(|at| at.saturating_sub(work));
        let part = Part {
            key,
            class: class_of(priority),
            tenant,
            deadline,
            order: latest.map_or(patient, |at| at.min(patient)),
            latest,
            small: tokens <= small as u64,
            reserved: tokens,
            open: true,
            tokens: 0,
            promise,
            units: Vec::new(),
        };
        self.classes[part.class].join(tenant, promise.admitted);
        self.classes[part.class].add(tenant, tokens);
        self.reserved += tokens;
        self.deadlines.extend(deadline.map(|at| (at, id)));
        self.parts.insert(id, part);
        id
    }

    /// See [`Core::push`](super::Core::push).
    pub(super) fn push(&mut self, id: PartId, at: usize, units: Vec<Unit<I>>) -> Vec<Unit<I>> {
        let Some(part) = self.parts.get_mut(&id).filter(|part| part.open) else { return units };
        if units.is_empty() {
            return units;
        }
        let waited = !part.units.is_empty();
        let mut tokens = 0u64;
        part.units.reserve_exact(units.len());
        for (i, unit) in units.into_iter().enumerate() {
            let size = unit.tokens.max(1);
            tokens += size as u64;
            part.units.push((size, Reverse(at + i), unit.item));
        }
        part.units.sort_by_key(|(tokens, index, _)| (*tokens, *index));
        part.tokens += tokens;
        self.tokens += tokens;
        let replaced = part.reserved.min(tokens);
        part.reserved -= replaced;
        self.reserved -= replaced;
        let class = &mut self.classes[part.class];
        class.add(part.tenant, tokens);
        class.drop_tokens(part.tenant, replaced);
        if !waited {
            class.enter(part.tenant, (part.order, id), part.small);
            self.waiting.insert(id);
            self.urgent.extend(part.latest.map(|at| (at, id)));
        }
        Vec::new()
    }

    /// See [`Core::close`](super::Core::close).
    pub(super) fn close(&mut self, id: PartId) {
        let Some(part) = self.parts.get_mut(&id) else { return };
        part.open = false;
        let rest = std::mem::take(&mut part.reserved);
        self.reserved -= rest;
        self.classes[part.class].drop_tokens(part.tenant, rest);
        if part.units.is_empty() {
            self.remove(id);
        }
    }

    /// Takes a part out whole.
    pub(super) fn remove(&mut self, id: PartId) -> Option<Gone<K, I>> {
        let part = self.parts.remove(&id)?;
        self.tokens -= part.tokens;
        self.reserved -= part.reserved;
        let class = &mut self.classes[part.class];
        class.drop_tokens(part.tenant, part.tokens + part.reserved);
        if !part.units.is_empty() {
            class.exit(part.tenant, (part.order, id), part.small);
            self.waiting.remove(&id);
            if let Some(latest) = part.latest {
                self.urgent.remove(&(latest, id));
            }
        }
        class.leave(part.tenant);
        if let Some(at) = part.deadline {
            self.deadlines.remove(&(at, id));
        }
        let units = part.units.into_iter().map(|(_, _, item)| item).collect();
        Some(Gone { id, key: part.key, units, promise: part.promise })
    }

    /// Takes out the parts whose deadline has come.
    pub(super) fn expire(&mut self, now: At) -> Vec<Gone<K, I>> {
        let mut gone = Vec::new();
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            // The entry goes with the part.
            match self.remove(id) {
                Some(part) => gone.push(part),
                None => {
                    self.deadlines.remove(&(at, id));
                }
            }
        }
        gone
    }

    /// Takes out the parts that would be late even if all that waits of them started at `starts`, on as many `devices`
    /// as there are: none shall work for nobody.
    pub(super) fn doomed(&mut self, starts: At, cost: Cost, budget: usize, devices: usize) -> Vec<Gone<K, I>> {
        // The index knows the work a part came with; what was served since gave it slack.
        let late = |(_, id): &&Order| {
            self.parts.get(id).is_some_and(|part| {
                let work = secs(cost.queue_seconds(part.tokens, budget) / devices as f64);
                part.deadline.is_some_and(|at| starts.saturating_add(work) > at)
            })
        };
        let due = self.urgent.range(..=(starts, PartId::MAX)).take(DOOM_LOOK);
        let late: Vec<PartId> = due.filter(late).map(|(_, id)| *id).collect();
        late.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Takes out everything.
    pub(super) fn clear(&mut self) -> Vec<Gone<K, I>> {
        let ids: Vec<PartId> = self.parts.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Takes units of `part`, largest first, while `room` says how large the next
    /// may be. Returns the tokens taken.
    pub(super) fn take(
        &mut self,
        id: PartId,
        mut room: impl FnMut(&Taken<I>) -> usize,
        first: usize,
        out: &mut super::form::Formed<I>,
    ) -> usize {
        let Some(part) = self.parts.get_mut(&id) else { return 0 };
        let (mut limit, mut taken) = (first, 0);
        while let Some(position) = part.largest(limit) {
            let (tokens, Reverse(index), item) = part.units.remove(position);
            taken += tokens;
            let unit = Taken { part: id, index, tokens, item };
            limit = room(&unit);
            out.units.push(unit);
        }
        if taken == 0 {
            return 0;
        }
        part.tokens -= taken as u64;
        self.tokens -= taken as u64;
        let class = &mut self.classes[part.class];
        class.charge(part.tenant, taken as u64);
        if part.units.is_empty() {
            class.exit(part.tenant, (part.order, id), part.small);
            self.waiting.remove(&id);
            if let Some(latest) = part.latest {
                self.urgent.remove(&(latest, id));
            }
            if !part.open {
                class.leave(part.tenant);
                if let Some(at) = part.deadline {
                    self.deadlines.remove(&(at, id));
                }
                if let Some(part) = self.parts.remove(&id) {
                    out.complete.push(part.promise);
                }
            }
        }
        taken
    }

    /// Whether a part counts as small.
    pub(super) fn is_small(&self, id: PartId) -> bool {
        self.parts.get(&id).is_some_and(|part| part.small)
    }
}
