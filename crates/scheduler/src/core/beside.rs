//! How much bulk work a batch holds while interactive work is about.
//!
//! Who waits is answered after the batch that runs when the request comes, and the one that the request is in. So while
//! such requests come, bulk work alone fills a batch only so far that it keeps [`GENTLE_RATE`] of the rate of full
//! ones; and a batch that somebody waits for holds none of it. Of the latter each costs the device the fixed cost of a
//! batch more, so they may take [`APART_SHARE`] of its time: where interactive work comes so often that this is used up,
//! bulk work fills its batches too, as far as it would fill its own.

use std::time::Duration;

use sortie_work::Cost;

use super::units::At;

/// Interactive work counts as being about for so long after some came: long enough for a guard that is asked a few times a
/// second, short enough for bulk work to have the device to itself at night.
const ABOUT: Duration = Duration::from_secs(1);

/// Share of the rate of full batches that bulk work keeps. With [`APART_SHARE`] it loses 5% at most.
const GENTLE_RATE: f64 = 0.97;

/// Share of the device's time that the fixed cost of batches without bulk work may take.
const APART_SHARE: f64 = 0.02;

/// Such batches that may be saved up: a burst of requests is answered at once.
const SAVED: f64 = 16.0;

/// Most work of a batch up to which bulk work fills it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BulkRoom {
    /// Where nothing else is in it.
    pub(crate) alone: u64,
    /// Where somebody waits for it; 0 keeps bulk work out.
    pub(crate) joined: u64,
}

/// Whether interactive work is about, and what batches of its own cost.
#[derive(Debug, Default)]
pub(crate) struct BesideInteractive {
    /// It counts as being about until then.
    until: At,
    /// Seconds of fixed costs that may be spent.
    credit: f64,
    counted: At,
}

impl BesideInteractive {
    /// Some came.
    pub(super) fn came(&mut self, now: At) {
        self.until = now.saturating_add(ABOUT);
    }

    /// Room for bulk work in the next batch of a device of this cost, whose full batches hold `budget`; `None` where it may
    /// fill them.
    pub(super) fn room(&mut self, now: At, cost: Option<Cost>, budget: usize, knee: u64) -> Option<BulkRoom> {
        let passed = now.saturating_sub(self.counted).as_secs_f64();
        self.counted = now;
        let cost = cost?;
        let each = cost.a_us / 1e6;
        self.credit = (self.credit + passed * APART_SHARE).min(SAVED * each);
        if now >= self.until {
            return None;
        }
        let alone = gentle(cost, budget).max(knee);
        let joined = if self.credit >= each { 0 } else { alone };
        Some(BulkRoom { alone, joined })
    }

    /// A batch went without bulk work.
    pub(super) fn spend(&mut self, cost: Cost) {
        self.credit -= cost.a_us / 1e6;
    }
}

/// The smallest batch whose rate is [`GENTLE_RATE`] of a full one's.
fn gentle(cost: Cost, budget: usize) -> u64 {
    let full = cost.a_us / budget.max(1) as f64 + cost.b_us;
    (cost.a_us / (full / GENTLE_RATE - cost.b_us)).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gentle_batches_keep_their_share_of_the_rate() {
        for (a, b, budget) in [(150.0, 0.083, 32_768), (200.0, 0.4, 16_384), (1_000.0, 10.0, 100), (0.0, 1.0, 1_000)] {
            let cost = Cost { a_us: a, b_us: b };
            let size = gentle(cost, budget);
            let rate = |n: f64| n / (a + b * n);
            if size > 0 {
                assert!(rate(size as f64) >= GENTLE_RATE * rate(budget as f64), "{cost:?}: {size}");
                assert!(rate(size as f64 - 1.0) < GENTLE_RATE * rate(budget as f64), "{cost:?}: {size}");
                assert!(size <= budget as u64);
            }
        }
    }

    #[test]
    fn cut_batches_take_their_share_of_the_time_and_no_more() {
        let cost = Cost { a_us: 1_000.0, b_us: 1.0 };
        let mut beside = BesideInteractive::default();
        let mut cut = 0;
        for ms in 0..10_000 {
            let now = At::from_millis(ms);
            beside.came(now);
            if beside.room(now, Some(cost), 10_000, 500).is_some_and(|room| room.joined == 0) {
                beside.spend(cost);
                cut += 1;
            }
        }
        // 10 s of them at 2% are 200 batches of 1 ms.
        assert!((190..=200).contains(&cut), "{cut}");
        assert!(beside.room(At::from_secs(60), Some(cost), 10_000, 500).is_none(), "nobody is about any more");
    }
}
