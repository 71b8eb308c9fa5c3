//! Chunks on the wire: as they arrive at a server, and what comes back.

use std::time::Duration;

use sortie_dispatch::{AttemptId, BatchSample, Failure, Pushback};
use sortie_scheduler::{Refusal, Tenant};

/// Whose chunk it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) client: u32,
    pub(crate) job: u32,
    pub(crate) attempt: AttemptId,
}

/// A chunk as it arrives.
#[derive(Debug)]
pub(crate) struct ArrivedChunk {
    pub(crate) key: Key,
    /// Tokens of each item.
    pub(crate) items: Box<[u32]>,
    /// Which attempt of its chunk it is, from 1.
    pub(crate) number: u32,
    pub(crate) deadline: Duration,
    /// Whose share of the server it draws on.
    pub(crate) tenant: Tenant,
}

/// A chunk's answer.
#[derive(Debug)]
pub(crate) struct FinishedChunk {
    pub(crate) key: Key,
    pub(crate) batches: Vec<BatchSample>,
}

/// A refusal as it reads after the wire.
pub(super) fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::QueueFull { retry_after, .. }
        | Refusal::WaitTooLong { retry_after, .. }
        | Refusal::TooManyChunks { retry_after, .. } => {
            Failure::Overloaded { pushback: Pushback::After(retry_after), queue: None }
        }
        Refusal::TooLate { queue, retry_after, .. } => {
            let pushback = retry_after.map_or(Pushback::Never, Pushback::After);
            Failure::Overloaded { pushback, queue: Some(queue) }
        }
        Refusal::TooLarge { .. } => Failure::Fatal,
        _ => Failure::Unavailable,
    }
}
