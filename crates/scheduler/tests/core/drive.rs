//! A driver in virtual time: devices that take exactly `a + b·work`.

use std::time::Duration;

use sortie_scheduler::{
    At, BatchItem, BatchOutcome, BatchRecord, ChunkId, Core, Cost, DeviceAction, Lane, Priority, QueuedItem, Refusal,
    Request, SchedulerConfig, Tenant, WorkCurve,
};

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Who an item belongs to: its chunk's key and its index.
pub(crate) type Item = (u64, usize);

/// A batch that was formed.
#[derive(Clone, Debug)]
pub(crate) struct FormedBatchUnits {
    pub(crate) sealed: At,
    pub(crate) started: Option<At>,
    /// When it ends.
    pub(crate) ends: Option<At>,
    pub(crate) device: usize,
    pub(crate) items: Vec<BatchItem<Item>>,
}

impl FormedBatchUnits {
    pub(crate) fn tokens(&self) -> usize {
        self.items.iter().map(|item| item.tokens).sum()
    }

    pub(crate) fn work(&self) -> u64 {
        self.items.iter().map(|item| item.work).sum()
    }

    pub(crate) fn keys(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.items.iter().map(|item| item.item.0).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    pub(crate) fn tokens_of(&self, key: u64) -> usize {
        self.items.iter().filter(|item| item.item.0 == key).map(|item| item.tokens).sum()
    }
}

#[derive(Default)]
struct Device {
    prepared: Option<usize>,
    running: Option<(At, BatchRecord)>,
    wake: Option<At>,
}

/// The core, its devices and everything that came of them.
pub(crate) struct World {
    pub(crate) core: Core<u64, Item>,
    pub(crate) now: At,
    pub(crate) cost: Cost,
    /// Deviation of the logarithm of what batches take.
    pub(crate) noise: f64,
    dice: u64,
    devices: Vec<Device>,
    pub(crate) batches: Vec<FormedBatchUnits>,
    pub(crate) expired: Vec<(u64, At)>,
    next: u64,
}

impl World {
    /// `devices` of this cost, which the core has not measured yet.
    pub(crate) fn cold(budget: usize, devices: usize, cost: Cost) -> Self {
        Self::curved(budget, devices, cost, WorkCurve::STRAIGHT)
    }

    /// The same where long texts count by a curve.
    pub(crate) fn curved(budget: usize, devices: usize, cost: Cost, curve: WorkCurve) -> Self {
        let config = SchedulerConfig { max_batch_tokens: budget, curve, ..SchedulerConfig::default() };
        let idle = (0..devices).map(|_| Device::default()).collect();
        let core = Core::new(config, devices, 1);
        Self {
            core,
            now: At::ZERO,
            cost,
            noise: 0.0,
            dice: 5,
            devices: idle,
            batches: vec![],
            expired: vec![],
            next: 0,
        }
    }

    /// One device whose cost the core knows: a few batches of two sizes ran.
    pub(crate) fn warm(budget: usize, cost: Cost) -> Self {
        let mut world = Self::cold(budget, 1, cost);
        for i in 0..40 {
            let tokens = if i % 2 == 0 { budget } else { budget / 2 };
            world.whole(Request::of(tokens as u64), &vec![1; tokens]).unwrap();
            world.idle();
        }
        world.batches.clear();
        world
    }

    /// Admits a chunk; its items are still to come.
    pub(crate) fn admit(&mut self, request: Request<At>) -> Result<(u64, ChunkId), Refusal> {
        let key = self.next;
        let id = self.core.admit(self.now, request, key)?;
        self.next += 1;
        Ok((key, id))
    }

    pub(crate) fn push(&mut self, (key, id): (u64, ChunkId), at: usize, sizes: &[usize]) {
        let items = sizes.iter().enumerate().map(|(i, tokens)| QueuedItem { item: (key, at + i), tokens: *tokens });
        self.core.push(id, at, items.collect());
        self.poll();
    }

    pub(crate) fn close(&mut self, (_, id): (u64, ChunkId)) {
        self.core.close(id);
        self.poll();
    }

    /// Admits and submits a chunk.
    pub(crate) fn whole(&mut self, request: Request<At>, sizes: &[usize]) -> Result<(u64, ChunkId), Refusal> {
        let chunk = self.admit(request)?;
        // PollResult once, as a chunk that is submitted whole would be.
        let items = sizes.iter().enumerate().map(|(i, tokens)| QueuedItem { item: (chunk.0, i), tokens: *tokens });
        self.core.push(chunk.1, 0, items.collect());
        self.close(chunk);
        Ok(chunk)
    }

    pub(crate) fn poll(&mut self) {
        for device in 0..self.devices.len() {
            loop {
                let polled = self.core.poll(self.now, device);
                self.expired.extend(polled.expired.iter().map(|removed| (removed.key, self.now)));
                match polled.action {
                    DeviceAction::Wait(at) => {
                        self.devices[device].wake = at;
                        break;
                    }
                    DeviceAction::Batch(items) => {
                        assert!(!items.is_empty(), "an empty batch");
                        assert!(self.devices[device].prepared.is_none(), "two batches sealed");
                        self.batches.push(FormedBatchUnits {
                            sealed: self.now,
                            started: None,
                            ends: None,
                            device,
                            items,
                        });
                        self.devices[device].prepared = Some(self.batches.len() - 1);
                        self.start(device);
                    }
                }
            }
        }
    }

    fn start(&mut self, device: usize) {
        if self.devices[device].running.is_some() {
            return;
        }
        let Some(batch) = self.devices[device].prepared.take() else { return };
        let (tokens, work) = (self.batches[batch].tokens(), self.batches[batch].work());
        let scatter = (self.noise * self.normal()).exp();
        let duration = Duration::from_secs_f64(self.cost.batch_seconds(work) * scatter);
        self.batches[batch].started = Some(self.now);
        self.batches[batch].ends = Some(self.now + duration);
        self.core.started(self.now, device, Duration::ZERO);
        self.devices[device].running = Some((self.now + duration, BatchRecord { duration, tokens, work }));
    }

    /// A seeded draw, near enough to normal: the sum of twelve even ones.
    fn normal(&mut self) -> f64 {
        let mut even = || {
            self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.dice >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..12).map(|_| even()).sum::<f64>() - 6.0
    }

    fn next_event(&self) -> Option<At> {
        let ends = self.devices.iter().filter_map(|d| d.running.map(|(end, _)| end));
        let wakes = self.devices.iter().filter_map(|d| d.wake);
        ends.chain(wakes.filter(|at| *at > self.now)).min()
    }

    fn step(&mut self, at: At) {
        self.now = at;
        for device in 0..self.devices.len() {
            if let Some((end, record)) = self.devices[device].running
                && end <= at
            {
                self.devices[device].running = None;
                self.core.finished(at, device, BatchOutcome::Whole(record.duration));
                self.start(device);
            }
        }
        self.poll();
    }

    /// Lets time pass until `at`.
    pub(crate) fn advance(&mut self, at: At) {
        while let Some(next) = self.next_event().filter(|next| *next <= at) {
            self.step(next);
        }
        self.now = self.now.max(at);
        self.poll();
    }

    /// Lets time pass until nothing is left to do.
    pub(crate) fn idle(&mut self) {
        while let Some(next) = self.next_event() {
            self.step(next);
        }
    }
}

/// A request by its lane, attempt, tenant and deadline.
pub(crate) fn ask(tokens: u64, lane: Lane, attempt: u32, tenant: &str, deadline: Option<At>) -> Request<At> {
    Request { deadline, priority: Priority { lane, attempt }, tenant: Tenant::named(tenant), ..Request::of(tokens) }
}
