//! The scheduler without threads, clocks or sockets: events and the current
//! instant go in, batches and reports come out. [`Scheduler`](crate::Scheduler)
//! drives it from threads, a simulation drives it in virtual time.
//!
//! ```text
//! admit ─▶ push… ─▶ close          a chunk: reserved, streamed in, complete
//!            │
//! poll(device) ─▶ Batch            sealed late, as the device is about to be free
//!            │
//! started ─▶ finished              the device ran it
//!      └──▶ device_lost, give_back the next device runs it
//! ```
//!
//! Time is the duration since an origin of the driver's choice; it must not go back.
//!
//! Invariants: an item leaves once, in one batch or with its chunk; nothing of a
//! cancelled or expired chunk leaves in a batch; a batch never exceeds its token
//! budget unless it is one single item.

mod admission;
mod beside;
mod cost;
mod device;
mod form;
mod margins;
mod queue;
mod rates;
mod split;
mod tenants;
mod units;

use std::{collections::VecDeque, time::Duration};

use beside::BesideInteractive;
pub use cost::{DEFAULT_BATCH_COST, DEFAULT_KNEE_TOKENS, DEFAULT_TOKEN_COST};
pub(crate) use device::DeviceState;
use margins::Margins;
use queue::Queue;
pub use queue::Removed;
pub(crate) use units::STALE;
use units::{AdmissionEstimate, Formed, secs};
pub use units::{At, BatchItem, BatchOutcome, ChunkId};

use sortie_work::{Cost, Lane};

use crate::{
    config::SchedulerConfig,
    load::{DeviceGauge, LoadSnapshot, snapshot},
    request::{QueuedItem, Refusal, Request},
};

/// Longest that an idle device holds what is ready back for siblings that are
/// still being tokenized. The gain is one batch's fixed cost at most, so the
/// wait is bounded by that cost too.
const MAX_HOLD: Duration = Duration::from_millis(5);

/// Weight of a chunk in the running mean of their sizes.
const SIZE_WEIGHT: f64 = 0.05;

/// What a device shall do.
#[derive(Debug)]
pub enum DeviceAction<I> {
    /// Prepare and run these items, longest first.
    Batch(Vec<BatchItem<I>>),
    /// Nothing yet. Poll again after any event, and at that instant if there is one.
    Wait(Option<At>),
}

/// Answer to [`Core::poll`].
#[derive(Debug)]
pub struct PollResult<K, I> {
    /// Chunks whose deadline came; they are forgotten.
    pub expired: Vec<Removed<K, I>>,
    /// What the device shall do.
    pub action: DeviceAction<I>,
}

/// The queue before some devices, and what is known of them. `K` names a chunk to
/// the driver, `I` is an item of work.
#[derive(Debug)]
pub struct Core<K, I> {
    config: SchedulerConfig,
    epoch: u64,
    queue: Queue<K, I>,
    devices: Vec<DeviceState>,
    /// What lost devices left behind, for whichever device is free next.
    returned: VecDeque<Vec<BatchItem<I>>>,
    beside: BesideInteractive,
    /// By how much estimates of a chunk's end were outlasted.
    margins: Margins,
    /// Running mean of the work of chunks.
    mean_chunk_work: f64,
    draining: bool,
}

impl<K, I> Core<K, I> {
    /// An empty queue before `devices` idle devices. `epoch` goes into load reports.
    ///
    /// `config` should have passed [`SchedulerConfig::validate`]; limits of zero count as one.
    #[must_use]
    pub fn new(config: SchedulerConfig, devices: usize, epoch: u64) -> Self {
        let budget = config.max_batch_tokens.max(1);
        Self {
            epoch,
            queue: Queue::new(config.curve),
            devices: (0..devices.max(1)).map(|_| DeviceState::new(budget)).collect(),
            returned: VecDeque::new(),
            beside: BesideInteractive::default(),
            margins: Margins::default(),
            mean_chunk_work: 0.0,
            draining: false,
            config,
        }
    }

    /// Reserves room for a chunk, or says why not. It counts as queued from now on.
    ///
    /// # Errors
    /// A [`Refusal`] when draining or dead, when the queue has no room, when the estimated end is past the deadline, or
    /// when the wait is longer than a standing queue may make it.
    pub fn admit(&mut self, now: At, request: Request<At>, key: K) -> Result<ChunkId, Refusal> {
        self.mean_chunk_work += SIZE_WEIGHT * (request.amount().work as f64 - self.mean_chunk_work);
        self.admissible(now, &request)?;
        let estimate = AdmissionEstimate { admitted: now, seconds: self.end_seconds(now, &request) };
        let work = secs(self.own_seconds(request.amount().work));
        let small = self.budget() / form::SMALL_SHARE;
        if request.priority.lane == Lane::Interactive {
            self.beside.came(now);
        }
        Ok(self.queue.open(request, key, queue::AdmissionEntry { estimate, work, small }))
    }

    /// Adds items to a chunk, in place of as many reserved tokens. `at` is the
    /// index of the first one in the chunk. Items of a chunk that is gone come back.
    pub fn push(&mut self, id: ChunkId, at: usize, items: Vec<QueuedItem<I>>) -> Vec<QueuedItem<I>> {
        self.queue.push(id, at, items)
    }

    /// No more items of this chunk will come; what is still reserved is given back.
    pub fn close(&mut self, id: ChunkId) {
        self.queue.close(id);
    }

    /// Forgets a chunk, wherever it is; its items in a sealed batch stay there.
    pub fn cancel(&mut self, id: ChunkId) -> Option<Removed<K, I>> {
        self.queue.remove(id)
    }

    /// Forgets the chunks whose deadline has come.
    pub fn expire(&mut self, now: At) -> Vec<Removed<K, I>> {
        expire(&mut self.queue, &mut self.margins, now)
    }

    /// Puts a batch back that a device was lost with, or that was sealed for it: as it is, it goes before everything that
    /// waits.
    pub fn give_back(&mut self, batch: Vec<BatchItem<I>>) {
        if !batch.is_empty() {
            self.returned.push_back(batch);
        }
    }

    /// Forgets what was [given back](Self::give_back) and no device took yet.
    pub fn take_returned(&mut self) -> Vec<BatchItem<I>> {
        self.returned.drain(..).flatten().collect()
    }

    /// Whether a batch is sealed for `device` and does not run yet.
    #[must_use]
    pub fn is_sealed(&self, device: usize) -> bool {
        self.devices.get(device).is_some_and(|dev| dev.sealed_work().is_some())
    }

    /// Forgets every chunk, for a driver that has no device left.
    pub fn clear(&mut self) -> Vec<Removed<K, I>> {
        self.queue.clear()
    }

    /// What `device` shall do now. A batch that is handed out counts as sealed until
    /// [`started`](Self::started); a device has at most one sealed and one running batch.
    pub fn poll(&mut self, now: At, device: usize) -> PollResult<K, I> {
        let alive = self.alive();
        let Some(dev) = self.devices.get_mut(device).filter(|d| d.may_seal()) else {
            let expired = expire(&mut self.queue, &mut self.margins, now);
            return PollResult { expired, action: DeviceAction::Wait(self.queue.next_deadline()) };
        };
        // The batch starts when the running one ends; whose deadline comes before that is not in it, nor who could not
        // be answered in time if it started with this batch.
        let starts = dev.free_at(now);
        let seal_at = dev.seal_at(now);
        let cost = dev.fit.cost();
        let mut expired = expire(&mut self.queue, &mut self.margins, if seal_at <= now { starts } else { now });
        if seal_at <= now
            && let Some(cost) = dev.fit.measured().filter(|_| !dev.is_stale(now))
        {
            for chunk in self.queue.take_expired_by(starts, cost, dev.budget, alive) {
                self.margins.observe(chunk.estimate.seconds, Duration::MAX, now);
                expired.push(chunk);
            }
        }
        let wake = |at: Option<At>| DeviceAction::Wait([at, self.queue.next_deadline()].into_iter().flatten().min());
        if seal_at <= now
            && let Some(items) = self.returned.pop_front()
        {
            dev.seal(&items, Vec::new());
            return PollResult { expired, action: DeviceAction::Batch(items) };
        }
        let ready = self.queue.waits().work;
        if ready == 0 && self.returned.is_empty() {
            dev.held_since = None;
            return PollResult { expired, action: wake(None) };
        }
        if seal_at > now {
            return PollResult { expired, action: wake(Some(seal_at)) };
        }
        let reserved = self.queue.reserved().work;
        // Several devices share what waits, in parts worth a batch; one takes what is ready.
        let share = if alive > 1 { split::share(now, device, ready + reserved, &self.devices) } else { ready };
        let Some(dev) = self.devices.get_mut(device) else {
            return PollResult { expired, action: wake(None) };
        };
        let knee = dev.fit.knee(dev.budget);
        let least = if alive > 1 { dev.fit.least_batch(dev.budget) } else { knee };
        let share = share.max(u64::from(least));
        let enough = share.min(u64::from(knee));
        if ready < enough && reserved > 0 {
            // Siblings are being tokenized: a running batch hides the wait, an idle
            // device waits for as long as a second batch would cost more.
            let until = if dev.is_running() {
                Some(starts).filter(|at| *at > now)
            } else {
                let since = *dev.held_since.get_or_insert(now);
                Some(since + secs(cost.a_us / 1e6).min(MAX_HOLD))
            };
            match until {
                Some(at) if at <= now => {}
                // An overdue batch has no end to wait for: its end is an event.
                until => return PollResult { expired, action: wake(until) },
            }
        }
        dev.held_since = None;
        // What the share has in tokens is no more than its work.
        let budget = dev.budget.min(usize::try_from(share).unwrap_or(usize::MAX)).max(1);
        let bulk = self.beside.room(now, dev.fit.measured(), dev.budget, u64::from(knee));
        let with_margin = dev.cost_with_margin(now);
        let sealing = form::Sealing { starts, budget, share, cost: with_margin, knee: u64::from(knee), bulk };
        let Formed { items, complete, cut } = self.queue.form(sealing);
        if cut {
            self.beside.spend(cost);
        }
        dev.seal(&items, complete);
        PollResult { expired, action: DeviceAction::Batch(items) }
    }

    /// The sealed batch of `device` starts to run; preparing it took `prepared`.
    pub fn started(&mut self, now: At, device: usize, prepared: Duration) {
        if let Some(dev) = self.devices.get_mut(device) {
            dev.start(now, prepared);
        }
    }

    /// The running batch of `device` ended (or its sealed one, if it never started).
    pub fn finished(&mut self, now: At, device: usize, ran: BatchOutcome) {
        if let Some(dev) = self.devices.get_mut(device) {
            for estimate in dev.stop(now, ran) {
                self.margins.observe(estimate.seconds, now.saturating_sub(estimate.admitted), now);
            }
        }
    }

    /// A batch of `tokens` was too much for the memory of `device`: its budget falls to half of that.
    pub fn out_of_memory(&mut self, now: At, device: usize, tokens: usize) {
        if let Some(dev) = self.devices.get_mut(device) {
            dev.halve(now, tokens);
        }
    }

    /// Forgets what batches cost, for warming up: the first batches of a device tell
    /// nothing of the later ones.
    pub fn reset_cost_model(&mut self) {
        for dev in &mut self.devices {
            dev.reset_cost_model();
        }
        self.margins = Margins::default();
    }

    /// `device` takes no batch until [`device_back`](Self::device_back).
    pub fn device_lost(&mut self, now: At, device: usize) {
        if let Some(dev) = self.devices.get_mut(device) {
            dev.lose(now);
        }
    }

    /// `device` takes batches again.
    pub fn device_back(&mut self, device: usize) {
        if let Some(dev) = self.devices.get_mut(device) {
            dev.alive = true;
        }
    }

    /// `device` will never take a batch again.
    pub fn retire(&mut self, device: usize) {
        if let Some(dev) = self.devices.get_mut(device) {
            dev.alive = false;
            dev.retired = true;
            dev.unseal();
        }
    }

    /// Whether `device` will never take a batch again.
    #[must_use]
    pub fn is_retired(&self, device: usize) -> bool {
        self.devices.get(device).is_none_or(|dev| dev.retired)
    }

    /// Whether no device will ever take a batch again.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.devices.iter().all(|dev| dev.retired)
    }

    /// Whether any device takes batches.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.devices.iter().any(|dev| dev.alive)
    }

    /// Whether an event now may change what [`poll`](Self::poll) says of some device:
    /// one is idle, or nothing waits. If not, devices poll again at their own time.
    #[must_use]
    pub fn is_attentive(&self) -> bool {
        (self.queue.waits().tokens == 0 && self.returned.is_empty()) || self.devices.iter().any(DeviceState::is_free)
    }

    /// The next deadline of any chunk that is known.
    #[must_use]
    pub fn next_deadline(&self) -> Option<At> {
        self.queue.next_deadline()
    }

    /// Refuses what comes from now on; what was admitted is finished.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// True once draining and nothing is known that is to run. Batches may still run.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.queue.is_empty() && self.returned.is_empty()
    }

    /// Work admitted and not yet in a running batch, in tokens.
    #[must_use]
    pub fn queued_work(&self) -> u64 {
        let sealed: u64 = self.devices.iter().filter_map(|dev| dev.sealed_work()).sum();
        let returned: u64 = self.returned.iter().flatten().map(|item| item.work).sum();
        self.queue.waits().and(self.queue.reserved()).work + sealed + returned
    }

    /// The load now.
    #[must_use]
    pub fn load(&self, now: At) -> LoadSnapshot {
        snapshot(self.epoch, now, self.queued_work(), self.gauges())
    }

    /// What is known of each device.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = DeviceGauge> + Clone + '_ {
        self.devices.iter().map(DeviceState::gauge)
    }

    /// Cost of the first live device that has measured one; `None` before that.
    fn cost(&self) -> Option<Cost> {
        self.devices.iter().filter(|dev| dev.alive).find_map(|dev| dev.fit.measured())
    }

    /// Devices that take work, one at least.
    fn alive(&self) -> usize {
        self.devices.iter().filter(|dev| dev.alive).count().max(1)
    }

    /// Largest batch of any device.
    fn budget(&self) -> usize {
        self.devices.iter().filter(|dev| dev.alive).map(|dev| dev.budget).max().unwrap_or(self.config.max_batch_tokens)
    }
}

/// Forgets the chunks whose deadline has come; their estimates were outlasted.
fn expire<K, I>(queue: &mut Queue<K, I>, margins: &mut Margins, now: At) -> Vec<Removed<K, I>> {
    let removed = queue.expire(now);
    for chunk in &removed {
        margins.observe(chunk.estimate.seconds, now.saturating_sub(chunk.estimate.admitted), now);
    }
    removed
}
