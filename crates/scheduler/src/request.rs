//! What a caller asks for and why it may be refused. Plain data.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use sortie_work::{Amount, Lane};

/// Where a chunk stands in the queue, its deadline aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// Whom it serves.
    pub lane: Lane,
    /// 1 for the first attempt; greater ones are hedges or retries and go later.
    pub attempt: u32,
}

impl Default for Priority {
    fn default() -> Self {
        Self { lane: Lane::Interactive, attempt: 1 }
    }
}

/// Who pays: tenants that wait at once share the device evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(u64);

impl Tenant {
    /// The tenant of that name; the empty name is everybody without one. Names
    /// are hashed: two that collide share one tenant's share.
    #[must_use]
    pub fn named(name: &str) -> Self {
        if name.is_empty() {
            return Self::default();
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What a chunk asks for. `T` is an instant: the runtime's in a
/// [`Scheduler`](crate::Scheduler), time since its origin in a [`Core`](crate::Core).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<T> {
    /// Estimated tokens; the true ones replace them as items are pushed.
    pub tokens: u64,
    /// The work that they are, by the [curve](sortie_work::WorkCurve) that the scheduler was started with.
    pub work: u64,
    /// When its answer is worthless.
    pub deadline: Option<T>,
    /// Its lane and attempt.
    pub priority: Priority,
    /// Whose share it draws on.
    pub tenant: Tenant,
}

impl<T> Request<T> {
    /// A first, interactive attempt of nobody in particular, without a deadline, of short texts.
    #[must_use]
    pub fn of(tokens: u64) -> Self {
        Self::of_work(Amount { tokens, work: tokens })
    }

    /// The same of texts whose tokens are so much work.
    #[must_use]
    pub fn of_work(Amount { tokens, work }: Amount) -> Self {
        Self { tokens, work, deadline: None, priority: Priority::default(), tenant: Tenant::default() }
    }

    /// Its tokens and their work, which is never less.
    pub(crate) fn amount(&self) -> Amount {
        Amount { tokens: self.tokens, work: self.work.max(self.tokens) }
    }

    /// The same on another clock.
    pub(crate) fn map<U>(self, clock: impl FnOnce(T) -> U) -> Request<U> {
        let Self { tokens, work, deadline, priority, tenant } = self;
        Request { tokens, work, deadline: deadline.map(clock), priority, tenant }
    }
}

/// One item and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedItem<I> {
    /// What the backend gets.
    pub item: I,
    /// Its tokens; zero counts as one.
    pub tokens: usize,
}

/// Why work was not admitted. Nothing was queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The queue holds all the tokens it may.
    #[error("the queue is full: {queued} of {limit} tokens wait; retry in {} ms", retry_after.as_millis())]
    QueueFull {
        /// Tokens that wait.
        queued: u64,
        /// Most that may.
        limit: u64,
        /// When there should be room.
        retry_after: Duration,
    },
    /// The deadline would pass before the answer, or the wait takes too much of the time that is left.
    #[error("work would end in {} ms but its deadline is in {} ms", wait.as_millis(), remaining.as_millis())]
    TooLate {
        /// Estimated time to its end.
        wait: Duration,
        /// Of that, the time that work ahead of it takes.
        queue: Duration,
        /// Time to its deadline.
        remaining: Duration,
        /// When the same request may be admitted; `None` where waiting cannot help.
        retry_after: Option<Duration>,
    },
    /// A chunk without a deadline would wait longer than a queue may make it.
    #[error("work would wait for {} ms, at most {} ms are allowed; retry in {} ms", wait.as_millis(), limit.as_millis(), retry_after.as_millis())]
    WaitTooLong {
        /// Estimated time to its start.
        wait: Duration,
        /// Longest that it may be now.
        limit: Duration,
        /// When the queue should be short enough.
        retry_after: Duration,
    },
    /// More than the queue could ever hold.
    #[error("{tokens} tokens are more than the queue's {limit}")]
    TooLarge {
        /// Tokens asked for.
        tokens: u64,
        /// Most that may wait.
        limit: u64,
    },
    /// As many chunks as may be known at once.
    #[error("{limit} chunks wait, which is all that may; retry in {} ms", retry_after.as_millis())]
    TooManyChunks {
        /// Most that may.
        limit: usize,
        /// When there should be room.
        retry_after: Duration,
    },
    /// The scheduler finishes what it has and takes no more.
    #[error("the scheduler is draining")]
    Draining,
    /// Every device is lost: for good, or until its backend is made anew.
    #[error("no device takes work")]
    NoDevice,
}
