//! What clients want done, by whoever drives them: virtual time or sockets.

use std::time::Duration;

use sortie_dispatch::FailReason;

/// Something that a client wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientAction {
    /// Send a chunk.
    Send {
        /// The job.
        job: u32,
        /// The attempt, by its number within the job, from 0.
        attempt: u32,
        /// The server.
        server: usize,
        /// What is in the chunk.
        items: Box<[ChunkItem]>,
        /// Which attempt of its chunk it says it is, from 1.
        number: u32,
        /// When nobody wants the answer any more.
        deadline: Duration,
        /// Why.
        kind: SendKind,
    },
    /// Reset an attempt's stream.
    Cancel {
        /// The job.
        job: u32,
        /// The attempt.
        attempt: u32,
        /// Where it is.
        server: usize,
    },
    /// Call [`Baseline::tick`](super::Baseline::tick) then.
    Wake {
        /// For the job.
        job: u32,
        /// When.
        at: Duration,
    },
    /// The job is over; `failed` says why it failed, if it did.
    End {
        /// The job.
        job: u32,
        /// Why it failed.
        failed: Option<FailReason>,
    },
}

/// An item of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkItem {
    /// Its place in the job.
    pub place: usize,
    /// Its tokens, as the caller counts them.
    pub tokens: u32,
}

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendKind {
    /// It is the chunk's first.
    First,
    /// The one before failed.
    Retry,
    /// The one before is late.
    Hedge,
}
