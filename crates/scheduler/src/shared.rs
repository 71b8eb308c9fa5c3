//! What callers and the stages' threads share: the [`Core`] under one short lock,
//! what wakes the threads, and the figures that are read without the lock.
//!
//! Lock rule: nothing of a caller's (items, outputs, wakers) is dropped or called
//! while the core's lock is held, and no other lock is taken under it.
//!
//! Invariant: whatever changes the core publishes its load before the lock is let go.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use crate::{
    backend::{Backend, ItemOf},
    cell::LoadCells,
    chunk::ChunkProgress,
    config::SchedulerConfig,
    core::{At, BatchItem, BatchOutcome, ChunkId, Core, DeviceAction, Removed},
    counters::Counters,
    load::LoadSnapshot,
    outcome::{ChunkError, ChunkOutcome},
    quarantine::Quarantine,
    request::{QueuedItem, Refusal, Request},
};

/// Shortest wait for an instant; a clock that stands still must not make a thread spin.
const MIN_WAIT: Duration = Duration::from_micros(20);

/// An item as it travels through the stages.
pub(crate) struct ItemInFlight<B: Backend> {
    pub(crate) input: ItemOf<B>,
    pub(crate) chunk: Arc<ChunkProgress<B>>,
    /// A device was lost while it ran.
    pub(crate) lost: bool,
}

/// Items of a batch, longest first.
pub(crate) type FormedBatch<B> = Vec<BatchItem<ItemInFlight<B>>>;

/// Whether work is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DevicesHealth {
    /// At least one device takes work.
    Ready,
    /// None does; at least one is being made anew.
    Rebuilding,
    /// None does or will; the threads end. Final.
    Dead,
}

/// A chunk that was let in, and where its answer comes out.
pub(crate) type Admitted<B> = (ChunkId, Arc<ChunkProgress<B>>, oneshot::Receiver<ChunkOutcome<B>>);

type Lost<B> = Vec<Removed<Arc<ChunkProgress<B>>, ItemInFlight<B>>>;

pub(crate) struct Shared<B: Backend> {
    origin: Instant,
    core: Mutex<Core<Arc<ChunkProgress<B>>, ItemInFlight<B>>>,
    /// One a device; with the core's lock.
    wake: Vec<Condvar>,
    load: LoadCells,
    pub(crate) counters: Counters,
    pub(crate) quarantine: Mutex<Quarantine>,
    health: watch::Sender<DevicesHealth>,
    /// True once the last thread ended.
    over: watch::Sender<bool>,
    budget: u64,
}

impl<B: Backend> Shared<B> {
    pub(crate) fn new(config: SchedulerConfig, devices: usize) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch = u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX);
        let budget = config.max_batch_tokens as u64;
        let core = Core::new(config, devices, epoch);
        Self {
            origin: Instant::now(),
            load: LoadCells::new(epoch, core.gauges()),
            core: Mutex::new(core),
            wake: (0..devices).map(|_| Condvar::new()).collect(),
            counters: Counters::default(),
            quarantine: Mutex::default(),
            health: watch::Sender::new(DevicesHealth::Ready),
            over: watch::Sender::new(false),
            budget,
        }
    }

    fn at(&self, instant: Instant) -> At {
        instant.saturating_duration_since(self.origin)
    }

    fn now(&self) -> At {
        self.at(Instant::now())
    }

    fn publish(&self, core: &MutexGuard<'_, Core<Arc<ChunkProgress<B>>, ItemInFlight<B>>>) {
        self.load.publish(core.queued_work(), core.gauges());
    }

    /// Changes the queue; wakes the devices if that may concern them.
    fn queue<R>(&self, f: impl FnOnce(&mut Core<Arc<ChunkProgress<B>>, ItemInFlight<B>>) -> R) -> R {
        let mut core = self.core.lock();
        let was_attentive = core.is_attentive();
        let result = f(&mut core);
        let wake = was_attentive || core.is_drained();
        self.load.publish_queued(core.queued_work());
        drop(core);
        if wake {
            self.wake_all();
        }
        result
    }

    /// Changes what is known of a device.
    fn device<R>(&self, f: impl FnOnce(&mut Core<Arc<ChunkProgress<B>>, ItemInFlight<B>>) -> R) -> R {
        let mut core = self.core.lock();
        let result = f(&mut core);
        self.publish(&core);
        drop(core);
        self.wake_all();
        result
    }

    fn wake_all(&self) {
        for condvar in &self.wake {
            condvar.notify_one();
        }
    }

    pub(crate) fn load(&self) -> LoadSnapshot {
        self.load.load(self.now())
    }

    // What callers do.

    /// Reserves room for a chunk, or says why not.
    pub(crate) fn admit(&self, request: Request<Instant>) -> Result<Admitted<B>, Refusal> {
        let asked = request.map(|at| self.at(at));
        let (chunk, answer) = ChunkProgress::new(request.priority.attempt);
        let now = self.now();
        let mut core = self.core.lock();
        let next = core.next_deadline();
        let admitted = core.admit(now, asked, Arc::clone(&chunk));
        let sooner = core.next_deadline() != next;
        self.load.publish_queued(core.queued_work());
        drop(core);
        if sooner {
            // The devices' threads keep the deadlines.
            self.wake_all();
        }
        match &admitted {
            Ok(_) => self.counters.admitted.one(),
            Err(refusal) => self.count_refusal(refusal),
        }
        Ok((admitted?, chunk, answer))
    }

    /// Whether such a chunk would be refused now, which then counts as a refusal. Reserves nothing.
    pub(crate) fn admissible(&self, request: &Request<Instant>) -> Result<(), Refusal> {
        let asked = request.map(|at| self.at(at));
        let verdict = self.core.lock().admissible(self.now(), &asked);
        if let Err(refusal) = &verdict {
            self.count_refusal(refusal);
        }
        verdict
    }

    fn count_refusal(&self, refusal: &Refusal) {
        match refusal {
            Refusal::QueueFull { .. } | Refusal::TooManyChunks { .. } => self.counters.refused_full.one(),
            Refusal::TooLate { .. } | Refusal::WaitTooLong { .. } => self.counters.refused_late.one(),
            _ => self.counters.refused_other.one(),
        }
    }

    /// Queues items; `last` if no more will follow.
    pub(crate) fn push(
        &self,
        id: ChunkId,
        chunk: &Arc<ChunkProgress<B>>,
        at: usize,
        items: Vec<QueuedItem<ItemOf<B>>>,
        last: bool,
    ) {
        chunk.expect(at, items.len());
        let wrap = |item: QueuedItem<ItemOf<B>>| QueuedItem {
            item: ItemInFlight { input: item.item, chunk: Arc::clone(chunk), lost: false },
            tokens: item.tokens,
        };
        let items = items.into_iter().map(wrap).collect();
        let unwanted = self.queue(|core| {
            let unwanted = core.push(id, at, items);
            if last {
                core.close(id);
            }
            unwanted
        });
        drop(unwanted);
        if last && chunk.close() {
            self.counters.answered.one();
        }
    }

    /// Takes a chunk out that was failed already.
    pub(crate) fn abandon(&self, id: ChunkId) {
        drop(self.queue(|core| core.cancel(id)));
    }

    /// Forgets a chunk whose [`PendingResponse`](crate::PendingResponse) was dropped.
    pub(crate) fn cancel(&self, id: ChunkId, chunk: &ChunkProgress<B>) {
        let removed = self.queue(|core| core.cancel(id));
        let waited = removed.as_ref().map_or(0, |removed| removed.items.len() as u64);
        if chunk.cancel() {
            self.counters.cancelled.one();
            self.counters.items_dropped_waiting.add(waited);
            if chunk.attempt > 1 {
                self.counters.hedges_cancelled.one();
                self.counters.hedge_items_dropped_waiting.add(waited);
            }
        }
        drop(removed);
    }

    /// Refuses what comes from now on.
    pub(crate) fn drain(&self) {
        self.queue(Core::drain);
        self.wake_all();
    }

    /// Forgets what batches cost.
    pub(crate) fn reset_cost_model(&self) {
        self.device(Core::reset_cost_model);
    }

    // What the stages do.

    /// Waits for work and seals the next batch of `device`. `None` once there will be no more.
    pub(crate) fn next_batch(&self, device: usize) -> Option<FormedBatch<B>> {
        let wake = self.wake.get(device)?;
        let mut core = self.core.lock();
        loop {
            let now = self.now();
            let polled = core.poll(now, device);
            self.publish(&core);
            if !polled.expired.is_empty() {
                MutexGuard::unlocked(&mut core, || self.fail(polled.expired, ChunkError::Expired));
                if matches!(polled.action, DeviceAction::Wait(_)) {
                    continue;
                }
            }
            match polled.action {
                DeviceAction::Batch(batch) if !batch.is_empty() => return Some(batch),
                DeviceAction::Batch(_) => core.finished(now, device, BatchOutcome::Otherwise),
                DeviceAction::Wait(_) if core.is_drained() || core.is_retired(device) => return None,
                DeviceAction::Wait(None) => wake.wait(&mut core),
                DeviceAction::Wait(Some(at)) => {
                    let wait = at.saturating_sub(now).max(MIN_WAIT);
                    wake.wait_for(&mut core, wait);
                }
            }
        }
    }

    pub(crate) fn started(&self, device: usize, batch: &FormedBatch<B>, prepared: Duration) {
        let now = self.now();
        self.device(|core| core.started(now, device, prepared));
        let tokens = tokens(batch);
        self.counters.batches.one();
        self.counters.batch_tokens.add(tokens);
        self.counters.batch_work.add(batch.iter().map(|item| item.work).sum());
        self.counters.batch_room_tokens.add(self.budget.max(tokens));
        self.counters.prepare_us.add(micros(prepared));
    }

    pub(crate) fn finished(&self, device: usize, ran: BatchOutcome) {
        let now = self.now();
        if let BatchOutcome::Whole(took) = ran {
            self.counters.run_us.add(micros(took));
        }
        self.device(|core| core.finished(now, device, ran));
    }

    pub(crate) fn out_of_memory(&self, device: usize, tokens: u64) {
        self.counters.out_of_memory.one();
        let now = self.now();
        let tokens = usize::try_from(tokens).unwrap_or(usize::MAX);
        self.device(|core| core.out_of_memory(now, device, tokens));
    }

    /// A device takes no work for now.
    pub(crate) fn device_lost(&self, device: usize) {
        self.counters.devices_lost.one();
        let now = self.now();
        if !self.device(|core| {
            core.device_lost(now, device);
            core.is_alive()
        }) {
            self.set_health(DevicesHealth::Rebuilding);
        }
    }

    /// Items that ran as their device was lost, which [`device_lost`](Self::device_lost) was told of: another device runs
    /// them, if there is one, but once only, for it may be them that devices are lost by. The others fail.
    pub(crate) fn hand_on_lost(&self, batch: FormedBatch<B>) {
        let (again, mut first): (FormedBatch<B>, FormedBatch<B>) =
            batch.into_iter().filter(|item| !item.item.chunk.is_over()).partition(|item| item.item.lost);
        for item in &mut first {
            item.item.lost = true;
        }
        self.fail_batch(again, ChunkError::BackendGone);
        self.hand_on(first);
    }

    /// Items that were sealed for a device that does not take them: another one runs them, or they fail.
    pub(crate) fn hand_on(&self, batch: FormedBatch<B>) {
        let items = batch.len() as u64;
        let mut batch = Some(batch);
        self.device(|core| {
            if core.is_alive() {
                core.give_back(batch.take().unwrap_or_default());
            }
        });
        match batch {
            Some(batch) => self.fail_batch(batch, ChunkError::BackendGone),
            None => self.counters.items_handed_on.add(items),
        }
    }

    /// Whether a batch for `device` is being prepared or waits for it, while other devices work.
    pub(crate) fn keeps_from_others(&self, device: usize) -> bool {
        let core = self.core.lock();
        core.is_alive() && core.is_sealed(device)
    }

    pub(crate) fn device_back(&self, device: usize) {
        self.counters.devices_rebuilt.one();
        self.set_health(DevicesHealth::Ready);
        self.device(|core| core.device_back(device));
    }

    /// A device is gone for good. With the last one whatever is known fails, now and later.
    pub(crate) fn retire(&self, device: usize) {
        let (removed, returned) = self.device(|core| {
            core.retire(device);
            if core.is_hopeless() { (core.clear(), core.take_returned()) } else { (Vec::new(), Vec::new()) }
        });
        if self.core.lock().is_hopeless() {
            self.set_health(DevicesHealth::Dead);
            self.wake_all();
        }
        self.fail(removed, ChunkError::BackendGone);
        self.fail_batch(returned, ChunkError::BackendGone);
    }

    /// Every thread but the caller's ended.
    pub(crate) fn ended(&self) {
        // Nothing is left in a drained core; otherwise threads ended that should not.
        let (removed, returned) = self.device(|core| {
            core.drain();
            (core.clear(), core.take_returned())
        });
        self.fail(removed, ChunkError::BackendGone);
        self.fail_batch(returned, ChunkError::BackendGone);
        self.over.send_replace(true);
    }

    pub(crate) fn over(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    fn set_health(&self, health: DevicesHealth) {
        // Death is final.
        self.health.send_if_modified(|now| {
            let changes = *now != health && *now != DevicesHealth::Dead;
            if changes {
                *now = health;
            }
            changes
        });
    }

    pub(crate) fn health(&self) -> watch::Receiver<DevicesHealth> {
        self.health.subscribe()
    }

    /// Fails chunks that left the queue.
    fn fail(&self, removed: Lost<B>, error: ChunkError) {
        for Removed { key, items, .. } in removed {
            if key.fail(error) && error == ChunkError::Expired {
                self.counters.expired.one();
                self.counters.items_dropped_waiting.add(items.len() as u64);
            }
        }
    }

    /// Fails the chunks of a batch, waiting items of theirs included.
    pub(crate) fn fail_batch(&self, batch: FormedBatch<B>, error: ChunkError) {
        let mut ids: Vec<ChunkId> = batch.iter().map(|item| item.chunk).collect();
        ids.dedup();
        for item in &batch {
            item.item.chunk.fail(error);
        }
        for id in ids {
            self.abandon(id);
        }
        drop(batch);
    }
}

/// Tokens of a batch.
pub(crate) fn tokens<I>(batch: &[BatchItem<I>]) -> u64 {
    batch.iter().map(|item| item.tokens as u64).sum()
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Dropped with the last scheduler or admission.
pub(crate) struct DrainOnDrop<B: Backend> {
    pub(crate) shared: Arc<Shared<B>>,
}

impl<B: Backend> Drop for DrainOnDrop<B> {
    fn drop(&mut self) {
        self.shared.drain();
    }
}
