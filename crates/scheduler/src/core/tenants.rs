//! Who of a class goes next: start-time fair queueing over tokens.
//!
//! Each tenant with waiting work has a *virtual time*, the tokens it was served.
//! The one with the least goes next and is charged what it took. One that comes
//! (back) starts at the class's present virtual time, so that idling saves nothing
//! up. Within a tenant, parts go by their order key (latest start), small and
//! large ones kept apart.
//!
//! Invariants: of tenants that wait all the time, none gets more than one turn
//! ahead of another; `ready` holds exactly the tenants with a waiting part, `ready_small` those with a small
//! one, so that looking for small parts costs nothing where there are none, however many tenants wait.

use std::collections::{BTreeMap, BTreeSet};

use super::{At, queue::PartId};
use crate::request::Tenant;

/// A part's place among its tenant's: latest start, then arrival.
pub(super) type Order = (At, PartId);

/// One tenant's parts of one class.
#[derive(Debug, Default)]
struct Flow {
    /// Tokens served, on the class's scale.
    served: u64,
    /// Tokens admitted and not yet in a batch, reserved ones included.
    tokens: u64,
    /// Parts known, waiting or not.
    parts: usize,
    /// When it last had none waiting.
    empty_at: At,
    /// Tokens of it that were refused for time since then.
    refused: u64,
    small: BTreeSet<Order>,
    large: BTreeSet<Order>,
}

impl Flow {
    /// Whether more of it comes than is served.
    fn stands(&self) -> bool {
        self.tokens > 0 && self.refused > 0
    }

    fn is_ready(&self) -> bool {
        !(self.small.is_empty() && self.large.is_empty())
    }
}

/// The tenants of one class.
#[derive(Debug, Default)]
pub(super) struct Class {
    flows: BTreeMap<Tenant, Flow>,
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

impl Class {
    /// Tokens admitted and not yet in a batch.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens that are served before `tokens` more of `tenant`, those included:
    /// tenants share evenly, so each other one gets at most as much as this one has. Of whom work was refused gets that
    /// much, whatever it has now: more of its work comes while this one's waits.
    pub(super) fn ahead(&self, tenant: Tenant, tokens: u64) -> u64 {
        let flow = self.flows.get(&tenant);
        let own = flow.map_or(0, |flow| flow.tokens);
        let others = self.holders.saturating_sub(u64::from(own > 0));
        let standing = self.standing.saturating_sub(u64::from(flow.is_some_and(Flow::stands)));
        let mine = own.saturating_add(tokens);
        let now = self.tokens.saturating_sub(own).min(mine.saturating_mul(others));
        mine.saturating_add(now.max(mine.saturating_mul(standing)))
    }

    /// When `tenant` last had nothing waiting, and how many of its tokens were refused for time since; `None` where it
    /// has nothing now.
    pub(super) fn standing(&self, tenant: Tenant) -> Option<(At, u64)> {
        self.flows.get(&tenant).filter(|flow| flow.tokens > 0).map(|flow| (flow.empty_at, flow.refused))
    }

    /// Tokens of `tenant` were refused for time. Of one that has nothing waiting no queue stands.
    pub(super) fn refuse(&mut self, tenant: Tenant, tokens: u64) {
        let Some(flow) = self.flows.get_mut(&tenant).filter(|flow| flow.tokens > 0) else { return };
        self.standing += u64::from(!flow.stands() && tokens > 0);
        flow.refused = flow.refused.saturating_add(tokens);
    }

    /// A part of `tenant` is known from now on.
    pub(super) fn join(&mut self, tenant: Tenant, now: At) {
        let flow = self.flows.entry(tenant).or_default();
        flow.parts += 1;
        if flow.tokens == 0 {
            flow.empty_at = now;
        }
    }

    /// A part of `tenant` is no longer known.
    pub(super) fn leave(&mut self, tenant: Tenant) {
        if let Some(flow) = self.flows.get_mut(&tenant) {
            flow.parts = flow.parts.saturating_sub(1);
            // Whoever is ahead of its share must not shed that by going away for a moment.
            if flow.parts == 0 && flow.served <= self.now {
                self.flows.remove(&tenant);
            }
        }
        if self.tokens == 0 && self.ready.is_empty() {
            self.flows.retain(|_, flow| flow.parts > 0);
        }
    }

    /// Tokens of `tenant` came (reserved or pushed).
    pub(super) fn add(&mut self, tenant: Tenant, tokens: u64) {
        let Some(flow) = self.flows.get_mut(&tenant) else { return };
        self.holders += u64::from(flow.tokens == 0 && tokens > 0);
        flow.tokens += tokens;
        self.tokens += tokens;
    }

    /// Tokens of `tenant` went, unserved.
    pub(super) fn drop_tokens(&mut self, tenant: Tenant, tokens: u64) {
        let Some(flow) = self.flows.get_mut(&tenant) else { return };
        let dropped = tokens.min(flow.tokens);
        let stood = flow.stands();
        flow.tokens -= dropped;
        self.tokens -= dropped;
        if flow.tokens == 0 && dropped > 0 {
            self.holders -= 1;
            self.standing -= u64::from(stood);
            flow.refused = 0;
        }
    }

    /// Units of a part wait from now on.
    pub(super) fn enter(&mut self, tenant: Tenant, order: Order, small: bool) {
        let Some(flow) = self.flows.get_mut(&tenant) else { return };
        if !flow.is_ready() {
            flow.served = flow.served.max(self.now);
            self.ready.insert((flow.served, tenant));
        }
        if small {
            self.ready_small.insert((flow.served, tenant));
            flow.small.insert(order)
        } else {
            flow.large.insert(order)
        };
    }

    /// No unit of a part waits any more.
    pub(super) fn exit(&mut self, tenant: Tenant, order: Order, small: bool) {
        let Some(flow) = self.flows.get_mut(&tenant) else { return };
        if small {
            flow.small.remove(&order)
        } else {
            flow.large.remove(&order)
        };
        if flow.small.is_empty() {
            self.ready_small.remove(&(flow.served, tenant));
        }
        if !flow.is_ready() {
            self.ready.remove(&(flow.served, tenant));
        }
    }

    /// `tenant` was served `tokens`.
    pub(super) fn charge(&mut self, tenant: Tenant, tokens: u64) {
        self.drop_tokens(tenant, tokens);
        let Some(flow) = self.flows.get_mut(&tenant) else { return };
        let before = (flow.served, tenant);
        self.now = self.now.max(flow.served);
        flow.served += tokens;
        for index in [&mut self.ready, &mut self.ready_small] {
            if index.remove(&before) {
                index.insert((flow.served, tenant));
            }
        }
        self.prune();
    }

    /// Forgets tenants that are gone and no longer ahead.
    fn prune(&mut self) {
        if self.flows.len() > 2 * self.ready.len() + 64 {
            let now = self.now;
            self.flows.retain(|_, flow| flow.parts > 0 || flow.served > now);
        }
    }

    /// Tenants with waiting parts (small ones, if `small_only`), least served first.
    pub(super) fn ready(&self, small_only: bool) -> impl Iterator<Item = Tenant> + '_ {
        let index = if small_only { &self.ready_small } else { &self.ready };
        index.iter().map(|(_, tenant)| *tenant)
    }

    /// How many tenants have waiting parts.
    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// The parts of `tenant` in order; without the large ones if `small_only`.
    pub(super) fn parts(&self, tenant: Tenant, small_only: bool) -> impl Iterator<Item = PartId> + '_ {
        let flow = self.flows.get(&tenant);
        let mut small = flow.into_iter().flat_map(|f| &f.small).peekable();
        let mut large = flow.into_iter().filter(move |_| !small_only).flat_map(|f| &f.large).peekable();
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
