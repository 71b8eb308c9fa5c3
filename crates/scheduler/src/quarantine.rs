//! Items that failed alone, by fingerprint: after [`STRIKES`] they are not run again.
//!
//! Callers retry what fails. Each try of an item that breaks the device costs its
//! batch-mates a bisection, so a repeated one is refused without touching the device.
//!
//! Invariant: at most [`MOST`] fingerprints are kept, each for [`TERM`] after its last strike.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// Lone failures before an item is refused: one may be the device's, two are its own.
const STRIKES: u32 = 2;

/// How long a fingerprint is remembered: longer than a caller's retries last,
/// short enough that a repaired device gets another chance.
const TERM: Duration = Duration::from_secs(600);

/// Most fingerprints; beyond them the oldest is forgotten.
const MOST: usize = 1_024;

/// Strikes by fingerprint.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    strikes: HashMap<u64, (u32, Instant)>,
}

impl Quarantine {
    /// True while nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.strikes.is_empty()
    }

    /// An item failed alone.
    pub(crate) fn strike(&mut self, fingerprint: u64, now: Instant) {
        self.strikes.retain(|_, (_, at)| now.saturating_duration_since(*at) < TERM);
        if self.strikes.len() >= MOST && !self.strikes.contains_key(&fingerprint) {
            let oldest = self.strikes.iter().min_by_key(|(_, (_, at))| *at).map(|(f, _)| *f);
            oldest.and_then(|f| self.strikes.remove(&f));
        }
        let entry = self.strikes.entry(fingerprint).or_insert((0, now));
        *entry = (entry.0.saturating_add(1), now);
    }

    /// Whether such an item is to be refused.
    pub(crate) fn holds(&self, fingerprint: u64, now: Instant) -> bool {
        self.strikes.get(&fingerprint).is_some_and(|(n, at)| *n >= STRIKES && now.saturating_duration_since(*at) < TERM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_strike_holds_for_a_term() {
        let (mut q, now) = (Quarantine::default(), Instant::now());
        q.strike(7, now);
        assert!(!q.holds(7, now));
        q.strike(7, now);
        assert!(q.holds(7, now) && !q.holds(8, now));
        assert!(!q.holds(7, now + TERM));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut q, now) = (Quarantine::default(), Instant::now());
        for i in 0..2 * MOST as u64 {
            q.strike(i, now + Duration::from_nanos(i));
        }
        assert_eq!(q.strikes.len(), MOST);
        assert!(!q.strikes.contains_key(&0));
    }
}
