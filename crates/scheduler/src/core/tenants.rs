//! Who of a class goes next: start-time fair queueing over tokens of work, so that long texts pay for the time they take.
//!
//! Each tenant with waiting work has a *virtual time*, the tokens it was served.
//! The one with the least goes next and is charged what it took. One that comes
//! (back) starts at the class's present virtual time, so that idling saves nothing
//! up. Within a tenant, chunks go by their order key (latest start), small and
//! large ones kept apart.
//!
//! Invariants: of tenants that wait all the time, none gets more than one turn
//! ahead of another; `ready` holds exactly the tenants with a waiting chunk, `ready_small` those with a small
//! one, so that looking for small chunks costs nothing where there are none, however many tenants wait.

use std::collections::{BTreeMap, BTreeSet};

use super::units::{At, ChunkId};
use crate::request::Tenant;

/// A chunk's place among its tenant's: latest start, then arrival.
pub(super) type QueueOrder = (At, ChunkId);

/// One tenant's chunks of one class.
#[derive(Debug, Default)]
struct TenantQueue {
    /// Tokens served, on the class's scale.
    served: u64,
    /// Tokens admitted whose batch does not run yet, reserved ones included.
    tokens: u64,
    /// Chunks known, waiting or not.
    chunks: usize,
    /// When it last had none waiting.
    empty_at: At,
    /// Tokens of it that were refused for time since then.
    refused: u64,
    small: BTreeSet<QueueOrder>,
    large: BTreeSet<QueueOrder>,
}

impl TenantQueue {
    /// Whether more of it comes than is served.
    fn is_standing_queue(&self) -> bool {
        self.tokens > 0 && self.refused > 0
    }

    fn is_ready(&self) -> bool {
        !(self.small.is_empty() && self.large.is_empty())
    }
}

/// The tenants of one class.
#[derive(Debug, Default)]
pub(super) struct PriorityClass {
    queues: BTreeMap<Tenant, TenantQueue>,
    ready: BTreeSet<(u64, Tenant)>,
    ready_small: BTreeSet<(u64, Tenant)>,
    /// Virtual time: that of the tenant last served, before it was charged.
    now: u64,
    tokens: u64,
    /// Tenants with tokens.
    holders: u64,
    /// Of these, tenants of which work was refused.
    standing: u64,
}

impl PriorityClass {
    /// Tokens admitted whose batch does not run yet.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens that are served before `tokens` more of `tenant`, those included:
    /// tenants share evenly, so each other one gets at most as much as this one has. Of whom work was refused gets that
    /// much, whatever it has now: more of its work comes while this one's waits.
    pub(super) fn ahead(&self, tenant: Tenant, tokens: u64) -> u64 {
        let queue = self.queues.get(&tenant);
        let own = queue.map_or(0, |queue| queue.tokens);
        let others = self.holders.saturating_sub(u64::from(own > 0));
        let standing = self.standing.saturating_sub(u64::from(queue.is_some_and(TenantQueue::is_standing_queue)));
        let mine = own.saturating_add(tokens);
        let now = self.tokens.saturating_sub(own).min(mine.saturating_mul(others));
        mine.saturating_add(now.max(mine.saturating_mul(standing)))
    }

    /// When `tenant` last had nothing waiting, and how many of its tokens were refused for time since; `None` where it
    /// has nothing now.
    pub(super) fn standing(&self, tenant: Tenant) -> Option<(At, u64)> {
        self.queues.get(&tenant).filter(|queue| queue.tokens > 0).map(|queue| (queue.empty_at, queue.refused))
    }

    /// Tokens of `tenant` were refused for time. Of one that has nothing waiting no queue stands.
    pub(super) fn refuse(&mut self, tenant: Tenant, tokens: u64) {
        let Some(queue) = self.queues.get_mut(&tenant).filter(|queue| queue.tokens > 0) else { return };
        self.standing += u64::from(!queue.is_standing_queue() && tokens > 0);
        queue.refused = queue.refused.saturating_add(tokens);
    }

    /// A chunk of `tenant` is known from now on.
    pub(super) fn join(&mut self, tenant: Tenant, now: At) {
        let queue = self.queues.entry(tenant).or_default();
        queue.chunks += 1;
        if queue.tokens == 0 {
            queue.empty_at = now;
        }
    }

    /// A chunk of `tenant` is no longer known.
    pub(super) fn leave(&mut self, tenant: Tenant) {
        if let Some(queue) = self.queues.get_mut(&tenant) {
            queue.chunks = queue.chunks.saturating_sub(1);
            // Whoever is ahead of its share must not shed that by going away for a moment.
            if queue.chunks == 0 && queue.served <= self.now {
                self.queues.remove(&tenant);
            }
        }
        if self.tokens == 0 && self.ready.is_empty() {
            self.queues.retain(|_, queue| queue.chunks > 0);
        }
    }

    /// Tokens of `tenant` came (reserved or pushed).
    pub(super) fn add(&mut self, tenant: Tenant, tokens: u64) {
        let Some(queue) = self.queues.get_mut(&tenant) else { return };
        self.holders += u64::from(queue.tokens == 0 && tokens > 0);
        queue.tokens += tokens;
        self.tokens += tokens;
    }

    /// Tokens of `tenant` went, unserved.
    pub(super) fn drop_tokens(&mut self, tenant: Tenant, tokens: u64) {
        let Some(queue) = self.queues.get_mut(&tenant) else { return };
        let dropped = tokens.min(queue.tokens);
        let stood = queue.is_standing_queue();
        queue.tokens -= dropped;
        self.tokens -= dropped;
        if queue.tokens == 0 && dropped > 0 {
            self.holders -= 1;
            self.standing -= u64::from(stood);
            queue.refused = 0;
        }
    }

    /// Items of a chunk wait from now on.
    pub(super) fn enter(&mut self, tenant: Tenant, order: QueueOrder, small: bool) {
        let Some(queue) = self.queues.get_mut(&tenant) else { return };
        if !queue.is_ready() {
            queue.served = queue.served.max(self.now);
            self.ready.insert((queue.served, tenant));
        }
        if small {
            self.ready_small.insert((queue.served, tenant));
            queue.small.insert(order)
        } else {
            queue.large.insert(order)
        };
    }

    /// No item of a chunk waits any more.
    pub(super) fn exit(&mut self, tenant: Tenant, order: QueueOrder, small: bool) {
        let Some(queue) = self.queues.get_mut(&tenant) else { return };
        if small {
            queue.small.remove(&order)
        } else {
            queue.large.remove(&order)
        };
        if queue.small.is_empty() {
            self.ready_small.remove(&(queue.served, tenant));
        }
        if !queue.is_ready() {
            self.ready.remove(&(queue.served, tenant));
        }
    }

    /// `tenant` was served `tokens`.
    pub(super) fn charge(&mut self, tenant: Tenant, tokens: u64) {
        self.drop_tokens(tenant, tokens);
        let Some(queue) = self.queues.get_mut(&tenant) else { return };
        let before = (queue.served, tenant);
        self.now = self.now.max(queue.served);
        queue.served += tokens;
        for index in [&mut self.ready, &mut self.ready_small] {
            if index.remove(&before) {
                index.insert((queue.served, tenant));
            }
        }
        self.prune();
    }

    /// Forgets tenants that are gone and no longer ahead.
    fn prune(&mut self) {
        if self.queues.len() > 2 * self.ready.len() + 64 {
            let now = self.now;
            self.queues.retain(|_, queue| queue.chunks > 0 || queue.served > now);
        }
    }

    /// Tenants with waiting chunks (small ones, if `small_only`), least served first.
    pub(super) fn ready(&self, small_only: bool) -> impl Iterator<Item = Tenant> + '_ {
        let index = if small_only { &self.ready_small } else { &self.ready };
        index.iter().map(|(_, tenant)| *tenant)
    }

    /// How many tenants have waiting chunks.
    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// The chunks of `tenant` in order; without the large ones if `small_only`.
    pub(super) fn chunks(&self, tenant: Tenant, small_only: bool) -> impl Iterator<Item = ChunkId> + '_ {
        let queue = self.queues.get(&tenant);
        let mut small = queue.into_iter().flat_map(|f| &f.small).peekable();
        let mut large = queue.into_iter().filter(move |_| !small_only).flat_map(|f| &f.large).peekable();
        std::iter::from_fn(move || {
            let from_small = match (small.peek(), large.peek()) {
                (Some(s), Some(l)) => s <= l,
                (s, _) => s.is_some(),
            };
            let next = if from_small { small.next() } else { large.next() };
            next.map(|(_, id)| *id)
        })
    }
}
