//! A server: the real queue and batch former ([`sortie_scheduler::Core`]) before a
//! device that takes `T = (a + b · max(work, knee)) · pace · noise` for a batch.
//!
//! What it says of itself is what the real one says: costs fitted from its own batches, queue wait
//! and busy share as [`Core::load`] has them. It knows no more than that of its device.
//!
//! Invariants: at most one batch runs and one is sealed behind it; a chunk is answered once, with the
//! batches it was in, or is given up and forgotten.

use std::{collections::VecDeque, time::Duration};

use sortie_dispatch::{Amount, AttemptId, BatchSample, Cost, Failure, Limits, LoadReport, WorkCurve, config::LIMITS};
use sortie_scheduler::{
    BatchItem, BatchOutcome, ChunkId, Core, DeviceAction, Priority, QueuedItem, Request, SchedulerConfig,
};

use super::chunk::{ArrivedChunk, FinishedChunk, Key, failure};
use crate::micros;

/// Batches that a server runs before its first caller's, as tokens of a full one: those that the real one
/// warms up with, two sizes each twice.
const WARM_UP: [u64; 4] = [4, 1, 4, 1];

/// Tokens of the texts in them: what the real one warms up with.
const WARM_UP_TEXT: u64 = 128;

/// What a device is and what the queue before it may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceModel {
    pub(crate) cost: Cost,
    pub(crate) knee: u64,
    pub(crate) budget: u64,
    /// What a text counts as on it, and what the server takes it for.
    pub(crate) curve: WorkCurve,
    pub(crate) believed: WorkCurve,
}

impl DeviceModel {
    fn batch_us(&self, work: u64) -> f64 {
        self.cost.batch_us(work.max(self.knee) as f64)
    }
}

/// A chunk that is admitted.
#[derive(Debug)]
struct AdmittedChunk {
    id: ChunkId,
    key: Key,
    /// Items that have not run.
    left: usize,
    batches: Vec<BatchSample>,
    /// Number of the last batch that it was in.
    last_batch: u64,
}

#[derive(Debug)]
struct BatchOnDevice {
    items: Vec<BatchItem<()>>,
    began: Duration,
}

/// What a poll of the queue comes to.
#[derive(Debug, Default)]
pub(crate) struct PollOutcome {
    /// A batch was started and takes so long, but for noise.
    pub(crate) started_us: Option<f64>,
    /// The queue wants to be polled then.
    pub(crate) poll_at: Option<Duration>,
    /// Chunks whose deadline came.
    pub(crate) expired: Vec<Key>,
}

/// One server's process.
#[derive(Debug)]
pub(crate) struct SimServer {
    device: DeviceModel,
    core: Core<Key, ()>,
    held: Vec<AdmittedChunk>,
    sealed: Option<Vec<BatchItem<()>>>,
    running: Option<BatchOnDevice>,
    /// What batches take against what the device is.
    pub(crate) pace: f64,
    pub(crate) draining: bool,
    /// Work of probes that counts as queued until then.
    reserved: VecDeque<(Duration, u64)>,
    /// Batches and tokens that ran, and how long the device was at work.
    batches: u64,
    pub(crate) served_tokens: u64,
    pub(crate) busy: Duration,
}

impl SimServer {
    /// A process that has warmed up. `epoch` grows with each.
    pub(crate) fn new(device: DeviceModel, pace: f64, epoch: u64, now: Duration) -> Self {
        let (max_batch_tokens, curve) = (device.budget as usize, device.believed);
        let config = SchedulerConfig { max_batch_tokens, curve, ..SchedulerConfig::default() };
        let mut server = Self {
            device,
            core: Core::new(config, 1, epoch),
            held: Vec::new(),
            sealed: None,
            running: None,
            pace,
            draining: false,
            reserved: VecDeque::new(),
            batches: 0,
            served_tokens: 0,
            busy: Duration::ZERO,
        };
        server.warm_up(now);
        server
    }

    /// Runs batches that nobody asked for, so that the cost is measured, as of `now`.
    fn warm_up(&mut self, now: Duration) {
        let key = Key { client: u32::MAX, job: u32::MAX, attempt: AttemptId(u32::MAX) };
        for share in WARM_UP {
            let tokens = (self.device.budget / share).max(1);
            // Of a model whose long texts are dearer, short ones; else one of that size is the same.
            let each = if self.device.curve == WorkCurve::STRAIGHT { tokens } else { WARM_UP_TEXT.min(tokens) };
            let items = vec![QueuedItem { item: (), tokens: each as usize }; (tokens / each) as usize];
            let Ok(id) = self.core.admit(now, Request::of(tokens), key) else { continue };
            self.core.push(id, 0, items);
            self.core.close(id);
            if let DeviceAction::Batch(items) = self.core.poll(now, 0).action {
                let took = self.device.batch_us(self.work(&items)) * self.pace;
                self.core.started(now, 0, Duration::ZERO);
                self.core.finished(now, 0, BatchOutcome::Whole(micros(took)));
            }
        }
    }

    /// A chunk arrives: it waits, or is refused.
    pub(crate) fn admit(&mut self, chunk: &ArrivedChunk, now: Duration) -> Result<(), Failure> {
        let amount: Amount = chunk.items.iter().map(|&tokens| self.device.believed.of(tokens.into())).sum();
        let priority = Priority { attempt: chunk.number, ..Priority::default() };
        let (deadline, tenant) = (Some(chunk.deadline), chunk.tenant);
        let request = Request { deadline, priority, tenant, ..Request::of_work(amount) };
        let id = self.core.admit(now, request, chunk.key).map_err(failure)?;
        let items: Vec<_> =
            chunk.items.iter().map(|&tokens| QueuedItem { item: (), tokens: tokens as usize }).collect();
        self.held.push(AdmittedChunk { id, key: chunk.key, left: items.len(), batches: Vec::new(), last_batch: 0 });
        self.core.push(id, 0, items);
        self.core.close(id);
        Ok(())
    }

    /// A chunk's stream is reset: its items leave the queue; those in a batch run for nobody.
    pub(crate) fn cancel(&mut self, key: Key) {
        if let Some(place) = self.held.iter().position(|held| held.key == key) {
            let held = self.held.remove(place);
            self.core.cancel(held.id);
        }
    }

    /// Whether the queue is to be polled after an event, and not only when it asked for it.
    pub(crate) fn is_attentive(&self) -> bool {
        self.core.is_attentive()
    }

    /// Seals and starts what can be.
    pub(crate) fn poll(&mut self, now: Duration) -> PollOutcome {
        let mut step = PollOutcome::default();
        let polled = self.core.poll(now, 0);
        for gone in polled.expired {
            self.held.retain(|held| held.id != gone.id);
            step.expired.push(gone.key);
        }
        match polled.action {
            DeviceAction::Batch(items) => {
                self.sealed = Some(items);
                if self.running.is_none() {
                    step.started_us = self.start(now);
                }
            }
            DeviceAction::Wait(at) => step.poll_at = at,
        }
        step
    }

    /// Starts the sealed batch: what it takes, but for noise.
    fn start(&mut self, now: Duration) -> Option<f64> {
        let items = self.sealed.take()?;
        let takes = self.device.batch_us(self.work(&items)) * self.pace;
        self.core.started(now, 0, Duration::ZERO);
        self.running = Some(BatchOnDevice { items, began: now });
        Some(takes)
    }

    /// What a batch is to the device, whatever the server takes it for.
    fn work(&self, items: &[BatchItem<()>]) -> u64 {
        items.iter().map(|item| self.device.curve.work(item.tokens as u64)).sum()
    }

    /// The running batch is over: chunks that are complete, and what the sealed one takes that starts now.
    pub(crate) fn finish(&mut self, now: Duration) -> (Vec<FinishedChunk>, Option<f64>) {
        let Some(BatchOnDevice { items, began }) = self.running.take() else { return (Vec::new(), None) };
        let took = now.saturating_sub(began);
        self.core.finished(now, 0, BatchOutcome::Whole(took));
        self.served_tokens += items.iter().map(|item| item.tokens as u64).sum::<u64>();
        self.batches += 1;
        self.busy += took;
        let work: u64 = items.iter().map(|item| item.work).sum();
        let batch = BatchSample { us: took.as_secs_f64() * 1e6, work: work as f64 };
        let mut done = Vec::new();
        for item in &items {
            // In the order they were admitted, so by their numbers.
            let Ok(place) = self.held.binary_search_by_key(&item.chunk, |held| held.id) else { continue };
            let Some(held) = self.held.get_mut(place) else { continue };
            held.left = held.left.saturating_sub(1);
            if held.last_batch != self.batches {
                held.last_batch = self.batches;
                held.batches.push(batch);
            }
        }
        self.held.retain_mut(|held| {
            if held.left == 0 {
                done.push(FinishedChunk { key: held.key, batches: std::mem::take(&mut held.batches) });
            }
            held.left > 0
        });
        (done, self.start(now))
    }

    /// Reserves work until then: a probe asks on behalf of a chunk.
    pub(crate) fn reserve(&mut self, work: u64, until: Duration) {
        self.reserved.push_back((until, work));
    }

    /// What it says of itself, as it reads after the wire.
    pub(crate) fn report(&mut self, now: Duration) -> LoadReport {
        while self.reserved.front().is_some_and(|(until, _)| *until <= now) {
            self.reserved.pop_front();
        }
        let reserved: u64 = self.reserved.iter().map(|(_, work)| work).sum();
        let load = self.core.load(now);
        let cost = Cost { a_us: f64::from(load.a_ms) * 1e3, b_us: f64::from(load.b_us) };
        LoadReport {
            epoch: load.epoch,
            queue_wait: micros(f64::from(load.queue_wait_ms) * 1e3 + cost.b_us * reserved as f64),
            cost,
            limits: Limits {
                max_batch_tokens: u64::from(load.max_batch_tokens),
                max_queue_tokens: SchedulerConfig::default().max_queue_tokens,
                ..LIMITS
            },
            draining: self.draining,
            busy: f64::from(load.busy),
            served_tokens_per_second: f64::from(load.served_tokens_per_second),
            rate_tokens_per_second: f64::from(load.rate_tokens_per_second),
            overdue: f64::from(load.overdue),
        }
    }

    /// Takes no more from now on.
    pub(crate) fn drain(&mut self) {
        self.core.drain();
        self.draining = true;
    }

    /// Whose chunks it has.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.held.iter().map(|held| held.key)
    }

    /// Work that waits, in tokens.
    pub(crate) fn queued(&self) -> u64 {
        self.core.queued_work()
    }
}

#[cfg(test)]
mod tests;
