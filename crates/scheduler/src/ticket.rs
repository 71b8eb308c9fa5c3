//! A part that was queued, as its caller holds it, and what comes of it.
//!
//! Invariant: dropping a ticket cancels its part: units still waiting leave the
//! queue before the next batch forms; those already in a batch are thrown away.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    backend::{Backend, Fault, Output},
    core::PartId,
    part::Part,
    shared::Shared,
};

/// One batch that a part rode in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// How long the device took.
    pub duration: Duration,
    /// Tokens of the whole batch, other parts' too.
    pub tokens: usize,
}

/// A part's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartResult<O, F> {
    /// One a unit, in the order of the units.
    pub outputs: Vec<Result<O, F>>,
    /// From the first unit queued to the start of the first batch.
    pub queued: Duration,
    /// The batches it rode in, in order.
    pub batches: Vec<BatchRecord>,
}

/// Why a part as a whole has no answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// Its deadline passed while units of it waited.
    #[error("the deadline passed in the queue")]
    Expired,
    /// The device was lost under a batch of it, or no device is left.
    #[error("the device was lost")]
    BackendGone,
    /// Its feed was dropped before it was closed, or its units' indices were not 0, 1, 2, ….
    #[error("the part was not completed")]
    Abandoned,
}

/// What a ticket resolves to.
pub type Answer<B> = Result<PartResult<Output<B>, Fault<B>>, PartError>;

/// Awaits a part. Dropping it cancels the part.
#[must_use = "a dropped ticket cancels its part"]
pub struct Ticket<B: Backend> {
    shared: Arc<Shared<B>>,
    id: PartId,
    part: Arc<Part<B>>,
    answer: oneshot::Receiver<Answer<B>>,
}

impl<B: Backend> Ticket<B> {
    /// A ticket for a part that was just admitted.
    pub(crate) fn new(
        shared: Arc<Shared<B>>,
        id: PartId,
        part: Arc<Part<B>>,
        answer: oneshot::Receiver<Answer<B>>,
    ) -> Self {
        Self { shared, id, part, answer }
    }
}

impl<B: Backend> Future for Ticket<B> {
    type Output = Answer<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.unwrap_or(Err(PartError::BackendGone)))
    }
}

impl<B: Backend> Drop for Ticket<B> {
    fn drop(&mut self) {
        if !self.part.is_over() {
            self.shared.cancel(self.id, &self.part);
        }
    }
}

impl<B: Backend> fmt::Debug for Ticket<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared: _, id, part: _, answer: _ } = self;
        f.debug_struct("Ticket").field("id", id).finish_non_exhaustive()
    }
}
