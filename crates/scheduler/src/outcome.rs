//! What comes of a chunk.

use std::time::Duration;

use crate::backend::{ItemFaultOf, OutputOf};

/// One batch that items of a chunk were in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// How long the device took.
    pub duration: Duration,
    /// Tokens of the whole batch, other chunks' too.
    pub tokens: usize,
    /// The work that they were.
    pub work: u64,
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

/// What a [`PendingResponse`](crate::PendingResponse) resolves to.
pub type ChunkOutcome<B> = Result<ChunkResult<OutputOf<B>, ItemFaultOf<B>>, ChunkError>;
