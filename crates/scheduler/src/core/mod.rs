//! The scheduler without threads, clocks or sockets: events and the current
//! instant go in, batches and reports come out. [`Scheduler`](crate::Scheduler)
//! drives it from threads, a simulation drives it in virtual time.
//!
//! ```text
//! admit ─▶ push… ─▶ close          a part: reserved, streamed in, complete
//!            │
//! poll(device) ─▶ Batch            sealed late, as the device is about to be free
//!            │
//! started ─▶ finished              the device ran it
//! ```
//!
//! Time is the duration since an origin of the driver's choice; it must not go back.
//!
//! Invariants: a unit leaves once, in one batch or with its part; nothing of a
//! cancelled or expired part leaves in a batch; a batch never exceeds its token
//! budget unless it is one single unit.

mod cost;
mod device;
mod form;
mod margins;
mod queue;
mod rates;
mod tenants;
mod wait;

use std::time::Duration;

pub use cost::{Cost, DEFAULT_BATCH_COST, DEFAULT_KNEE_TOKENS, DEFAULT_TOKEN_COST};
pub(crate) use device::{Device, STALE};
use margins::Margins;
use queue::Queue;
pub use queue::{Gone, PartId, Taken};

use crate::{
    config::SchedulerConfig,
    load::{DeviceGauge, LoadSnapshot, snapshot},
    request::{Refusal, Request, Unit},
};

/// Time since the driver's origin.
pub type At = Duration;

/// Longest that an idle device holds what is ready back for siblings that are
/// still being tokenized. The gain is one batch's fixed cost at most, so the
/// wait is bounded by that cost too.
const MAX_HOLD: Duration = Duration::from_millis(5);

/// Weight of a part in the running mean of their sizes.
const SIZE_WEIGHT: f64 = 0.05;

/// What a device shall do.
#[derive(Debug)]
pub enum Turn<I> {
    /// Prepare and run these units, longest first.
    Batch(Vec<Taken<I>>),
    /// Nothing yet. Poll again after any event, and at that instant if there is one.
    Wait(Option<At>),
}

/// Answer to [`Core::poll`].
#[derive(Debug)]
pub struct Polled<K, I> {
    /// Parts whose deadline came; they are forgotten.
    pub expired: Vec<Gone<K, I>>,
    /// What the device shall do.
    pub turn: Turn<I>,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It ran whole and took so long: the cost is learnt from it.
    Whole(Duration),
    /// It failed, was cut up or was skipped: nothing is learnt.
    Otherwise,
}

/// The queue before some devices, and what is known of them. `K` names a part to
/// the driver, `I` is a unit of work.
#[derive(Debug)]
pub struct Core<K, I> {
    config: SchedulerConfig,
    epoch: u64,
    queue: Queue<K, I>,
    devices: Vec<Device>,
    /// By how much estimates of a part's end were outlasted.
    margins: Margins,
    /// Running mean of the tokens of parts.
    usual_tokens: f64,
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
            queue: Queue::new(),
            devices: (0..devices.max(1)).map(|_| Device::new(budget)).collect(),
            margins: Margins::default(),
            usual_tokens: 0.0,
            draining: false,
            config,
        }
    }

    /// Reserves room for a part, or says why not. It counts as queued from now on.
    ///
    /// # Errors
    /// A [`Refusal`] when draining or dead, when the queue has no room, when the estimated end is past the deadline, or
    /// when the wait is longer than a standing queue may make it.
    pub fn admit(&mut self, now: At, request: Request<At>, key: K) -> Result<PartId, Refusal> {
        self.usual_tokens += SIZE_WEIGHT * (request.tokens as f64 - self.usual_tokens);
        self.admissible(now, &request)?;
        let promise = Promise { admitted: now, seconds: self.end_seconds(now, &request) };
        let work = secs(self.own_seconds(request.tokens));
        let small = self.budget() / form::SMALL_SHARE;
        Ok(self.queue.open(request, key, queue::Entry { promise, work, small }))
    }

    /// Adds units to a part, in place of as many reserved tokens. `at` is the
    /// index of the first one in the part. Units of a part that is gone come back.
    pub fn push(&mut self, id: PartId, at: usize, units: Vec<Unit<I>>) -> Vec<Unit<I>> {
        self.queue.push(id, at, units)
    }

    /// No more units of this part will come; what is still reserved is given back.
    pub fn close(&mut self, id: PartId) {
        self.queue.close(id);
    }

    /// Forgets a part, wherever it is; its units in a sealed batch stay there.
    pub fn cancel(&mut self, id: PartId) -> Option<Gone<K, I>> {
        self.queue.remove(id)
    }

    /// Forgets the parts whose deadline has come.
    pub fn expire(&mut self, now: At) -> Vec<Gone<K, I>> {
        expire(&mut self.queue, &mut self.margins, now)
    }

    /// Forgets everything, for a driver that has no device left.
    pub fn clear(&mut self) -> Vec<Gone<K, I>> {
        self.queue.clear()
    }

    /// What `device` shall do now. A batch that is handed out counts as sealed until
    /// [`started`](Self::started); a device has at most one sealed and one running batch.
    pub fn poll(&mut self, now: At, device: usize) -> Polled<K, I> {
        let free = self.devices.iter().filter(|d| d.is_free()).count().max(1);
        let alive = self.alive();
        let Some(dev) = self.devices.get_mut(device).filter(|d| d.may_seal()) else {
            let expired = expire(&mut self.queue, &mut self.margins, now);
            return Polled { expired, turn: Turn::Wait(self.queue.next_deadline()) };
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
            for part in self.queue.doomed(starts, cost, dev.budget, alive) {
                self.margins.observe(part.promise.seconds, Duration::MAX, now);
                expired.push(part);
            }
        }
        let wake = |at: Option<At>| Turn::Wait([at, self.queue.next_deadline()].into_iter().flatten().min());
        let ready = self.queue.tokens();
        if ready == 0 {
            dev.held_since = None;
            return Polled { expired, turn: wake(None) };
        }
        if seal_at > now {
            return Polled { expired, turn: wake(Some(seal_at)) };
        }
        let knee = dev.fit.knee(dev.budget);
        if ready < u64::from(knee) && self.queue.reserved() > 0 {
            // Siblings are being tokenized: a running batch hides the wait, an idle
            // device waits for as long as a second batch would cost more.
            let until = if dev.is_running() {
                Some(starts).filter(|at| *at > now)
            } else {
                let since = *dev.held_since.get_or_insert(now);
                Some(since + secs(cost.a).min(MAX_HOLD))
            };
            match until {
                Some(at) if at <= now => {}
                // An overdue batch has no end to wait for: its end is an event.
                until => return Polled { expired, turn: wake(until) },
            }
        }
        dev.held_since = None;
        // Devices that are free at once share what waits, in pieces worth a batch.
        let share = usize::try_from(ready.div_ceil(free as u64)).unwrap_or(usize::MAX);
        let budget = dev.budget.min(share.max(knee as usize)).max(1);
        let sealing = form::Sealing { starts, budget, cost: dev.careful_cost(now), knee: knee as usize };
        let form::Formed { units, complete } = self.queue.form(sealing);
        dev.seal(&units, complete);
        Polled { expired, turn: Turn::Batch(units) }
    }

    /// The sealed batch of `device` starts to run; preparing it took `prepared`.
    pub fn started(&mut self, now: At, device: usize, prepared: Duration) {
        if let Some(dev) = self.devices.get_mut(device) {
            dev.start(now, prepared);
        }
    }

    /// The running batch of `device` ended (or its sealed one, if it never started).
    pub fn finished(&mut self, now: At, device: usize, ran: Ran) {
        if let Some(dev) = self.devices.get_mut(device) {
            for promise in dev.stop(now, ran) {
                self.margins.observe(promise.seconds, now.saturating_sub(promise.admitted), now);
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
    pub fn relearn(&mut self) {
        for dev in &mut self.devices {
            dev.relearn();
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
        self.queue.tokens() == 0 || self.devices.iter().any(Device::is_free)
    }

    /// The next deadline of any part that is known.
    #[must_use]
    pub fn next_deadline(&self) -> Option<At> {
        self.queue.next_deadline()
    }

    /// Refuses what comes from now on; what was admitted is finished.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// True once draining and no part is known. Batches may still run.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.queue.is_empty()
    }

    /// Tokens admitted and not yet in a running batch.
    #[must_use]
    pub fn queued_tokens(&self) -> u64 {
        let sealed: u64 = self.devices.iter().filter_map(|dev| dev.sealed_tokens()).sum();
        self.queue.tokens() + self.queue.reserved() + sealed
    }

    /// The load now.
    #[must_use]
    pub fn load(&self, now: At) -> LoadSnapshot {
        snapshot(self.epoch, now, self.queued_tokens(), self.gauges())
    }

    /// What is known of each device.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = DeviceGauge> + Clone + '_ {
        self.devices.iter().map(Device::gauge)
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

/// What was estimated of a part as it was admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// When that was.
    pub(crate) admitted: At,
    /// Seconds from then to its answer.
    pub(crate) seconds: f64,
}

/// Forgets the parts whose deadline has come; their estimates were outlasted.
fn expire<K, I>(queue: &mut Queue<K, I>, margins: &mut Margins, now: At) -> Vec<Gone<K, I>> {
    let gone = queue.expire(now);
    for part in &gone {
        margins.observe(part.promise.seconds, now.saturating_sub(part.promise.admitted), now);
    }
    gone
}

/// Seconds as a duration; nonsense is zero, too much is the most there is.
fn secs(seconds: f64) -> Duration {
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX) } else { Duration::ZERO }
}
