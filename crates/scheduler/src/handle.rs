//! The handles that a caller holds between being admitted and being queued.
//!
//! Invariant: the tokens of an [`Admission`] count as queued until the true ones
//! take their place or it is dropped; an [`ItemSink`] that is dropped unclosed fails its chunk.

use std::{fmt, sync::Arc};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    backend::{Backend, ItemOf},
    chunk::ChunkProgress,
    core::ChunkId,
    outcome::{ChunkError, ChunkOutcome},
    request::{QueuedItem, Request},
    response::PendingResponse,
    shared::DrainOnDrop,
};

/// Room in the queue, held until submitted or dropped.
pub struct Admission<B: Backend> {
    request: Request<Instant>,
    sink: ItemSink<B>,
    answer: oneshot::Receiver<ChunkOutcome<B>>,
}

impl<B: Backend> Admission<B> {
    /// Wraps a chunk that was just admitted.
    pub(crate) fn new(
        handle: Arc<DrainOnDrop<B>>,
        request: Request<Instant>,
        id: ChunkId,
        chunk: Arc<ChunkProgress<B>>,
        answer: oneshot::Receiver<ChunkOutcome<B>>,
    ) -> Self {
        Self { request, sink: ItemSink { handle, id, chunk, closed: false }, answer }
    }

    /// What was asked for.
    #[must_use]
    pub fn request(&self) -> &Request<Instant> {
        &self.request
    }

    /// Queues the whole chunk; its true tokens replace the reserved ones. The
    /// response of a chunk without items is ready at once.
    #[must_use = "a dropped response cancels its chunk"]
    pub fn submit(self, items: Vec<QueuedItem<ItemOf<B>>>) -> PendingResponse<B> {
        let (mut sink, response) = self.stream();
        sink.closed = true;
        sink.handle.shared.push(sink.id, &sink.chunk, 0, items, true);
        response
    }

    /// Queues the chunk bit by bit, as its items become ready.
    #[must_use = "a dropped sink fails its chunk, a dropped response cancels it"]
    pub fn stream(self) -> (ItemSink<B>, PendingResponse<B>) {
        let Self { request: _, sink, answer } = self;
        let response = PendingResponse::new(Arc::clone(&sink.handle.shared), sink.id, Arc::clone(&sink.chunk), answer);
        (sink, response)
    }
}

impl<B: Backend> fmt::Debug for Admission<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, sink: _, answer: _ } = self;
        f.debug_struct("Admission").field("request", request).finish_non_exhaustive()
    }
}

/// Puts the items of one chunk into the queue. Threads may share it.
#[must_use = "a dropped sink fails its chunk"]
pub struct ItemSink<B: Backend> {
    handle: Arc<DrainOnDrop<B>>,
    id: ChunkId,
    chunk: Arc<ChunkProgress<B>>,
    closed: bool,
}

impl<B: Backend> ItemSink<B> {
    /// Queues items whose indices in the chunk are `at`, `at + 1`, …; they may
    /// come in any order, each index once. Items of a chunk that is over are dropped.
    pub fn push(&self, at: usize, items: Vec<QueuedItem<ItemOf<B>>>) {
        if !items.is_empty() {
            self.handle.shared.push(self.id, &self.chunk, at, items, false);
        }
    }

    /// True once the chunk is cancelled, expired or failed: further work on it is wasted.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.chunk.is_over()
    }

    /// Every item was pushed; what is reserved beyond them is given back.
    pub fn close(mut self) {
        self.closed = true;
        self.handle.shared.push(self.id, &self.chunk, 0, Vec::new(), true);
    }
}

impl<B: Backend> Drop for ItemSink<B> {
    fn drop(&mut self) {
        if !self.closed {
            self.chunk.fail(ChunkError::Abandoned);
            self.handle.shared.abandon(self.id);
        }
    }
}

impl<B: Backend> fmt::Debug for ItemSink<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handle: _, id, chunk: _, closed } = self;
        f.debug_struct("ItemSink").field("id", id).field("closed", closed).finish_non_exhaustive()
    }
}
