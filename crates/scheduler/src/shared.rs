//! What callers and the owner thread share: the queue, the answers that are
//! owed, the reservations, and the load cell.
//!
//! Lock rule: one short lock around all of it; nothing of a caller's (items,
//! outputs, wakers) is dropped or called while it is held. The load cell is
//! written under the lock and read without it.
//!
//! Invariant: `gauge.queued` = reserved tokens + tokens in the queue.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use crate::{
    admission::{Priority, Refusal, Unit},
    backend::Backend,
    config::SchedulerConfig,
    cost::CostFit,
    load::{Gauge, LoadCell, LoadSnapshot},
    progress::{Owed, Progress, send},
    queue::{Part, PartId, Queue, Taken},
    ticket::{Answer, BatchRecord, PartError},
};

/// What one batch gave, or nothing if the backend failed under it.
pub(crate) type BatchOutputs<B> = Option<Vec<Result<<B as Backend>::Output, <B as Backend>::Fault>>>;

struct State<B: Backend> {
    queue: Queue<B::Item>,
    parts: HashMap<PartId, Progress<B>>,
    fit: CostFit,
    gauge: Gauge,
    reserved: u64,
    admissions: usize,
    next_id: PartId,
    draining: bool,
    gone: bool,
}

pub(crate) struct Shared<B: Backend> {
    config: SchedulerConfig,
    origin: Instant,
    epoch: u64,
    state: Mutex<State<B>>,
    work: Condvar,
    load: LoadCell,
    drained: watch::Sender<bool>,
}

impl<B: Backend> Shared<B> {
    pub(crate) fn new(config: SchedulerConfig) -> Self {
        let origin = Instant::now();
        let gauge = Gauge::new(0);
        let state = State {
            queue: Queue::new(origin),
            parts: HashMap::new(),
            fit: CostFit::default(),
            gauge,
            reserved: 0,
            admissions: 0,
            next_id: 0,
            draining: false,
            gone: false,
        };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            config,
            origin,
            epoch: u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX),
            state: Mutex::new(state),
            work: Condvar::new(),
            load: LoadCell::new(&gauge),
            drained: watch::Sender::new(false),
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }

    fn publish(&self, state: &mut MutexGuard<'_, State<B>>) {
        state.gauge.queued = state.reserved + state.queue.tokens();
        self.load.publish(&state.gauge);
    }

    pub(crate) fn load(&self) -> LoadSnapshot {
        self.load.read().snapshot(self.epoch, self.nanos(Instant::now()), self.config.max_batch_tokens)
    }

    /// Reserves `tokens`, or says why not.
    pub(crate) fn admit(&self, tokens: u64, deadline: Option<Instant>) -> Result<(), Refusal> {
        let limit = self.config.max_queue_tokens;
        let budget = self.config.max_batch_tokens;
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.draining {
            return Err(Refusal::Draining);
        }
        if tokens > limit {
            return Err(Refusal::TooLarge { tokens, limit });
        }
        let gauge = state.gauge;
        let queued = gauge.queued;
        let wait = Duration::try_from_secs_f64(gauge.wait(self.nanos(now), budget)).unwrap_or(Duration::MAX);
        if let Some(deadline) = deadline {
            let remaining = deadline.saturating_duration_since(now);
            // A cost that was never measured is no ground to refuse.
            if remaining.is_zero() || (gauge.cost.measured && wait > remaining) {
                return Err(Refusal::TooLate { wait, remaining });
            }
        }
        let excess = queued.saturating_add(tokens).saturating_sub(limit);
        if excess > 0 {
            // Room comes when the excess has gone into a batch.
            let after = wait.as_secs_f64() * excess.min(queued) as f64 / queued.max(1) as f64;
            let retry_after = Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX);
            return Err(Refusal::QueueFull { queued, limit, retry_after });
        }
        state.reserved += tokens;
        state.admissions += 1;
        self.publish(&mut state);
        Ok(())
    }

    fn unreserve(&self, state: &mut MutexGuard<'_, State<B>>, tokens: u64) {
        state.reserved = state.reserved.saturating_sub(tokens);
        state.admissions = state.admissions.saturating_sub(1);
        self.publish(state);
        // The owner may have been waiting for the last admission to end.
        self.work.notify_one();
    }

    /// Gives a reservation back.
    pub(crate) fn release(&self, tokens: u64) {
        self.unreserve(&mut self.state.lock(), tokens);
    }

    /// Queues a part in place of a reservation.
    pub(crate) fn submit(
        &self,
        reserved: u64,
        deadline: Option<Instant>,
        priority: Priority,
        units: Vec<Unit<B::Item>>,
    ) -> (PartId, oneshot::Receiver<Answer<B>>) {
        let count = units.len();
        let part = Part::new(priority, deadline, units);
        let (progress, receiver) = Progress::new(count);

        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let mut owed = Vec::new();
        if state.gone {
            owed.push(progress.fail(PartError::BackendGone));
        } else if count == 0 {
            owed.push(progress.complete());
        } else {
            state.queue.push(id, part);
            state.parts.insert(id, progress);
        }
        self.unreserve(&mut state, reserved);
        drop(state);
        send::<B>(owed);
        (id, receiver)
    }

    /// Forgets a part whose ticket was dropped.
    pub(crate) fn cancel(&self, id: PartId) {
        let mut state = self.state.lock();
        let part = state.queue.cancel(id);
        let progress = state.parts.remove(&id);
        self.publish(&mut state);
        drop(state);
        drop((part, progress));
    }

    /// Refuses what comes from now on.
    pub(crate) fn drain(&self) {
        self.state.lock().draining = true;
        self.work.notify_one();
    }

    pub(crate) fn is_drained(&self) -> bool {
        *self.drained.borrow()
    }

    pub(crate) async fn drained(&self) {
        // An error means the sender is gone, which `self` rules out.
        let _ = self.drained.subscribe().wait_for(|drained| *drained).await;
    }

    /// The owner's: waits for work and takes the next batch. `None` once drained.
    pub(crate) fn next_batch(&self) -> Option<Vec<Taken<B::Item>>> {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let expired = state.queue.expire(now);
            if !expired.is_empty() {
                let owed = expired
                    .iter()
                    .filter_map(|(id, _)| Some(state.parts.remove(id)?.fail(PartError::Expired)))
                    .collect();
                self.publish(&mut state);
                MutexGuard::unlocked(&mut state, || {
                    send::<B>(owed);
                    drop(expired);
                });
                continue;
            }
            let token_cost = Duration::try_from_secs_f64(state.gauge.cost.b).unwrap_or(Duration::MAX);
            let batch = state.queue.next_batch(self.config.max_batch_tokens, token_cost);
            if !batch.is_empty() {
                for unit in &batch {
                    if let Some(progress) = state.parts.get_mut(&unit.part) {
                        progress.start(now);
                    }
                }
                let tokens = batch.iter().map(|unit| unit.tokens as u64).sum();
                state.gauge.start(self.nanos(now), tokens);
                self.publish(&mut state);
                return Some(batch);
            }
            if state.draining && state.admissions == 0 {
                return None;
            }
            self.work.wait(&mut state);
        }
    }

    /// The owner's: a batch ended after `took`.
    pub(crate) fn finish(&self, batch: Vec<Taken<B::Item>>, took: Duration, outputs: BatchOutputs<B>) {
        let tokens = batch.iter().map(|unit| unit.tokens).sum();
        let record = BatchRecord { duration: took, tokens };
        let riders: BTreeSet<PartId> = batch.iter().map(|unit| unit.part).collect();
        let now = self.nanos(Instant::now());
        let mut owed: Vec<Owed<B>> = Vec::new();
        let mut unwanted = Vec::new();
        let mut leftover = Vec::new();

        let mut state = self.state.lock();
        state.gauge.stop(now);
        if let Some(outputs) = outputs {
            // A batch of faults alone did not do the work it was asked.
            if outputs.iter().any(Result::is_ok) {
                state.fit.observe(tokens as u64, took);
                state.gauge.cost = state.fit.cost();
            }
            for (unit, output) in batch.iter().zip(outputs) {
                match state.parts.get_mut(&unit.part) {
                    Some(progress) => progress.put(unit.index, output),
                    None => unwanted.push(output),
                }
            }
            for id in riders {
                if state.parts.get_mut(&id).is_some_and(|progress| progress.end(record)) {
                    owed.extend(state.parts.remove(&id).map(Progress::complete));
                }
            }
        } else {
            for id in riders {
                leftover.extend(state.queue.cancel(id));
                owed.extend(state.parts.remove(&id).map(|progress| progress.fail(PartError::BackendGone)));
            }
        }
        self.publish(&mut state);
        drop(state);
        send::<B>(owed);
        drop((unwanted, leftover, batch));
    }

    /// The owner's last word: the backend is gone, and whatever is owed fails.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.gone = true;
        state.draining = true;
        let parts = std::mem::take(&mut state.parts);
        let queue = std::mem::replace(&mut state.queue, Queue::new(self.origin));
        state.gauge.stop(self.nanos(Instant::now()));
        self.publish(&mut state);
        drop(state);
        send::<B>(parts.into_values().map(|progress| progress.fail(PartError::BackendGone)).collect());
        drop(queue);
        self.drained.send_replace(true);
    }
}
