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
    backend::{Backend, Item},
    cell::LoadCells,
    config::SchedulerConfig,
    core::{At, Core, Gone, PartId, Ran, Taken, Turn},
    counters::Counters,
    load::LoadSnapshot,
    part::Part,
    quarantine::Quarantine,
    request::{Refusal, Request, Unit},
    ticket::{Answer, PartError},
};

/// Shortest wait for an instant; a clock that stands still must not make a thread spin.
const MIN_WAIT: Duration = Duration::from_micros(20);

/// A unit as it travels through the stages.
pub(crate) struct Work<B: Backend> {
    pub(crate) item: Item<B>,
    pub(crate) part: Arc<Part<B>>,
}

/// Units of a batch, longest first.
pub(crate) type Batch<B> = Vec<Taken<Work<B>>>;

/// Whether work is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// At least one device takes work.
    Ready,
    /// None does; at least one is being made anew.
    Rebuilding,
    /// None does or will; the threads end. Final.
    Dead,
}

/// A part that was let in, and where its answer comes out.
pub(crate) type Admitted<B> = (PartId, Arc<Part<B>>, oneshot::Receiver<Answer<B>>);

type Lost<B> = Vec<Gone<Arc<Part<B>>, Work<B>>>;

pub(crate) struct Shared<B: Backend> {
    origin: Instant,
    core: Mutex<Core<Arc<Part<B>>, Work<B>>>,
    /// One a device; with the core's lock.
    wake: Vec<Condvar>,
    load: LoadCells,
    pub(crate) counters: Counters,
    pub(crate) quarantine: Mutex<Quarantine>,
    health: watch::Sender<Health>,
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
            health: watch::Sender::new(Health::Ready),
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

    fn publish(&self, core: &MutexGuard<'_, Core<Arc<Part<B>>, Work<B>>>) {
        self.load.publish(core.queued_tokens(), core.gauges());
    }

    /// Changes the queue; wakes the devices if that may concern them.
    fn queue<R>(&self, f: impl FnOnce(&mut Core<Arc<Part<B>>, Work<B>>) -> R) -> R {
        let mut core = self.core.lock();
        let was_attentive = core.is_attentive();
        let result = f(&mut core);
        let wake = was_attentive || core.is_drained();
        self.load.publish_queued(core.queued_tokens());
        drop(core);
        if wake {
            self.wake_all();
        }
        result
    }

    /// Changes what is known of a device.
    fn device<R>(&self, f: impl FnOnce(&mut Core<Arc<Part<B>>, Work<B>>) -> R) -> R {
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

    /// Reserves room for a part, or says why not.
    pub(crate) fn admit(&self, request: Request<Instant>) -> Result<Admitted<B>, Refusal> {
        let asked = request.map(|at| self.at(at));
        let (part, answer) = Part::new(request.priority.attempt);
        let now = self.now();
        let mut core = self.core.lock();
        let next = core.next_deadline();
        let admitted = core.admit(now, asked, Arc::clone(&part));
        let sooner = core.next_deadline() != next;
        self.load.publish_queued(core.queued_tokens());
        drop(core);
        if sooner {
            // The devices' threads keep the deadlines.
            self.wake_all();
        }
        match &admitted {
            Ok(_) => self.counters.admitted.one(),
            Err(refusal) => self.count_refusal(refusal),
        }
        Ok((admitted?, part, answer))
    }

    /// Whether such a part would be refused now. Counts it if so; reserves nothing.
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

    /// Queues units; `last` if no more will follow.
    pub(crate) fn push(&self, id: PartId, part: &Arc<Part<B>>, at: usize, units: Vec<Unit<Item<B>>>, last: bool) {
        part.expect(at, units.len());
        let wrap =
            |unit: Unit<Item<B>>| Unit { item: Work { item: unit.item, part: Arc::clone(part) }, tokens: unit.tokens };
        let units = units.into_iter().map(wrap).collect();
        let unwanted = self.queue(|core| {
            let unwanted = core.push(id, at, units);
            if last {
                core.close(id);
            }
            unwanted
        });
        drop(unwanted);
        if last && part.close() {
            self.counters.answered.one();
        }
    }

    /// Takes a part out that was failed already.
    pub(crate) fn abandon(&self, id: PartId) {
        drop(self.queue(|core| core.cancel(id)));
    }

    /// Forgets a part whose ticket was dropped.
    pub(crate) fn cancel(&self, id: PartId, part: &Part<B>) {
        let gone = self.queue(|core| core.cancel(id));
        let waited = gone.as_ref().map_or(0, |gone| gone.units.len() as u64);
        if part.cancel() {
            self.counters.cancelled.one();
            self.counters.items_dropped_waiting.add(waited);
            if part.attempt > 1 {
                self.counters.hedges_cancelled.one();
                self.counters.hedge_items_dropped_waiting.add(waited);
            }
        }
        drop(gone);
    }

    /// Refuses what comes from now on.
    pub(crate) fn drain(&self) {
        self.queue(Core::drain);
        self.wake_all();
    }

    /// Forgets what batches cost.
    pub(crate) fn relearn(&self) {
        self.device(Core::relearn);
    }

    // What the stages do.

    /// Waits for work and seals the next batch of `device`. `None` once there will be no more.
    pub(crate) fn next_batch(&self, device: usize) -> Option<Batch<B>> {
        let wake = self.wake.get(device)?;
        let mut core = self.core.lock();
        loop {
            let now = self.now();
            let polled = core.poll(now, device);
            self.publish(&core);
            if !polled.expired.is_empty() {
                MutexGuard::unlocked(&mut core, || self.fail(polled.expired, PartError::Expired));
                if matches!(polled.turn, Turn::Wait(_)) {
                    continue;
                }
            }
            match polled.turn {
                Turn::Batch(batch) if !batch.is_empty() => return Some(batch),
                Turn::Batch(_) => core.finished(now, device, Ran::Otherwise),
                Turn::Wait(_) if core.is_drained() || core.is_retired(device) => return None,
                Turn::Wait(None) => wake.wait(&mut core),
                Turn::Wait(Some(at)) => {
                    let wait = at.saturating_sub(now).max(MIN_WAIT);
                    wake.wait_for(&mut core, wait);
                }
            }
        }
    }

    pub(crate) fn started(&self, device: usize, batch: &Batch<B>, prepared: Duration) {
        let now = self.now();
        self.device(|core| core.started(now, device, prepared));
        let tokens = tokens(batch);
        self.counters.batches.one();
        self.counters.batch_tokens.add(tokens);
        self.counters.batch_room_tokens.add(self.budget.max(tokens));
        self.counters.prepare_us.add(micros(prepared));
    }

    pub(crate) fn finished(&self, device: usize, ran: Ran) {
        let now = self.now();
        if let Ran::Whole(took) = ran {
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
            self.set_health(Health::Rebuilding);
        }
    }

    pub(crate) fn device_back(&self, device: usize) {
        self.counters.devices_rebuilt.one();
        self.set_health(Health::Ready);
        self.device(|core| core.device_back(device));
    }

    /// A device is gone for good. With the last one whatever is known fails, now and later.
    pub(crate) fn retire(&self, device: usize) {
        let gone = self.device(|core| {
            core.retire(device);
            if core.is_hopeless() { core.clear() } else { Vec::new() }
        });
        if self.core.lock().is_hopeless() {
            self.set_health(Health::Dead);
            self.wake_all();
        }
        self.fail(gone, PartError::BackendGone);
    }

    /// Every thread but the caller's ended.
    pub(crate) fn ended(&self) {
        // Nothing is left in a drained core; otherwise threads ended that should not.
        let gone = self.device(|core| {
            core.drain();
            core.clear()
        });
        self.fail(gone, PartError::BackendGone);
        self.over.send_replace(true);
    }

    pub(crate) fn over(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    fn set_health(&self, health: Health) {
        // Death is final.
        self.health.send_if_modified(|now| {
            let changes = *now != health && *now != Health::Dead;
            if changes {
                *now = health;
            }
            changes
        });
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Fails parts that left the queue.
    fn fail(&self, gone: Lost<B>, error: PartError) {
        for Gone { key, units, .. } in gone {
            if key.fail(error) && error == PartError::Expired {
                self.counters.expired.one();
                self.counters.items_dropped_waiting.add(units.len() as u64);
            }
        }
    }

    /// Fails the parts of a batch, waiting units of theirs included.
    pub(crate) fn fail_riders(&self, batch: Batch<B>, error: PartError) {
        let mut ids: Vec<PartId> = batch.iter().map(|unit| unit.part).collect();
        ids.dedup();
        for unit in &batch {
            unit.item.part.fail(error);
        }
        for id in ids {
            self.abandon(id);
        }
        drop(batch);
    }
}

/// Tokens of a batch.
pub(crate) fn tokens<I>(batch: &[Taken<I>]) -> u64 {
    batch.iter().map(|unit| unit.tokens as u64).sum()
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
