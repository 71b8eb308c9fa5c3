//! Parts whose units wait for a batch. Pure: instants and costs come in.
//!
//! Invariants: `tokens` is the sum over every waiting unit; a part is here only
//! while one of its units waits; what was cancelled or expired is gone at once.
//! A unit of no tokens counts as one, so that a batch is always bounded.

use std::{cmp::Reverse, collections::BTreeMap};

use tokio::time::{Duration, Instant};

use crate::{
    admission::{Priority, Unit},
    former::{Rank, Waiting, choose},
};

/// Names a part for its whole life; grows with arrival.
pub(crate) type PartId = u64;

/// A unit that left the queue for a batch.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    /// Its part.
    pub(crate) part: PartId,
    /// Its place in the part.
    pub(crate) index: usize,
    /// Its size.
    pub(crate) tokens: usize,
    /// The work.
    pub(crate) item: T,
}

/// What waits of a part, ready to be queued.
#[derive(Debug)]
pub(crate) struct Part<T> {
    priority: Priority,
    deadline: Option<Instant>,
    passed: u32,
    /// Ascending; `units[i]` has `sizes[i]` tokens.
    sizes: Vec<usize>,
    units: Vec<(usize, T)>,
}

impl<T> Part<T> {
    /// Sorts the units by size; done outside the queue's lock.
    pub(crate) fn new(priority: Priority, deadline: Option<Instant>, units: Vec<Unit<T>>) -> Self {
        let mut units: Vec<_> = units.into_iter().enumerate().map(|(i, u)| (u.tokens.max(1), i, u.item)).collect();
        // Units leave from the end: of equal ones the first must stand last.
        units.sort_unstable_by_key(|(tokens, index, _)| (*tokens, Reverse(*index)));
        let sizes = units.iter().map(|(tokens, ..)| *tokens).collect();
        let units = units.into_iter().map(|(_, index, item)| (index, item)).collect();
        Self { priority, deadline, passed: 0, sizes, units }
    }

    fn tokens(&self) -> u64 {
        self.sizes.iter().map(|size| *size as u64).sum()
    }

    fn rank(&self, arrival: PartId, origin: Instant, token_cost: Duration) -> Rank {
        let work = token_cost.as_nanos().saturating_mul(u128::from(self.tokens()));
        let slack = self.deadline.map_or(i128::MAX, |at| {
            let until = at.saturating_duration_since(origin).as_nanos();
            i128::try_from(until).unwrap_or(i128::MAX).saturating_sub(i128::try_from(work).unwrap_or(i128::MAX))
        });
        Rank { lane: self.priority.lane, hedge: self.priority.attempt > 1, slack, arrival }
    }
}

/// Waiting parts of one backend.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    origin: Instant,
    parts: BTreeMap<PartId, Part<T>>,
    tokens: u64,
}

impl<T> Queue<T> {
    /// An empty queue; deadlines before `origin` count as `origin`.
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin, parts: BTreeMap::new(), tokens: 0 }
    }

    /// Tokens that wait.
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Adds a part; ids must grow. A part of no units is not kept.
    pub(crate) fn push(&mut self, id: PartId, part: Part<T>) {
        if !part.units.is_empty() {
            self.tokens += part.tokens();
            self.parts.insert(id, part);
        }
    }

    /// Takes out what waits of a part.
    pub(crate) fn cancel(&mut self, id: PartId) -> Option<Part<T>> {
        let part = self.parts.remove(&id)?;
        self.tokens -= part.tokens();
        Some(part)
    }

    /// Takes out the parts whose deadline has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(PartId, Part<T>)> {
        let late = |part: &Part<T>| part.deadline.is_some_and(|at| at <= now);
        let ids: Vec<PartId> = self.parts.iter().filter(|(_, part)| late(part)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| Some((id, self.cancel(id)?))).collect()
    }

    /// Takes the next batch of at most `budget` tokens, longest unit first.
    /// `token_cost` is the predicted time of one token. Empty when nothing waits.
    pub(crate) fn next_batch(&mut self, budget: usize, token_cost: Duration) -> Vec<Taken<T>> {
        let ids: Vec<PartId> = self.parts.keys().copied().collect();
        let waiting: Vec<Waiting<'_>> = self
            .parts
            .iter()
            .map(|(id, part)| Waiting {
                rank: part.rank(*id, self.origin, token_cost),
                passed: part.passed,
                sizes: &part.sizes,
            })
            .collect();
        let picks = choose(&waiting, budget);
        for part in self.parts.values_mut() {
            part.passed = part.passed.saturating_add(1);
        }
        let mut batch = Vec::with_capacity(picks.len());
        for pick in picks {
            let id = ids[pick.part];
            let Some(part) = self.parts.get_mut(&id) else { continue };
            let tokens = part.sizes.remove(pick.unit);
            let (index, item) = part.units.remove(pick.unit);
            part.passed = 0;
            self.tokens -= tokens as u64;
            if part.units.is_empty() {
                self.parts.remove(&id);
            }
            batch.push(Taken { part: id, index, tokens, item });
        }
        batch.sort_by_key(|unit| Reverse(unit.tokens));
        batch
    }
}
