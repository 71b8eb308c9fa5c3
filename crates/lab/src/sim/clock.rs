//! Virtual time: a heap of events, ordered by when they happen.
//!
//! Invariant: time never runs backwards, and events of one instant happen in the
//! order they were scheduled, so a run depends on its seed alone.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// The clock of a simulation and what is still to happen.
#[derive(Debug)]
pub struct Clock<E> {
    now: u64,
    scheduled: u64,
    happened: u64,
    events: BinaryHeap<Reverse<ClockEntry<E>>>,
}

/// Ordered by nanoseconds since the start, then by the order of scheduling.
#[derive(Debug)]
struct ClockEntry<E> {
    key: (u64, u64),
    event: E,
}

impl<E> Default for Clock<E> {
    fn default() -> Self {
        Self { now: 0, scheduled: 0, happened: 0, events: BinaryHeap::new() }
    }
}

impl<E> Clock<E> {
    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// Events that have happened.
    #[must_use]
    pub fn happened(&self) -> u64 {
        self.happened
    }

    /// Lets `event` happen `after` from now.
    pub fn after(&mut self, after: Duration, event: E) {
        self.at(self.now().saturating_add(after), event);
    }

    /// Lets `event` happen at `when`, or now if that is past.
    pub fn at(&mut self, when: Duration, event: E) {
        let when = u64::try_from(when.as_nanos()).unwrap_or(u64::MAX);
        let key = (when.max(self.now), self.scheduled);
        self.scheduled += 1;
        self.events.push(Reverse(ClockEntry { key, event }));
    }

    /// Goes on to the next event. (Not an iterator: what happens schedules more.)
    pub fn advance(&mut self) -> Option<E> {
        let Reverse(entry) = self.events.pop()?;
        self.now = entry.key.0;
        self.happened += 1;
        Some(entry.event)
    }
}

impl<E> PartialEq for ClockEntry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for ClockEntry<E> {}

impl<E> PartialOrd for ClockEntry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for ClockEntry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_first_equals_in_order_and_never_back() {
        let ms = Duration::from_millis;
        let mut clock = Clock::default();
        clock.at(ms(5), 'b');
        clock.at(ms(2), 'a');
        clock.at(ms(5), 'c');
        assert_eq!((clock.advance(), clock.now()), (Some('a'), ms(2)));
        clock.at(ms(1), 'x');
        assert_eq!((clock.advance(), clock.now()), (Some('x'), ms(2)));
        clock.after(ms(3), 'd');
        assert_eq!([clock.advance(), clock.advance(), clock.advance()], [Some('b'), Some('c'), Some('d')]);
        assert_eq!((clock.now(), clock.happened()), (ms(5), 5));
        assert_eq!(clock.advance(), None);
    }
}
