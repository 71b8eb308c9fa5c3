//! A chunk that was queued, as its caller holds it, and what comes of it.
//!
//! Invariant: dropping a [`PendingResponse`] cancels its chunk: items still waiting leave the
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
    backend::{Backend, ItemFault, Output},
    chunk::ChunkProgress,
    core::ChunkId,
    shared::Shared,
};

/// One batch that items of a chunk were in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// How long the device took.
    pub duration: Duration,
    /// Tokens of the whole batch, other chunks' too.
    pub tokens: usize,
}

/// A chunk's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkResult<O, F> {
    /// One an item, in the order of the items.
    pub outputs: Vec<Result<O, F>>,
    /// From the first item queued to the start of the first batch.
    pub queued: Duration,
    /// The batches it was in, in order.
    pub batches: Vec<BatchRecord>,
}

/// Why a chunk as a whole has no answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// Its deadline passed while items of it waited.
    #[error("the deadline passed in the queue")]
    Expired,
    /// The device was lost under a batch of it, or no device is left.
    #[error("the device was lost")]
    BackendGone,
    /// Its sink was dropped before it was closed, or its items' indices were not 0, 1, 2, ….
    #[error("the chunk was not completed")]
    Abandoned,
}

/// What a [`PendingResponse`] resolves to.
pub type ChunkOutcome<B> = Result<ChunkResult<Output<B>, ItemFault<B>>, ChunkError>;

/// Awaits a chunk. Dropping it cancels the chunk.
#[must_use = "a dropped response cancels its chunk"]
pub struct PendingResponse<B: Backend> {
    shared: Arc<Shared<B>>,
    id: ChunkId,
    chunk: Arc<ChunkProgress<B>>,
    answer: oneshot::Receiver<ChunkOutcome<B>>,
}

impl<B: Backend> PendingResponse<B> {
    /// The pending response of a chunk that was just admitted.
    pub(crate) fn new(
        shared: Arc<Shared<B>>,
        id: ChunkId,
        chunk: Arc<ChunkProgress<B>>,
        answer: oneshot::Receiver<ChunkOutcome<B>>,
    ) -> Self {
        Self { shared, id, chunk, answer }
    }
}

impl<B: Backend> Future for PendingResponse<B> {
    type Output = ChunkOutcome<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.unwrap_or(Err(ChunkError::BackendGone)))
    }
}

impl<B: Backend> Drop for PendingResponse<B> {
    fn drop(&mut self) {
        if !self.chunk.is_over() {
            self.shared.cancel(self.id, &self.chunk);
        }
    }
}

impl<B: Backend> fmt::Debug for PendingResponse<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared: _, id, chunk: _, answer: _ } = self;
        f.debug_struct("PendingResponse").field("id", id).finish_non_exhaustive()
    }
}
