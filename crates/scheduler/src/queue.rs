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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::{admission::Lane, former::PASS_LIMIT};

    const BUDGET: usize = 32;

    #[derive(Clone, Debug)]
    enum Step {
        Push { bulk: bool, attempt: u32, deadline: Option<u64>, sizes: Vec<usize> },
        Cancel(usize),
        Advance(u64),
        Batch,
    }

    fn step() -> impl Strategy<Value = Step> {
        let sizes = prop::collection::vec(0usize..48, 0..10);
        prop_oneof![
            3 => (any::<bool>(), 1u32..3, prop::option::of(0u64..60), sizes)
                .prop_map(|(bulk, attempt, deadline, sizes)| Step::Push { bulk, attempt, deadline, sizes }),
            1 => (0usize..32).prop_map(Step::Cancel),
            1 => (1u64..20).prop_map(Step::Advance),
            3 => Just(Step::Batch),
        ]
    }

    fn units(id: PartId, sizes: &[usize]) -> Vec<Unit<(PartId, usize)>> {
        sizes.iter().enumerate().map(|(i, tokens)| Unit { item: (id, i), tokens: *tokens }).collect()
    }

    /// Takes a batch and holds it against what is owed.
    fn take(queue: &mut Queue<(PartId, usize)>, owed: &mut BTreeMap<(PartId, usize), usize>) -> Vec<(PartId, usize)> {
        let batch = queue.next_batch(BUDGET, Duration::from_micros(10));
        let total: usize = batch.iter().map(|unit| unit.tokens).sum();
        assert!(total <= BUDGET || batch.len() == 1, "{total} tokens in {} units", batch.len());
        assert!(batch.windows(2).all(|w| w[0].tokens >= w[1].tokens), "not longest first");
        assert_eq!(batch.is_empty(), owed.is_empty(), "a batch is empty only if nothing waits");
        for unit in &batch {
            assert_eq!(unit.item, (unit.part, unit.index));
            assert_eq!(owed.remove(&unit.item), Some(unit.tokens), "taken twice, cancelled or expired");
        }
        assert_eq!(queue.tokens(), owed.values().map(|tokens| *tokens as u64).sum::<u64>());
        batch.into_iter().map(|unit| unit.item).collect()
    }

    proptest! {
        #[test]
        fn every_unit_leaves_once_and_nothing_dead_leaves(steps in prop::collection::vec(step(), 1..80)) {
            let origin = Instant::now();
            let mut now = 0;
            let mut queue = Queue::new(origin);
            let mut owed = BTreeMap::new();
            let mut deadlines: BTreeMap<PartId, u64> = BTreeMap::new();
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Push { bulk, attempt, deadline, sizes } => {
                        let lane = if bulk { Lane::Bulk } else { Lane::Interactive };
                        let at = deadline.map(|ms| { deadlines.insert(next, now + ms); origin + Duration::from_millis(now + ms) });
                        queue.push(next, Part::new(Priority { lane, attempt }, at, units(next, &sizes)));
                        owed.extend(sizes.iter().enumerate().map(|(i, tokens)| ((next, i), (*tokens).max(1))));
                        next += 1;
                    }
                    Step::Cancel(id) => {
                        queue.cancel(id as PartId);
                        owed.retain(|unit, _| unit.0 != id as PartId);
                    }
                    Step::Advance(ms) => now += ms,
                    Step::Batch => {
                        let late = |id: &PartId| deadlines.get(id).is_some_and(|at| *at <= now);
                        let expect: BTreeSet<PartId> = owed.keys().map(|unit| unit.0).filter(late).collect();
                        let expired: BTreeSet<PartId> =
                            queue.expire(origin + Duration::from_millis(now)).into_iter().map(|(id, _)| id).collect();
                        prop_assert_eq!(&expired, &expect);
                        owed.retain(|unit, _| !expired.contains(&unit.0));
                        take(&mut queue, &mut owed);
                    }
                }
            }
            while !owed.is_empty() {
                take(&mut queue, &mut owed);
            }
            prop_assert!(queue.next_batch(BUDGET, Duration::ZERO).is_empty());
        }

        #[test]
        fn a_bulk_hedge_is_served_under_a_flood(
            victim in prop::collection::vec(1usize..80, 1..6),
            flood in prop::collection::vec(1usize..=BUDGET, 1..4),
        ) {
            let origin = Instant::now();
            let mut queue = Queue::new(origin);
            queue.push(0, Part::new(Priority { lane: Lane::Bulk, attempt: 2 }, None, units(0, &victim)));
            let mut owed: BTreeMap<_, _> = victim.iter().enumerate().map(|(i, t)| ((0, i), *t)).collect();
            // Each round brings more than a batch of urgent strangers, who give up
            // at its end, and takes one batch.
            let at = |round: PartId| origin + Duration::from_millis(round);
            for round in 1..=victim.len() as PartId * (PartId::from(PASS_LIMIT) + 2) {
                let mut sizes = flood.clone();
                sizes.push(BUDGET);
                queue.push(round, Part::new(Priority::default(), Some(at(round)), units(round, &sizes)));
                owed.extend(sizes.iter().enumerate().map(|(i, tokens)| ((round, i), *tokens)));
                take(&mut queue, &mut owed);
                queue.expire(at(round));
                owed.retain(|unit, _| unit.0 == 0);
            }
            prop_assert!(owed.is_empty(), "starved: {owed:?}");
        }
    }

    #[test]
    fn equal_units_leave_in_order() {
        let mut queue = Queue::new(Instant::now());
        queue.push(0, Part::new(Priority::default(), None, units(0, &[8; 6])));
        let mut owed = (0..6).map(|i| ((0, i), 8)).collect();
        assert_eq!(take(&mut queue, &mut owed), [(0, 0), (0, 1), (0, 2), (0, 3)]);
        assert_eq!(take(&mut queue, &mut owed), [(0, 4), (0, 5)]);
    }

    #[test]
    fn less_slack_goes_first_even_with_a_later_deadline() {
        let origin = Instant::now();
        let at = |ms| Some(origin + Duration::from_millis(ms));
        let mut queue = Queue::new(origin);
        queue.push(0, Part::new(Priority::default(), at(100), units(0, &[1])));
        queue.push(1, Part::new(Priority::default(), at(110), units(1, &[30])));
        let batch = queue.next_batch(30, Duration::from_millis(1));
        assert_eq!(batch.iter().map(|unit| unit.part).collect::<Vec<_>>(), [1]);
    }
}
