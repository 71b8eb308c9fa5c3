//! The chunks that are known and the orders they are found by.
//!
//! A chunk is *open* from its admission until its last item was pushed, *waiting*
//! while one of its items waits. Its order key is its latest start: deadline less
//! its estimated work, but at most [`DEFAULT_SLACK`] after it came, so that one without
//! a deadline is not passed for ever. The key never changes: a chunk that was begun
//! keeps its place.
//!
//! Invariants: `waits` is the sum over every waiting item, `reserved` over every
//! open chunk; each index holds exactly the waiting chunks; what was cancelled or
//! expired is in none. An item of no tokens counts as one, so that a batch is always bounded.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use sortie_work::{Amount, Cost, Lane, WorkCurve};

use super::{
    tenants::{PriorityClass, QueueOrder},
    units::{AdmissionEstimate, At, BatchItem, ChunkId, Formed, secs},
};
use crate::request::{Priority, QueuedItem, Request, Tenant};

/// Latest start of a chunk whose deadline is later or absent, counted from its
/// arrival. Within a class and tenant it makes the order first come, first served
/// for those without a deadline, behind chunks with less than that left.
const DEFAULT_SLACK: Duration = Duration::from_secs(1);

/// (interactive, bulk) × (first attempts, hedges), in the order of service.
pub(super) const CLASSES: usize = 4;

/// A chunk that left the queue unserved, or its unserved rest.
#[derive(Debug)]
pub struct Removed<K, I> {
    /// The chunk.
    pub id: ChunkId,
    /// The driver's name for it.
    pub key: K,
    /// What waited of it.
    pub items: Vec<I>,
    /// What was estimated of it.
    pub(crate) estimate: AdmissionEstimate,
}

/// A chunk as it is known.
#[derive(Debug)]
pub(super) struct QueuedChunk<K, I> {
    key: K,
    class: usize,
    pub(super) tenant: Tenant,
    pub(super) deadline: Option<At>,
    order: At,
    /// Deadline less the work it was admitted with.
    latest: Option<At>,
    small: bool,
    reserved: Amount,
    open: bool,
    waits: Amount,
    estimate: AdmissionEstimate,
    /// Ascending by (tokens, index from the end): items leave from the end, longest and first first.
    items: Vec<(usize, Reverse<usize>, I)>,
}

impl<K, I> QueuedChunk<K, I> {
    /// Position of the largest item of at most `limit` tokens.
    pub(super) fn largest(&self, limit: usize) -> Option<usize> {
        self.items.partition_point(|(tokens, ..)| *tokens <= limit).checked_sub(1)
    }

    /// When it came.
    pub(super) fn admitted(&self) -> At {
        self.estimate.admitted
    }

    /// Tokens of the largest item.
    pub(super) fn longest(&self) -> Option<usize> {
        self.items.last().map(|(tokens, ..)| *tokens)
    }
}

/// What admission found out of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdmissionEntry {
    pub(super) estimate: AdmissionEstimate,
    /// Time of its own work.
    pub(super) work: Duration,
    /// It is a small one if it has at most so many tokens.
    pub(super) small: usize,
}

/// Chunks that are looked at for being too late before a batch: bounds the time under the lock.
const EXPIRY_LOOK_AHEAD: usize = 64;

/// Every chunk that is known.
#[derive(Debug)]
pub(crate) struct Queue<K, I> {
    chunks: HashMap<ChunkId, QueuedChunk<K, I>>,
    /// Waiting chunks, oldest first.
    pub(super) waiting: BTreeSet<ChunkId>,
    /// Waiting chunks with a deadline, by latest start.
    pub(super) urgent: BTreeSet<QueueOrder>,
    /// Every chunk with a deadline, by that.
    deadlines: BTreeSet<(At, ChunkId)>,
    pub(super) classes: [PriorityClass; CLASSES],
    /// Work owed to the oldest chunk; see [`form`](super::form).
    pub(super) aging_credit: usize,
    /// What an item counts as.
    pub(super) curve: WorkCurve,
    waits: Amount,
    reserved: Amount,
    next: ChunkId,
}

/// The first class of the bulk lane.
pub(super) const BULK: usize = 2;

/// Index of a priority's class.
pub(super) fn class_of(priority: Priority) -> usize {
    let lane = match priority.lane {
        Lane::Interactive => 0,
        Lane::Bulk => BULK,
    };
    lane + usize::from(priority.attempt > 1)
}

impl<K, I> Queue<K, I> {
    /// An empty queue of items that count by `curve`.
    pub(super) fn new(curve: WorkCurve) -> Self {
        Self {
            chunks: HashMap::new(),
            waiting: BTreeSet::new(),
            urgent: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            classes: Default::default(),
            aging_credit: 0,
            curve,
            waits: Amount::default(),
            reserved: Amount::default(),
            next: 0,
        }
    }

    /// What waits.
    pub(super) fn waits(&self) -> Amount {
        self.waits
    }

    /// What open chunks have beyond what was pushed.
    pub(super) fn reserved(&self) -> Amount {
        self.reserved
    }

    /// Chunks that are known.
    pub(super) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// True when no chunk is known.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The next deadline of any chunk.
    pub(super) fn next_deadline(&self) -> Option<At> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The chunk, if it waits or is open.
    pub(super) fn chunk(&self, id: ChunkId) -> Option<&QueuedChunk<K, I>> {
        self.chunks.get(&id)
    }

    /// A chunk that was admitted.
    pub(super) fn open(&mut self, request: Request<At>, key: K, entry: AdmissionEntry) -> ChunkId {
        let id = self.next;
        self.next += 1;
        let reserved = request.amount();
        let Request { tokens, work: _, deadline, priority, tenant } = request;
        let AdmissionEntry { estimate, work, small } = entry;
        let unhurried = estimate.admitted.saturating_add(DEFAULT_SLACK);
        let latest = deadline.map(|at| at.saturating_sub(work));
        let chunk = QueuedChunk {
            key,
            class: class_of(priority),
            tenant,
            deadline,
            order: latest.map_or(unhurried, |at| at.min(unhurried)),
            latest,
            small: tokens <= small as u64,
            reserved,
            open: true,
            waits: Amount::default(),
            estimate,
            items: Vec::new(),
        };
        self.classes[chunk.class].join(tenant, estimate.admitted);
        self.classes[chunk.class].add(tenant, reserved.work);
        self.reserved += reserved;
        self.deadlines.extend(deadline.map(|at| (at, id)));
        self.chunks.insert(id, chunk);
        id
    }

    /// See [`Core::push`](super::Core::push).
    pub(super) fn push(&mut self, id: ChunkId, at: usize, items: Vec<QueuedItem<I>>) -> Vec<QueuedItem<I>> {
        let Some(chunk) = self.chunks.get_mut(&id).filter(|chunk| chunk.open) else { return items };
        if items.is_empty() {
            return items;
        }
        let waited = !chunk.items.is_empty();
        let mut came = Amount::default();
        chunk.items.reserve_exact(items.len());
        for (i, item) in items.into_iter().enumerate() {
            let size = item.tokens.max(1);
            came += self.curve.of(size as u64);
            chunk.items.push((size, Reverse(at + i), item.item));
        }
        chunk.items.sort_by_key(|(tokens, index, _)| (*tokens, *index));
        chunk.waits += came;
        self.waits += came;
        let replaced = chunk.reserved.min(came);
        chunk.reserved -= replaced;
        self.reserved -= replaced;
        let class = &mut self.classes[chunk.class];
        class.add(chunk.tenant, came.work);
        class.drop_tokens(chunk.tenant, replaced.work);
        if !waited {
            class.enter(chunk.tenant, (chunk.order, id), chunk.small);
            self.waiting.insert(id);
            self.urgent.extend(chunk.latest.map(|at| (at, id)));
        }
        Vec::new()
    }

    /// See [`Core::close`](super::Core::close).
    pub(super) fn close(&mut self, id: ChunkId) {
        let Some(chunk) = self.chunks.get_mut(&id) else { return };
        chunk.open = false;
        let rest = std::mem::take(&mut chunk.reserved);
        self.reserved -= rest;
        self.classes[chunk.class].drop_tokens(chunk.tenant, rest.work);
        if chunk.items.is_empty() {
            self.remove(id);
        }
    }

    /// Takes a chunk out whole.
    pub(super) fn remove(&mut self, id: ChunkId) -> Option<Removed<K, I>> {
        let chunk = self.chunks.remove(&id)?;
        self.waits -= chunk.waits;
        self.reserved -= chunk.reserved;
        let class = &mut self.classes[chunk.class];
        class.drop_tokens(chunk.tenant, chunk.waits.and(chunk.reserved).work);
        if !chunk.items.is_empty() {
            class.exit(chunk.tenant, (chunk.order, id), chunk.small);
            self.waiting.remove(&id);
            if let Some(latest) = chunk.latest {
                self.urgent.remove(&(latest, id));
            }
        }
        class.leave(chunk.tenant);
        if let Some(at) = chunk.deadline {
            self.deadlines.remove(&(at, id));
        }
        let items = chunk.items.into_iter().map(|(_, _, item)| item).collect();
        Some(Removed { id, key: chunk.key, items, estimate: chunk.estimate })
    }

    /// Takes out the chunks whose deadline has come.
    pub(super) fn expire(&mut self, now: At) -> Vec<Removed<K, I>> {
        let mut removed = Vec::new();
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            // The entry goes with the chunk.
            match self.remove(id) {
                Some(chunk) => removed.push(chunk),
                None => {
                    self.deadlines.remove(&(at, id));
                }
            }
        }
        removed
    }

    /// Takes out the chunks that would be late even if all that waits of them started at `starts`, on as many `devices`
    /// as there are: none shall work for nobody.
    pub(super) fn take_expired_by(
        &mut self,
        starts: At,
        cost: Cost,
        budget: usize,
        devices: usize,
    ) -> Vec<Removed<K, I>> {
        // The index knows the work a chunk came with; what was served since gave it slack.
        let late = |(_, id): &&QueueOrder| {
            self.chunks.get(id).is_some_and(|chunk| {
                let work = secs(cost.queue_seconds(chunk.waits.work, budget) / devices as f64);
                chunk.deadline.is_some_and(|at| starts.saturating_add(work) > at)
            })
        };
        let due = self.urgent.range(..=(starts, ChunkId::MAX)).take(EXPIRY_LOOK_AHEAD);
        let late: Vec<ChunkId> = due.filter(late).map(|(_, id)| *id).collect();
        late.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Takes out everything.
    pub(super) fn clear(&mut self) -> Vec<Removed<K, I>> {
        let ids: Vec<ChunkId> = self.chunks.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Takes items of `chunk`, largest first, while `room` says how large the next
    /// may be. Returns what was taken.
    pub(super) fn take(
        &mut self,
        id: ChunkId,
        mut room: impl FnMut(&BatchItem<I>) -> usize,
        first: usize,
        out: &mut Formed<I>,
    ) -> Amount {
        let Some(chunk) = self.chunks.get_mut(&id) else { return Amount::default() };
        let (mut limit, mut taken) = (first, Amount::default());
        while let Some(position) = chunk.largest(limit) {
            let (tokens, Reverse(index), item) = chunk.items.remove(position);
            let size = self.curve.of(tokens as u64);
            taken += size;
            let item = BatchItem { chunk: id, index, tokens, work: size.work, item };
            limit = room(&item);
            out.items.push(item);
        }
        if taken.tokens == 0 {
            return taken;
        }
        chunk.waits -= taken;
        self.waits -= taken;
        let class = &mut self.classes[chunk.class];
        class.charge(chunk.tenant, taken.work);
        if chunk.items.is_empty() {
            class.exit(chunk.tenant, (chunk.order, id), chunk.small);
            self.waiting.remove(&id);
            if let Some(latest) = chunk.latest {
                self.urgent.remove(&(latest, id));
            }
            if !chunk.open {
                class.leave(chunk.tenant);
                if let Some(at) = chunk.deadline {
                    self.deadlines.remove(&(at, id));
                }
                if let Some(chunk) = self.chunks.remove(&id) {
                    out.complete.push(chunk.estimate);
                }
            }
        }
        taken
    }

    /// Whether a chunk counts as small.
    pub(super) fn is_small(&self, id: ChunkId) -> bool {
        self.chunks.get(&id).is_some_and(|chunk| chunk.small)
    }
}
