//! The one thread that makes, runs and drops a device's backend.
//!
//! Invariants: a backend never leaves this thread; a panic in it costs the item at
//! fault its answer and no other; a lost device's backend is made anew at most once
//! in [`REBUILD_TERM`]; what a lost device leaves behind is another device's, where one works; when the thread ends,
//! nobody is left waiting for it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    AnsweredBatch, DeviceBatch, HostSlot, ItemGroup,
    bisect::{BisectFailure, bisect, live_items},
    guard, message,
    prepare::prepare,
};
use crate::{
    backend::{Backend, HostSide as _, RunError},
    config::StartError,
    core::BatchOutcome,
    outcome::{BatchRecord, ChunkError},
    shared::{FormedBatch, Shared, tokens},
};

/// A backend that is lost again this soon after it was made anew is given up:
/// the process should end and be started on another device.
const REBUILD_TERM: Duration = Duration::from_secs(60);

/// Between two looks at whether a batch is still being prepared for a lost device; it may turn out to be empty.
const STILL_PREPARING: Duration = Duration::from_millis(1);

/// Tells where a started device's host side is, or why there is none.
pub(crate) type StartedSender<B, E> = oneshot::Sender<Result<Arc<HostSlot<B>>, StartError<E>>>;

/// What a device's thread works with.
pub(crate) struct DeviceThread<B: Backend, F> {
    pub(crate) shared: Arc<Shared<B>>,
    pub(crate) index: usize,
    pub(crate) make: F,
    pub(crate) batches: Receiver<DeviceBatch<B>>,
    pub(crate) answers: SyncSender<AnsweredBatch<B>>,
}

/// Groups that are answered, and items that were lost with the device, with why.
type BisectedBatch<B> = (Vec<ItemGroup<B>>, Option<(FormedBatch<B>, String)>);

/// Whether a device goes on.
enum DeviceStatus<B: Backend> {
    Alive,
    /// With items that it owes an answer.
    Lost(FormedBatch<B>),
}

impl<B: Backend, F> DeviceThread<B, F> {
    /// The thread's whole life.
    pub(crate) fn run<E: std::fmt::Display>(mut self, ready: StartedSender<B, E>)
    where
        F: FnMut() -> Result<B, E>,
    {
        let (mut backend, slot) = match self.make() {
            Ok((backend, host)) => {
                let slot = Arc::new(HostSlot::new(host));
                // If nobody waits, the last handle is gone too and no batch will come.
                drop(ready.send(Ok(Arc::clone(&slot))));
                (backend, slot)
            }
            Err(error) => {
                // Whoever started this may have gone; then nobody needs to know.
                drop(ready.send(Err(error)));
                return;
            }
        };
        let mut rebuilt: Option<Instant> = None;
        while let Ok(next) = self.batches.recv() {
            let DeviceStatus::Lost(items) = self.serve(&mut backend, &slot, next) else { continue };
            self.shared.device_lost(self.index);
            self.shared.hand_on_lost(items);
            self.hand_on_prepared();
            let again = rebuilt.is_some_and(|at| at.elapsed() < REBUILD_TERM);
            drop(backend);
            if again {
                tracing::error!(device = self.index, "the device was lost again; it is given up");
                return self.retire();
            }
            match self.make() {
                Ok((anew, host)) => {
                    tracing::warn!(device = self.index, "the device was lost; its backend was made anew");
                    backend = anew;
                    slot.replace(host);
                    rebuilt = Some(Instant::now());
                    self.shared.device_back(self.index);
                }
                Err(error) => {
                    tracing::error!(device = self.index, %error, "the lost device's backend cannot be made anew");
                    return self.retire();
                }
            }
        }
    }

    fn make<E>(&mut self) -> Result<(B, Arc<B::Host>), StartError<E>>
    where
        F: FnMut() -> Result<B, E>,
    {
        let made = catch_unwind(AssertUnwindSafe(|| {
            let backend = (self.make)()?;
            let host = backend.host();
            Ok((backend, host))
        }));
        made.map_err(|panic| StartError::Panicked(message(&*panic)))?.map_err(StartError::Make)
    }

    /// Runs one batch and sends its answers on.
    fn serve(&self, backend: &mut B, slot: &HostSlot<B>, next: DeviceBatch<B>) -> DeviceStatus<B> {
        let DeviceBatch { batch, prepared, backend: prepared_for, took } = next;
        let unwanted = batch.len() - live_items::<B>(&batch);
        if unwanted == batch.len() {
            self.shared.counters.items_dropped_formed.add(unwanted as u64);
            self.shared.finished(self.index, BatchOutcome::Otherwise);
            return DeviceStatus::Alive;
        }
        let (present, host) = slot.get();
        let prepared = if prepared_for == present { prepared } else { prepare(&self.shared, &host, &batch) };
        self.shared.started(self.index, &batch, took);
        let started = Instant::now();
        let ran = prepared.map_err(RunError::Failed).and_then(|prepared| self.attempt(backend, prepared));
        let whole = ran.is_ok();
        let (groups, lost) = match ran {
            Ok(raw) => (vec![ItemGroup { items: batch, raw: Ok(raw) }], None),
            Err(RunError::DeviceLost(why)) => (Vec::new(), Some((batch, why))),
            Err(error) => self.run_in_groups(backend, &host, batch, error),
        };
        let took = started.elapsed();
        let ran = if whole { BatchOutcome::Whole(took) } else { BatchOutcome::Otherwise };
        self.shared.finished(self.index, ran);
        let tokens = groups.iter().map(|group| crate::shared::tokens(&group.items)).sum::<u64>();
        let work = groups.iter().flat_map(|group| &group.items).map(|item| item.work).sum();
        let record = BatchRecord { duration: took, tokens: usize::try_from(tokens).unwrap_or(usize::MAX), work };
        if !groups.is_empty()
            && let Err(unsent) = self.answers.send(AnsweredBatch { groups, host, started, record })
        {
            // The answer thread is restarted on a panic; without it nobody can be answered.
            for group in unsent.0.groups {
                self.shared.fail_batch(group.items, ChunkError::BackendGone);
            }
        }
        match lost {
            None => DeviceStatus::Alive,
            Some((items, why)) => {
                tracing::error!(device = self.index, why, "the device is lost");
                DeviceStatus::Lost(items)
            }
        }
    }

    /// One run. A panic is a failure.
    fn attempt(
        &self,
        backend: &mut B,
        prepared: crate::backend::PreparedOf<B>,
    ) -> Result<crate::backend::RawOf<B>, RunError> {
        guard(&self.shared.counters.panics_run, "device", || backend.run(prepared))
            .unwrap_or_else(|why| Err(RunError::Failed(why)))
    }

    /// Runs a failed batch in groups.
    fn run_in_groups(
        &self,
        backend: &mut B,
        host: &Arc<B::Host>,
        batch: FormedBatch<B>,
        error: RunError,
    ) -> BisectedBatch<B> {
        let counters = &self.shared.counters;
        counters.batches_failed.one();
        tracing::warn!(items = batch.len(), tokens = tokens(&batch), %error, "a batch failed; it is run in groups");
        let run = |group: &FormedBatch<B>| {
            let prepared = prepare(&self.shared, host, group).map_err(RunError::Failed)?;
            self.attempt(backend, prepared)
        };
        let result = bisect(batch, error, run, |tokens| self.shared.out_of_memory(self.index, tokens));
        let groups = result.groups.into_iter().map(|(items, raw)| {
            let raw = raw.map_err(|failure| {
                counters.poisoned.add(items.len() as u64);
                match failure {
                    BisectFailure::Alone(why) => {
                        self.strike(host, &items);
                        why
                    }
                    BisectFailure::TooLarge(why) | BisectFailure::All(why) => why,
                }
            });
            ItemGroup { items, raw }
        });
        (groups.collect(), result.lost)
    }

    /// Remembers items that failed alone.
    fn strike(&self, host: &Arc<B::Host>, items: &FormedBatch<B>) {
        for item in items {
            let print = guard(&self.shared.counters.panics_run, "device", || host.fingerprint(&item.item.input));
            if let Ok(Some(print)) = print {
                self.shared.quarantine.lock().strike(print, Instant::now());
            }
        }
    }

    /// Making a device anew takes seconds: other devices take what was prepared for it meanwhile.
    fn hand_on_prepared(&self) {
        while self.shared.keeps_from_others(self.index) {
            match self.batches.recv_timeout(STILL_PREPARING) {
                Ok(next) => {
                    self.shared.finished(self.index, BatchOutcome::Otherwise);
                    self.shared.hand_on(next.batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// This device is gone for good.
    fn retire(self) {
        self.shared.retire(self.index);
        // What was prepared for it.
        while let Ok(next) = self.batches.recv() {
            self.shared.hand_on(next.batch);
        }
    }
}
