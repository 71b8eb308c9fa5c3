//! Bytes that token vectors take which requests bring along, over all requests of the process.
//!
//! They wait for no device, so the queue's limit in tokens does not count them. Counted is what they take once they are
//! read, as f32, for all that a request brings: eight-bit numbers grow to four times their bytes.
//!
//! Invariant: the sum over the requests that are under way is never above the limit, rounded up to [`UNIT`].

use sortie_frontend::ServeError;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that are counted as one: a semaphore gives out 32 bits at once, and requests may have more bytes.
const UNIT: u64 = 1 << 10;

/// Room for token vectors.
#[derive(Debug)]
pub(crate) struct VectorMemory {
    room: Arc<Semaphore>,
    limit: u64,
}

/// A request's share of the room; given back when it is dropped.
pub(crate) type VectorPermit = OwnedSemaphorePermit;

impl VectorMemory {
    /// Room for `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let units = usize::try_from(limit.div_ceil(UNIT)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(units)), limit }
    }

    /// Takes room for a request's vectors.
    ///
    /// # Errors
    /// Where others hold so much that there is none.
    pub(crate) fn admit(&self, bytes: u64) -> Result<VectorPermit, ServeError> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let full = |_| ServeError::VectorsFull { bytes, limit: self.limit };
        Arc::clone(&self.room).try_acquire_many_owned(units).map_err(full)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_held_is_never_above_the_limit_and_comes_back(
            limit in 0u64..100_000,
            asked in prop::collection::vec((0u64..50_000, any::<bool>()), 0..40),
        ) {
            let memory = VectorMemory::new(limit);
            let mut held: Vec<(u64, VectorPermit)> = Vec::new();
            for (bytes, give_back) in asked {
                let before: u64 = held.iter().map(|(bytes, _)| bytes).sum();
                match memory.admit(bytes) {
                    Ok(permit) => held.push((bytes, permit)),
                    // Each request is rounded up.
                    Err(_) => prop_assert!(before + bytes + UNIT * (held.len() as u64 + 1) > limit),
                }
                prop_assert!(held.iter().map(|(bytes, _)| bytes).sum::<u64>() <= limit.next_multiple_of(UNIT));
                if give_back {
                    held.pop();
                }
            }
            drop(held);
            prop_assert!(memory.admit(limit).is_ok(), "all of it is free again");
        }
    }
}
