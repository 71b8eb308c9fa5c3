//! A chunk that was queued, as its caller holds it.
//!
//! Invariant: dropping a [`PendingResponse`] cancels its chunk: items still waiting leave the
//! queue before the next batch forms; those already in a batch are thrown away.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{
    backend::Backend,
    chunk::ChunkProgress,
    core::ChunkId,
    outcome::{ChunkError, ChunkOutcome},
    shared::Shared,
};

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
