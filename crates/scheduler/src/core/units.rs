//! What the files of the core share: time, ids, and what is known of a chunk and of a batch.

use std::time::Duration;

/// Time since the driver's origin.
pub type At = Duration;

/// An idle device's cost is taken for old after this: the time constant with which clients forget a
/// server's rate, too, and with which reports fade to what the device has been known to do.
pub(crate) const STALE: Duration = Duration::from_secs(5);

/// Names a chunk for its whole life; grows with arrival.
pub type ChunkId = u64;

/// What was estimated of a chunk as it was admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmissionEstimate {
    /// When that was.
    pub(crate) admitted: At,
    /// Seconds from then to its answer.
    pub(crate) seconds: f64,
}

/// An item that left the queue for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchItem<I> {
    /// Its chunk.
    pub chunk: ChunkId,
    /// Its place in the chunk.
    pub index: usize,
    /// Its size.
    pub tokens: usize,
    /// The work that it is.
    pub work: u64,
    /// The work.
    pub item: I,
}

/// A batch, and the chunks that nothing more is to come of.
#[derive(Debug)]
pub(crate) struct Formed<I> {
    pub(crate) items: Vec<BatchItem<I>>,
    /// What was estimated of the chunks that end with this batch.
    pub(crate) complete: Vec<AdmissionEstimate>,
    /// Bulk work was kept out of it for somebody who waits for it.
    pub(crate) cut: bool,
}

impl<I> Default for Formed<I> {
    fn default() -> Self {
        Self { items: Vec::new(), complete: Vec::new(), cut: false }
    }
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It ran whole and took so long: the cost is learnt from it.
    Whole(Duration),
    /// It failed, was cut up or was skipped: nothing is learnt.
    Otherwise,
}

/// Seconds as a duration; nonsense is zero, too much is the most there is.
pub(super) fn secs(seconds: f64) -> Duration {
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX) } else { Duration::ZERO }
}
