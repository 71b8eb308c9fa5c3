//! The load as others see it: a [`Gauge`] written under the queue's lock and read
//! without it, through a cell of atomics.
//!
//! The wait of a request that arrives now is what is left of the running batch
//! plus the queue at the fitted cost: `rest + a·⌈q/max⌉ + b·q`. A batch past its
//! prediction is expected to take as long again as it is late.
//! Busy is the share of time a batch ran, averaged with weight `e^(−age / 1 s)`.
//!
//! Invariant: one writer at a time; a reader sees one whole gauge, never a mix,
//! and never waits for a writer that was stopped half-way.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::cost::Cost;

/// Time constant of the busy average.
const BUSY_SECONDS: f64 = 1.0;

/// Marks an idle backend in the cell.
const IDLE: u64 = u64::MAX;

/// The load of one backend at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSnapshot {
    /// Grows when the scheduler is started anew, in this process or a later one.
    pub epoch: u64,
    /// Tokens admitted and not yet in a batch.
    pub queued_tok: u64,
    /// Tokens in the batch that runs.
    pub running_tok: u64,
    /// Fixed cost of a batch in milliseconds: T = a + b * tokens.
    pub a_ms: f32,
    /// Cost of one token in microseconds.
    pub b_us: f32,
    /// Tokens past which a larger batch is hardly faster per token.
    pub knee_tok: u32,
    /// Tokens per second that full batches give at the fitted cost.
    pub rate_tok_s: f32,
    /// Milliseconds until a request that arrives now would start.
    pub drain_ms: f32,
    /// Share of the last second a batch was running, 0 to 1.
    pub busy: f32,
    /// Age of the running batch over its predicted duration; above 1 it is overdue.
    pub overdue: f32,
}

/// A batch on the backend; times are nanoseconds since the scheduler's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) tokens: u64,
    pub(crate) started: u64,
    pub(crate) predicted: u64,
}

/// What the load is worked out from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gauge {
    pub(crate) queued: u64,
    pub(crate) running: Option<Running>,
    pub(crate) cost: Cost,
    busy: f64,
    busy_at: u64,
}

impl Gauge {
    /// Idle and empty at `now`.
    pub(crate) fn new(now: u64) -> Self {
        Self { queued: 0, running: None, cost: Cost::default(), busy: 0.0, busy_at: now }
    }

    /// A batch starts.
    pub(crate) fn start(&mut self, now: u64, tokens: u64) {
        self.settle(now);
        let predicted = (self.cost.batch_seconds(tokens) * 1e9) as u64;
        self.running = Some(Running { tokens, started: now, predicted: predicted.max(1) });
    }

    /// The batch ended.
    pub(crate) fn stop(&mut self, now: u64) {
        self.settle(now);
        self.running = None;
    }

    fn settle(&mut self, now: u64) {
        self.busy = self.busy_at(now);
        self.busy_at = now;
    }

    fn busy_at(&self, now: u64) -> f64 {
        let keep = (-(now.saturating_sub(self.busy_at) as f64) / 1e9 / BUSY_SECONDS).exp();
        let now_busy = if self.running.is_some() { 1.0 } else { 0.0 };
        now_busy + (self.busy - now_busy) * keep
    }

    /// Seconds until work that arrives at `now` would start.
    pub(crate) fn wait(&self, now: u64, budget: usize) -> f64 {
        let rest = self.running.map_or(0, |batch| batch.predicted.abs_diff(now.saturating_sub(batch.started)));
        rest as f64 / 1e9 + self.cost.queue_seconds(self.queued, budget)
    }

    /// What others are told.
    pub(crate) fn snapshot(&self, epoch: u64, now: u64, budget: usize) -> LoadSnapshot {
        let overdue = |batch: Running| now.saturating_sub(batch.started) as f64 / batch.predicted as f64;
        LoadSnapshot {
            epoch,
            queued_tok: self.queued,
            running_tok: self.running.map_or(0, |batch| batch.tokens),
            a_ms: (self.cost.a * 1e3) as f32,
            b_us: (self.cost.b * 1e6) as f32,
            knee_tok: self.cost.knee(budget),
            rate_tok_s: self.cost.rate(budget) as f32,
            drain_ms: (self.wait(now, budget) * 1e3) as f32,
            busy: self.busy_at(now).clamp(0.0, 1.0) as f32,
            overdue: self.running.map_or(0.0, overdue) as f32,
        }
    }
}

/// Number of words a gauge takes.
const WORDS: usize = 9;

/// A gauge that is read without a lock. Two slots: the writer fills the one that
/// readers are not sent to, then sends them there.
#[derive(Debug)]
pub(crate) struct LoadCell {
    /// Gauges put in so far; its parity names the slot to read.
    version: AtomicU64,
    slots: [[AtomicU64; WORDS]; 2],
}

fn slot(version: u64) -> usize {
    usize::from(!version.is_multiple_of(2))
}

impl LoadCell {
    /// A cell that holds `gauge`.
    pub(crate) fn new(gauge: &Gauge) -> Self {
        Self { version: AtomicU64::new(0), slots: [pack(gauge).map(AtomicU64::new), pack(gauge).map(AtomicU64::new)] }
    }

    /// Puts a new gauge in. Callers hold the queue's lock.
    pub(crate) fn publish(&self, gauge: &Gauge) {
        let next = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // Whoever reads a word of this gauge also sees that the slot was left.
        fence(Ordering::Release);
        for (word, value) in self.slots[slot(next)].iter().zip(pack(gauge)) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(next, Ordering::Release);
    }

    /// The gauge last put in.
    pub(crate) fn read(&self) -> Gauge {
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

fn pack(gauge: &Gauge) -> [u64; WORDS] {
    let batch = gauge.running.unwrap_or(Running { tokens: 0, started: IDLE, predicted: 0 });
    [
        gauge.queued,
        batch.tokens,
        batch.started,
        batch.predicted,
        gauge.cost.a.to_bits(),
        gauge.cost.b.to_bits(),
        u64::from(gauge.cost.measured),
        gauge.busy.to_bits(),
        gauge.busy_at,
    ]
}

fn unpack([queued, tokens, started, predicted, a, b, measured, busy, busy_at]: [u64; WORDS]) -> Gauge {
    let running = (started != IDLE).then_some(Running { tokens, started, predicted });
    let cost = Cost { a: f64::from_bits(a), b: f64::from_bits(b), measured: measured != 0 };
    Gauge { queued, running, cost, busy: f64::from_bits(busy), busy_at }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn busy_follows_the_last_second() {
        let mut gauge = Gauge::new(0);
        gauge.start(0, 100);
        assert!(gauge.snapshot(0, 5 * SECOND, 10).busy > 0.99);
        gauge.stop(5 * SECOND);
        let later = gauge.snapshot(0, 6 * SECOND, 10).busy;
        assert!((0.36..0.38).contains(&later), "{later}");
        assert!(gauge.snapshot(0, 15 * SECOND, 10).busy < 0.001);
    }

    #[test]
    fn wait_is_rest_of_the_batch_and_the_queue() {
        let mut gauge = Gauge::new(0);
        gauge.cost = Cost { a: 0.010, b: 0.001, measured: true };
        gauge.queued = 250;
        assert!((gauge.wait(0, 100) - (3.0 * 0.010 + 0.250)).abs() < 1e-9);
        gauge.start(0, 90); // predicted: 100 ms
        let at = |ms: u64| gauge.snapshot(7, ms * 1_000_000, 100);
        assert!((at(40).drain_ms - (60.0 + 280.0)).abs() < 0.01);
        assert!((at(50).overdue - 0.5).abs() < 1e-3);
        // Late by 50 ms: expect 50 ms more.
        assert!((at(150).drain_ms - (50.0 + 280.0)).abs() < 0.01);
        assert!(at(150).overdue > 1.4);
        assert_eq!((at(0).epoch, at(0).running_tok, at(0).queued_tok), (7, 90, 250));
        gauge.stop(200_000_000);
        assert!(gauge.snapshot(7, 200_000_000, 100).overdue <= 0.0);
    }

    #[test]
    fn a_reader_never_sees_a_mix() {
        let mut gauge = Gauge::new(0);
        let cell = LoadCell::new(&gauge);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 1..200_000u64 {
                    gauge.queued = i;
                    gauge.running = Some(Running { tokens: i, started: i, predicted: i });
                    cell.publish(&gauge);
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let seen = cell.read();
                if let Some(batch) = seen.running {
                    assert_eq!((batch.tokens, batch.started, batch.predicted), (seen.queued, seen.queued, seen.queued));
                }
            }
        });
        assert_eq!(cell.read(), gauge);
    }
}
