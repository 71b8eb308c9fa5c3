//! Getting in: what a caller asks for, why it may be refused, and the
//! reservation it holds until its part is queued.
//!
//! Invariant: the tokens of an [`Admission`] count as queued until it is
//! submitted, when the true ones take their place, or dropped.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{backend::Backend, scheduler::Handle, ticket::Ticket};

/// Whom a part serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Someone waits for it.
    #[default]
    Interactive,
    /// Background work, served after interactive parts.
    Bulk,
}

/// Where a part stands in the queue, its deadline aside.
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

/// One unit of work and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit<I> {
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
    /// The deadline would pass in the queue.
    #[error("work would start in {} ms but its deadline is in {} ms", wait.as_millis(), remaining.as_millis())]
    TooLate {
        /// Estimated time to its start.
        wait: Duration,
        /// Time to its deadline.
        remaining: Duration,
    },
    /// More than the queue could ever hold.
    #[error("{tokens} tokens are more than the queue's {limit}")]
    TooLarge {
        /// Tokens asked for.
        tokens: u64,
        /// Most that may wait.
        limit: u64,
    },
    /// The scheduler finishes what it has and takes no more.
    #[error("the scheduler is draining")]
    Draining,
}

/// Room in the queue, held until submitted or dropped.
pub struct Admission<B: Backend> {
    handle: Arc<Handle<B>>,
    tokens: u64,
    deadline: Option<Instant>,
    held: bool,
}

impl<B: Backend> Admission<B> {
    /// Wraps a reservation that was just made.
    pub(crate) fn new(handle: Arc<Handle<B>>, tokens: u64, deadline: Option<Instant>) -> Self {
        Self { handle, tokens, deadline, held: true }
    }

    /// Estimated tokens that are reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// When the work expires.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Queues a part; its true tokens replace the reserved ones. The ticket of a
    /// part of no units is ready at once.
    #[must_use = "a dropped ticket cancels its part"]
    pub fn submit(mut self, units: Vec<Unit<B::Item>>, priority: Priority) -> Ticket<B> {
        self.held = false;
        let shared = &self.handle.shared;
        let (id, answer) = shared.submit(self.tokens, self.deadline, priority, units);
        Ticket::new(Arc::clone(shared), id, answer)
    }
}

impl<B: Backend> Drop for Admission<B> {
    fn drop(&mut self) {
        if self.held {
            self.handle.shared.release(self.tokens);
        }
    }
}

impl<B: Backend> fmt::Debug for Admission<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handle: _, tokens, deadline, held: _ } = self;
        f.debug_struct("Admission").field("tokens", tokens).field("deadline", deadline).finish_non_exhaustive()
    }
}
