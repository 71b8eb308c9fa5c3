//! The handle that callers hold.
//!
//! Invariant: the stages outlive every handle and admission, and end, dropping the
//! backends, once the last is gone and everything admitted is answered.

use std::{
    fmt,
    sync::{Arc, mpsc},
    thread,
};

use tokio::{
    runtime,
    sync::{oneshot, watch},
    time::Instant,
};

use crate::{
    backend::Backend,
    config::{SchedulerConfig, SchedulerConfigError, StartError},
    counters::Counts,
    handle::Admission,
    load::LoadSnapshot,
    request::{Refusal, Request},
    shared::{DevicesHealth, DrainOnDrop, Shared},
    stage::{answer, device::DeviceThread, prepare},
};

/// One queue before one or more devices, each on a thread of its own. Clones share
/// it; when the last is dropped what was admitted is still answered, then the threads end.
pub struct Scheduler<B: Backend> {
    name: Arc<str>,
    handle: Arc<DrainOnDrop<B>>,
}

impl<B: Backend> Scheduler<B> {
    /// Starts the threads, makes one backend with each of `makers` on a thread of its
    /// own, and waits for that. A maker is called again if its device is lost.
    /// `name` is for logs and the threads' names.
    ///
    /// # Errors
    /// When the limits cannot be, no thread can be had, or a maker fails or panics.
    pub async fn start<E, F>(name: &str, config: SchedulerConfig, makers: Vec<F>) -> Result<Self, StartError<E>>
    where
        E: fmt::Display + Send + 'static,
        F: FnMut() -> Result<B, E> + Send + 'static,
    {
        config.validate()?;
        if makers.is_empty() {
            return Err(SchedulerConfigError::NoDevice.into());
        }
        let shared = Arc::new(Shared::new(config, makers.len()));
        // Made before waiting: if this future is dropped, the threads end too.
        let handle = Arc::new(DrainOnDrop { shared: Arc::clone(&shared) });
        let clock = runtime::Handle::try_current().ok();
        let spawn = |stage: String, run: Box<dyn FnOnce() + Send>| {
            let (span, clock) = (tracing::info_span!("scheduler", name), clock.clone());
            let body = move || {
                // Lends the runtime's clock, which tests may pause.
                let _clock = clock.as_ref().map(runtime::Handle::enter);
                span.in_scope(run);
            };
            let name = format!("sortie-{}-{stage}", name.replace('\0', ""));
            thread::Builder::new().name(name).spawn(body).map_err(StartError::Thread)
        };
        let (answers, answered) = mpsc::sync_channel(makers.len());
        let of_answer = Arc::clone(&shared);
        spawn(
            "answer".to_owned(),
            Box::new(move || {
                answer::run(&of_answer, &answered);
                of_answer.ended();
            }),
        )?;
        let mut starting = Vec::new();
        for (index, make) in makers.into_iter().enumerate() {
            let (batches, received) = mpsc::sync_channel(1);
            let (ready, made) = oneshot::channel();
            let device =
                DeviceThread { shared: Arc::clone(&shared), index, make, batches: received, answers: answers.clone() };
            spawn(format!("device-{index}"), Box::new(move || device.run(ready)))?;
            starting.push((index, batches, made));
        }
        drop(answers);
        for (index, batches, made) in starting {
            let host = made.await.unwrap_or_else(|_| Err(StartError::Panicked("the thread ended".to_owned())))?;
            let shared = Arc::clone(&shared);
            spawn(format!("prepare-{index}"), Box::new(move || prepare::run(&shared, index, &host, &batches)))?;
        }
        Ok(Self { name: name.into(), handle })
    }

    /// The name it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reserves room for a chunk of an estimated size. Never waits. Dropping the
    /// admission gives the room back.
    ///
    /// # Errors
    /// A [`Refusal`] when draining, when no device is left, when the queue has no
    /// room, or when the answer would come after the deadline.
    pub fn admit(&self, request: Request<Instant>) -> Result<Admission<B>, Refusal> {
        let (id, chunk, answer) = self.handle.shared.admit(request)?;
        Ok(Admission::new(Arc::clone(&self.handle), request, id, chunk, answer))
    }

    /// Whether such a chunk would be refused now, so that no work is put into it before it is admitted. Reserves
    /// nothing; a refusal counts, as one by [`Scheduler::admit`] does.
    ///
    /// # Errors
    /// As [`Scheduler::admit`].
    pub fn admissible(&self, request: &Request<Instant>) -> Result<(), Refusal> {
        self.handle.shared.admissible(request)
    }

    /// The load now. Takes no lock.
    #[must_use]
    pub fn load(&self) -> LoadSnapshot {
        self.handle.shared.load()
    }

    /// What happened so far. Takes no lock.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.handle.shared.counters.read()
    }

    /// Whether work is taken, and every change of that.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<DevicesHealth> {
        self.handle.shared.health()
    }

    /// Forgets what batches cost: the first ones of a device, which allocate and
    /// compile, tell nothing of the later ones.
    pub fn reset_cost_model(&self) {
        self.handle.shared.reset_cost_model();
    }

    /// Admits no more; what was admitted is finished, then the backends are dropped.
    pub fn drain(&self) {
        self.handle.shared.drain();
    }

    /// True once everything admitted is answered and the backends are dropped: after a
    /// [`drain`](Self::drain), or when no device is left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        *self.handle.shared.over().borrow()
    }

    /// Waits until [`is_drained`](Self::is_drained); for ever, if nobody drains.
    pub async fn drained(&self) {
        // An error means the sender is gone, which `self` rules out.
        let _ = self.handle.shared.over().wait_for(|over| *over).await;
    }
}

impl<B: Backend> Clone for Scheduler<B> {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), handle: Arc::clone(&self.handle) }
    }
}

impl<B: Backend> fmt::Debug for Scheduler<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("name", &self.name).field("load", &self.load()).finish_non_exhaustive()
    }
}
