//! What a caller holds between being admitted and being queued.
//!
//! Invariant: the tokens of an [`Admission`] count as queued until the true ones
//! take their place or it is dropped; a [`Feed`] that is dropped unclosed fails its part.

use std::{fmt, sync::Arc};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    backend::{Backend, Item},
    core::PartId,
    part::Part,
    request::{Request, Unit},
    scheduler::Handle,
    ticket::{Answer, PartError, Ticket},
};

/// Room in the queue, held until submitted or dropped.
pub struct Admission<B: Backend> {
    request: Request<Instant>,
    feed: Feed<B>,
    answer: oneshot::Receiver<Answer<B>>,
}

impl<B: Backend> Admission<B> {
    /// Wraps a part that was just admitted.
    pub(crate) fn new(
        handle: Arc<Handle<B>>,
        request: Request<Instant>,
        id: PartId,
        part: Arc<Part<B>>,
        answer: oneshot::Receiver<Answer<B>>,
    ) -> Self {
        Self { request, feed: Feed { handle, id, part, closed: false }, answer }
    }

    /// What was asked for.
    #[must_use]
    pub fn request(&self) -> &Request<Instant> {
        &self.request
    }

    /// Queues the whole part; its true tokens replace the reserved ones. The
    /// ticket of a part of no units is ready at once.
    #[must_use = "a dropped ticket cancels its part"]
    pub fn submit(self, units: Vec<Unit<Item<B>>>) -> Ticket<B> {
        let (mut feed, ticket) = self.stream();
        feed.closed = true;
        feed.handle.shared.push(feed.id, &feed.part, 0, units, true);
        ticket
    }

    /// Queues the part piece by piece, as its units become ready.
    #[must_use = "a dropped feed fails its part, a dropped ticket cancels it"]
    pub fn stream(self) -> (Feed<B>, Ticket<B>) {
        let Self { request: _, feed, answer } = self;
        let ticket = Ticket::new(Arc::clone(&feed.handle.shared), feed.id, Arc::clone(&feed.part), answer);
        (feed, ticket)
    }
}

impl<B: Backend> fmt::Debug for Admission<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, feed: _, answer: _ } = self;
        f.debug_struct("Admission").field("request", request).finish_non_exhaustive()
    }
}

/// Puts the units of one part into the queue. Threads may share it.
#[must_use = "a dropped feed fails its part"]
pub struct Feed<B: Backend> {
    handle: Arc<Handle<B>>,
    id: PartId,
    part: Arc<Part<B>>,
    closed: bool,
}

impl<B: Backend> Feed<B> {
    /// Queues units whose indices in the part are `at`, `at + 1`, …; pieces may
    /// come in any order, each index once. Units of a part that is over are dropped.
    pub fn push(&self, at: usize, units: Vec<Unit<Item<B>>>) {
        if !units.is_empty() {
            self.handle.shared.push(self.id, &self.part, at, units, false);
        }
    }

    /// True once the part is cancelled, expired or failed: further work on it is wasted.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.part.is_over()
    }

    /// Every unit was pushed; what is reserved beyond them is given back.
    pub fn close(mut self) {
        self.closed = true;
        self.handle.shared.push(self.id, &self.part, 0, Vec::new(), true);
    }
}

impl<B: Backend> Drop for Feed<B> {
    fn drop(&mut self) {
        if !self.closed {
            self.part.fail(PartError::Abandoned);
            self.handle.shared.abandon(self.id);
        }
    }
}

impl<B: Backend> fmt::Debug for Feed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handle: _, id, part: _, closed } = self;
        f.debug_struct("Feed").field("id", id).field("closed", closed).finish_non_exhaustive()
    }
}
