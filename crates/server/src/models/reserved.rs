//! Tokens that probes asked about: they count in load reports for [`HOLD`], until the chunk they were
//! asked for has arrived or will not come. Else all clients that look in the same moment find the same
//! idle server and send there (a model of 1,000 servers: a sixth of p50).
//!
//! Time is cut into ticks of a quarter of [`HOLD`]; each slot of a ring holds one tick and its tokens in
//! one word. Invariants: no lock is taken; what was reserved counts for at least [`HOLD`] and at most a tick
//! longer.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// How long a probe's tokens count: a probe's answer and a chunk's way, twice over, in one data centre.
pub(crate) const HOLD: Duration = Duration::from_millis(2);

/// Ticks in [`HOLD`], and one that is running.
const SLOTS: usize = 5;

/// Bits of a word that are tokens; the rest is the tick, which comes round after hours.
const TOKEN_BITS: u32 = 40;

/// The most that a slot holds.
const MOST: u64 = (1 << TOKEN_BITS) - 1;

/// Tokens that probes asked about lately.
#[derive(Debug)]
pub(crate) struct Reserved {
    origin: Instant,
    slots: [AtomicU64; SLOTS],
}

impl Default for Reserved {
    fn default() -> Self {
        Self { origin: Instant::now(), slots: Default::default() }
    }
}

impl Reserved {
    /// Counts `tokens` from `now` on.
    pub(crate) fn add(&self, tokens: u64, now: Instant) {
        let tick = self.tick(now);
        let Some(slot) = self.slots.get((tick % SLOTS as u64) as usize) else { return };
        let more = |word: u64| {
            let before = if word >> TOKEN_BITS == name(tick) { word & MOST } else { 0 };
            Some(name(tick) << TOKEN_BITS | before.saturating_add(tokens).min(MOST))
        };
        // Never fails: there is always a next word.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Tokens that count at `now`.
    pub(crate) fn tokens(&self, now: Instant) -> u64 {
        let tick = self.tick(now);
        let counts = |word: u64| (0..SLOTS as u64).any(|age| tick >= age && word >> TOKEN_BITS == name(tick - age));
        let words = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        words.filter(|&word| counts(word)).map(|word| word & MOST).sum()
    }

    /// Ticks are counted from [`SLOTS`], so that a slot never written is of none that counts.
    fn tick(&self, now: Instant) -> u64 {
        let length = HOLD.as_nanos() / (SLOTS as u128 - 1);
        let ticks = now.saturating_duration_since(self.origin).as_nanos() / length;
        u64::try_from(ticks).unwrap_or(0) + SLOTS as u64
    }
}

fn name(tick: u64) -> u64 {
    tick & (u64::MAX >> TOKEN_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_count_for_two_milliseconds() {
        let reserved = Reserved::default();
        let at = |us: u64| reserved.origin + Duration::from_micros(us);
        assert_eq!(reserved.tokens(at(0)), 0);
        reserved.add(700, at(100));
        reserved.add(300, at(900));
        assert_eq!([reserved.tokens(at(900)), reserved.tokens(at(2_100))], [1_000, 1_000]);
        assert_eq!([reserved.tokens(at(2_600)), reserved.tokens(at(3_500))], [300, 0]);
        // The ring has come round to the first slot.
        reserved.add(5, at(10_100));
        assert_eq!([reserved.tokens(at(10_100)), reserved.tokens(at(60_000))], [5, 0]);
    }

    #[test]
    fn absurd_numbers_are_the_most_there_is() {
        let reserved = Reserved::default();
        let now = reserved.origin;
        (0..3).for_each(|_| reserved.add(u64::MAX, now));
        assert_eq!(reserved.tokens(now), MOST);
    }
}
