//! The handle that callers hold.
//!
//! Invariant: the owner thread outlives every handle and admission, and ends,
//! dropping the backend, once the last is gone and everything queued is answered.

use std::{fmt, io, sync::Arc, thread};

use tokio::{runtime, sync::oneshot, time::Instant};

use crate::{
    admission::{Admission, Refusal},
    backend::Backend,
    config::{ConfigError, SchedulerConfig},
    load::LoadSnapshot,
    owner,
    shared::Shared,
};

/// Why a scheduler did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError<E> {
    /// A limit that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gave no thread.
    #[error("no thread for the backend")]
    Thread(#[source] io::Error),
    /// The backend could not be made.
    #[error(transparent)]
    Make(E),
    /// Making the backend panicked.
    #[error("making the backend panicked: {0}")]
    Panicked(String),
}

/// Dropped with the last scheduler or admission.
pub(crate) struct Handle<B: Backend> {
    pub(crate) shared: Arc<Shared<B>>,
}

impl<B: Backend> Drop for Handle<B> {
    fn drop(&mut self) {
        self.shared.drain();
    }
}

/// A backend on a thread of its own and the queue before it. Clones share both;
/// when the last is dropped what was queued is still answered, then the thread ends.
pub struct Scheduler<B: Backend> {
    name: Arc<str>,
    handle: Arc<Handle<B>>,
}

impl<B: Backend> Scheduler<B> {
    /// Starts a thread, makes the backend on it with `make`, and waits for that.
    /// `name` is for logs and the thread's name.
    ///
    /// # Errors
    /// When the limits cannot be, no thread can be had, or `make` fails or panics.
    pub async fn start<E: Send + 'static>(
        name: &str,
        config: SchedulerConfig,
        make: impl FnOnce() -> Result<B, E> + Send + 'static,
    ) -> Result<Self, StartError<E>> {
        config.validate()?;
        let shared = Arc::new(Shared::new(config));
        // Made before waiting: if this future is dropped, the thread ends too.
        let handle = Arc::new(Handle { shared: Arc::clone(&shared) });
        let (ready, made) = oneshot::channel();
        let runtime = runtime::Handle::try_current().ok();
        let span = tracing::info_span!("scheduler", name);
        thread::Builder::new()
            .name(format!("sortie-{}", name.replace('\0', "")))
            .spawn(move || span.in_scope(|| owner::run(shared, make, ready, runtime)))
            .map_err(StartError::Thread)?;
        made.await.unwrap_or_else(|_| Err(StartError::Panicked("the thread ended".to_owned())))?;
        Ok(Self { name: name.into(), handle })
    }

    /// The name it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reserves room for an estimated `tokens`. Never waits. Dropping the
    /// admission gives the room back.
    ///
    /// # Errors
    /// A [`Refusal`] when draining, when the queue has no room, or when the
    /// estimated wait is longer than `deadline` allows.
    pub fn admit(&self, tokens: u64, deadline: Option<Instant>) -> Result<Admission<B>, Refusal> {
        self.handle.shared.admit(tokens, deadline)?;
        Ok(Admission::new(Arc::clone(&self.handle), tokens, deadline))
    }

    /// The load now. Takes no lock.
    #[must_use]
    pub fn load(&self) -> LoadSnapshot {
        self.handle.shared.load()
    }

    /// Admits no more; what was admitted is finished, then the backend is dropped.
    pub fn drain(&self) {
        self.handle.shared.drain();
    }

    /// True once everything admitted is answered and the backend is dropped.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.handle.shared.is_drained()
    }

    /// Waits until [`is_drained`](Self::is_drained); for ever, if nobody drains.
    pub async fn drained(&self) {
        self.handle.shared.drained().await;
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
