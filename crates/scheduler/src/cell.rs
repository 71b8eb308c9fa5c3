//! The load, read without a lock: written under the queue's lock, read through atomics.
//!
//! One [`GaugeCell`] a device holds a whole gauge. It has two slots: the writer
//! fills the one that readers are not sent to, then sends them there.
//!
//! Invariant: one writer at a time; a reader sees one whole gauge, never a mix,
//! and never waits for a writer that was stopped half-way.

use std::{
    sync::atomic::{AtomicU64, Ordering, fence},
    time::Duration,
};

use sortie_work::Cost;

use crate::{
    core::At,
    load::{DeviceGauge, LoadSnapshot, RunningBatch, Utilization, snapshot},
};

/// Marks an idle device in the cell.
const IDLE: u64 = u64::MAX;

/// Number of words a gauge takes.
const WORDS: usize = 13;

/// All that a load report is made of.
#[derive(Debug)]
pub(crate) struct LoadCells {
    epoch: u64,
    queued: AtomicU64,
    devices: Box<[GaugeCell]>,
}

impl LoadCells {
    /// Cells that hold `gauges`.
    pub(crate) fn new(epoch: u64, gauges: impl Iterator<Item = DeviceGauge>) -> Self {
        Self { epoch, queued: AtomicU64::new(0), devices: gauges.map(|gauge| GaugeCell::new(&gauge)).collect() }
    }

    /// Puts new figures in. Callers hold the queue's lock.
    pub(crate) fn publish(&self, queued: u64, gauges: impl Iterator<Item = DeviceGauge>) {
        self.queued.store(queued, Ordering::Relaxed);
        for (cell, gauge) in self.devices.iter().zip(gauges) {
            cell.publish(&gauge);
        }
    }

    /// As [`publish`](Self::publish), where no device changed.
    pub(crate) fn publish_queued(&self, queued: u64) {
        self.queued.store(queued, Ordering::Relaxed);
    }

    /// The load at `now`. Takes no lock.
    pub(crate) fn load(&self, now: At) -> LoadSnapshot {
        snapshot(self.epoch, now, self.queued.load(Ordering::Relaxed), self.devices.iter().map(GaugeCell::read))
    }
}

#[derive(Debug)]
struct GaugeCell {
    /// Gauges put in so far; its parity names the slot to read.
    version: AtomicU64,
    slots: [[AtomicU64; WORDS]; 2],
}

fn slot(version: u64) -> usize {
    usize::from(!version.is_multiple_of(2))
}

impl GaugeCell {
    fn new(gauge: &DeviceGauge) -> Self {
        Self { version: AtomicU64::new(0), slots: [pack(gauge).map(AtomicU64::new), pack(gauge).map(AtomicU64::new)] }
    }

    fn publish(&self, gauge: &DeviceGauge) {
        let next = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // Whoever reads a word of this gauge also sees that the slot was left.
        fence(Ordering::Release);
        for (word, value) in self.slots[slot(next)].iter().zip(pack(gauge)) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(next, Ordering::Release);
    }

    fn read(&self) -> DeviceGauge {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let mut words = [0; WORDS];
            for (value, word) in words.iter_mut().zip(&self.slots[slot(version)]) {
                *value = word.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return unpack(words);
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}

fn pack(gauge: &DeviceGauge) -> [u64; WORDS] {
    let (work, started, predicted) =
        gauge.running.map_or((0, IDLE, 0), |batch| (batch.work, nanos(batch.started), nanos(batch.predicted)));
    [
        u64::from(gauge.alive) | u64::from(gauge.measured) << 1,
        gauge.budget as u64,
        u64::from(gauge.knee),
        gauge.cost.a_us.to_bits(),
        gauge.cost.b_us.to_bits(),
        work,
        started,
        predicted,
        gauge.busy.share.to_bits(),
        gauge.busy.tokens_per_second.to_bits(),
        nanos(gauge.busy.at),
        gauge.best_recent_ratio.to_bits(),
        nanos(gauge.ended),
    ]
}

fn unpack(words: [u64; WORDS]) -> DeviceGauge {
    let [
        flags,
        budget,
        knee,
        a_us,
        b_us,
        work,
        started,
        predicted,
        share,
        tokens_per_second,
        at,
        best_recent_ratio,
        ended,
    ] = words;
    let time = Duration::from_nanos;
    DeviceGauge {
        alive: flags & 1 != 0,
        measured: flags & 2 != 0,
        budget: usize::try_from(budget).unwrap_or(usize::MAX),
        knee: u32::try_from(knee).unwrap_or(u32::MAX),
        cost: Cost { a_us: f64::from_bits(a_us), b_us: f64::from_bits(b_us) },
        best_recent_ratio: f64::from_bits(best_recent_ratio),
        ended: time(ended),
        running: (started != IDLE).then_some(RunningBatch { work, started: time(started), predicted: time(predicted) }),
        busy: Utilization {
            share: f64::from_bits(share),
            tokens_per_second: f64::from_bits(tokens_per_second),
            at: time(at),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_reader_never_sees_a_mix() {
        let gauge = |i: u64| DeviceGauge {
            alive: true,
            measured: false,
            budget: i as usize,
            knee: i as u32,
            cost: Cost { a_us: i as f64, b_us: i as f64 },
            best_recent_ratio: i as f64,
            ended: Duration::from_nanos(i),
            running: Some(RunningBatch {
                work: i,
                started: Duration::from_nanos(i),
                predicted: Duration::from_nanos(i),
            }),
            busy: Utilization { share: i as f64, tokens_per_second: i as f64, at: Duration::from_nanos(i) },
        };
        let cell = GaugeCell::new(&gauge(0));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..200_000).for_each(|i| cell.publish(&gauge(i)));
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let seen = cell.read();
                assert_eq!(seen, gauge(seen.budget as u64));
            }
        });
        assert_eq!(cell.read(), gauge(199_999));
    }
}
