//! A server: one device that runs batches in `T = a + b · tokens`, and its queue.
//!
//! A batch is formed when the device frees, oldest chunk first, of up to
//! `budget` tokens; chunks are merged, and one that does not fit whole goes on in
//! the next batch, as the scheduler cuts parts at their items.
//!
//! Invariants: a batch never exceeds the budget; the device is never idle while
//! something waits; every chunk is answered exactly once, with its last token.

use std::{collections::VecDeque, time::Duration};

use sortie_dispatch::{Batch, Cost};

/// A chunk on its way through a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<K> {
    /// Whose it is.
    pub key: K,
    /// Tokens of it, specials and shared ones included.
    pub tokens: u64,
    /// The batches it rode in so far, strangers' tokens included.
    pub batches: Vec<Batch>,
    left: u64,
}

/// One simulated server.
#[derive(Debug)]
pub struct Server<K> {
    cost: Cost,
    budget: u64,
    queue: VecDeque<Part<K>>,
    running: Option<Running<K>>,
}

#[derive(Debug)]
struct Running<K> {
    batch: Batch,
    ends: Duration,
    parts: Vec<Part<K>>,
}

impl<K> Server<K> {
    /// An idle server of this cost, with batches of at most `budget` tokens.
    #[must_use]
    pub fn new(cost: Cost, budget: u64) -> Self {
        Self { cost, budget: budget.max(1), queue: VecDeque::new(), running: None }
    }

    /// A chunk arrives.
    pub fn push(&mut self, key: K, tokens: u64) {
        let tokens = tokens.max(1);
        self.queue.push_back(Part { key, tokens, left: tokens, batches: Vec::new() });
    }

    /// Starts the next batch if the device is free and something waits; says when it will end.
    pub fn start(&mut self, now: Duration) -> Option<Duration> {
        if self.running.is_some() || self.queue.is_empty() {
            return None;
        }
        let (mut room, mut parts) = (self.budget, Vec::new());
        while room > 0
            && let Some(mut part) = self.queue.pop_front()
        {
            let taken = part.left.min(room);
            part.left -= taken;
            room -= taken;
            parts.push(part);
        }
        let tokens = (self.budget - room) as f64;
        let batch = Batch { us: self.cost.batch_us(tokens), tokens };
        let ends = now + micros(batch.us);
        self.running = Some(Running { batch, ends, parts });
        Some(ends)
    }

    /// The running batch ends: its chunks that are complete leave, the rest of another waits in front.
    pub fn finish(&mut self) -> Vec<Part<K>> {
        let Some(Running { batch, parts, .. }) = self.running.take() else { return Vec::new() };
        let mut done = Vec::with_capacity(parts.len());
        for mut part in parts {
            part.batches.push(batch);
            if part.left == 0 { done.push(part) } else { self.queue.push_front(part) }
        }
        done
    }

    /// Time until a request that arrives now would start.
    #[must_use]
    pub fn drain(&self, now: Duration) -> Duration {
        let running = self.running.as_ref().map_or(Duration::ZERO, |running| running.ends.saturating_sub(now));
        // The rest of a chunk in the running batch waits again when that ends.
        let rest = self.running.iter().flat_map(|running| &running.parts).map(|part| part.left).sum::<u64>();
        let waiting = rest + self.queue.iter().map(|part| part.left).sum::<u64>();
        let batches = waiting.div_ceil(self.budget) as f64;
        running + micros(self.cost.a_us * batches + self.cost.b_us * waiting as f64)
    }

    /// What its batches cost.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Tokens of its largest batch.
    #[must_use]
    pub fn budget(&self) -> u64 {
        self.budget
    }
}

/// Whole nanoseconds.
#[must_use]
pub(crate) fn micros(us: f64) -> Duration {
    Duration::try_from_secs_f64(us / 1e6).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Cost = Cost { a_us: 1_000.0, b_us: 1.0 };

    #[test]
    fn waiting_chunks_are_merged_up_to_the_budget() {
        let mut server = Server::new(COST, 1_000);
        server.push('a', 100);
        assert_eq!(server.start(Duration::ZERO), Some(Duration::from_micros(1_100)));
        assert_eq!(server.start(Duration::ZERO), None);
        server.push('b', 700);
        server.push('c', 700);
        // 100 µs into the first batch: 1,000 of it are left, then two batches of 1,400 tokens.
        assert_eq!(server.drain(Duration::from_micros(100)), Duration::from_micros(1_000 + 2_000 + 1_400));
        let answered: Vec<_> = server.finish().into_iter().map(|part| part.key).collect();
        assert_eq!(answered, ['a']);

        let now = Duration::from_micros(1_100);
        assert_eq!(server.start(now), Some(now + Duration::from_micros(2_000)));
        let answered: Vec<_> = server.finish().into_iter().map(|part| part.key).collect();
        assert_eq!(answered, ['b']);
        assert!(server.start(now).is_some());
        let answered = server.finish();
        assert_eq!((answered[0].key, answered[0].batches.len()), ('c', 2));
        assert_eq!(answered[0].batches[1].tokens, 400.0);
        assert_eq!(server.drain(now), Duration::ZERO);
        assert!(server.finish().is_empty());
    }
}
