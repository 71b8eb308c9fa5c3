//! What a device does with its time: at work, or between two batches.
//!
//! The gap after a batch is the time until the next one starts. At full load it is
//! what the host fails to hide; a gap longer than [`IDLE_AFTER`] is taken for want of
//! work and not counted. Figures are sums since the start, read without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Gaps above this are idle time: a host that is behind is late by microseconds to a few milliseconds.
pub const IDLE_AFTER: Duration = Duration::from_millis(20);

/// A device's time since its session was made.
#[derive(Debug, Default)]
pub struct DeviceClock {
    ended: Mutex<Option<Instant>>,
    batches: AtomicU64,
    busy_nanos: AtomicU64,
    gaps: AtomicU64,
    gap_nanos: AtomicU64,
}

/// Sums of a [`DeviceClock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceTime {
    /// Batches run.
    pub batches: u64,
    /// Time at work.
    pub busy: Duration,
    /// Gaps counted: at most one a batch.
    pub gaps: u64,
    /// Time in them.
    pub gap: Duration,
}

impl DeviceTime {
    /// Mean gap between batches; zero where there was none.
    #[must_use]
    pub fn mean_gap(&self) -> Duration {
        u32::try_from(self.gaps).ok().filter(|&n| n > 0).map_or(Duration::ZERO, |n| self.gap / n)
    }

    /// What happened after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &DeviceTime) -> DeviceTime {
        DeviceTime {
            batches: self.batches.saturating_sub(earlier.batches),
            busy: self.busy.saturating_sub(earlier.busy),
            gaps: self.gaps.saturating_sub(earlier.gaps),
            gap: self.gap.saturating_sub(earlier.gap),
        }
    }
}

impl DeviceClock {
    /// Counts a batch that ran from `started` to `ended`.
    pub(crate) fn ran(&self, started: Instant, ended: Instant) {
        let before = self.ended.lock().replace(ended);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.busy_nanos.fetch_add(nanos(ended.saturating_duration_since(started)), Ordering::Relaxed);
        if let Some(gap) = before.map(|b| started.saturating_duration_since(b)).filter(|&gap| gap <= IDLE_AFTER) {
            self.gaps.fetch_add(1, Ordering::Relaxed);
            self.gap_nanos.fetch_add(nanos(gap), Ordering::Relaxed);
        }
    }

    /// The sums now.
    #[must_use]
    pub fn read(&self) -> DeviceTime {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        DeviceTime {
            batches: of(&self.batches),
            busy: Duration::from_nanos(of(&self.busy_nanos)),
            gaps: of(&self.gaps),
            gap: Duration::from_nanos(of(&self.gap_nanos)),
        }
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_count_and_idle_time_does_not() {
        let clock = DeviceClock::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        clock.ran(at(0), at(10));
        clock.ran(at(11), at(20));
        let half = clock.read();
        clock.ran(at(23), at(30));
        clock.ran(at(5_000), at(5_001));
        let all = clock.read();
        assert_eq!((all.batches, all.gaps, all.gap), (4, 2, Duration::from_millis(4)));
        assert_eq!((all.busy, all.mean_gap()), (Duration::from_millis(27), Duration::from_millis(2)));
        let rest = all.since(&half);
        assert_eq!((rest.batches, rest.gaps, rest.gap), (2, 1, Duration::from_millis(3)));
        assert_eq!(DeviceTime::default().mean_gap(), Duration::ZERO);
    }
}
