//! What a scheduler may hold: the size of a batch and of its queue, in tokens, and how long a queue may be in time.

use std::time::Duration;

use sortie_work::WorkCurve;

/// Tokens of one batch. Large enough that a GPU's fixed cost is a small share of
/// it, small enough that a late urgent chunk waits for milliseconds only.
pub const DEFAULT_MAX_BATCH_TOKENS: usize = 16_384;

/// Tokens that may wait: 64 full batches. More would only expire in the queue
/// under the deadlines that interactive callers set.
pub const DEFAULT_MAX_QUEUE_TOKENS: u64 = 1 << 20;

/// Chunks that may be admitted and not yet wholly in batches: what a chunk costs
/// beside its tokens (under 1 KiB) stays below 64 MiB.
pub const DEFAULT_MAX_CHUNKS: usize = 65_536;

/// Longest that a chunk may wait for its start, whatever its deadline: callers that set none, or one of an hour, would
/// otherwise queue minutes of work ahead of everybody of their tenant. Ten seconds outlast any burst that people wait
/// for; bulk work comes back.
pub const DEFAULT_MAX_QUEUE_WAIT: Duration = Duration::from_secs(10);

/// Limits of one scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Most tokens in one batch; a single item larger than that goes alone.
    pub max_batch_tokens: usize,
    /// Most tokens admitted whose batch does not run yet.
    pub max_queue_tokens: u64,
    /// Most chunks admitted and not yet wholly in batches.
    pub max_chunks: usize,
    /// Longest estimated wait that a chunk is admitted with; a standing queue is held to a share of it.
    pub max_queue_wait: Duration,
    /// What an item of so many tokens counts as where time is reckoned. The limits above are in tokens as they are.
    pub curve: WorkCurve,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            max_batch_tokens: DEFAULT_MAX_BATCH_TOKENS,
            max_queue_tokens: DEFAULT_MAX_QUEUE_TOKENS,
            max_chunks: DEFAULT_MAX_CHUNKS,
            max_queue_wait: DEFAULT_MAX_QUEUE_WAIT,
            curve: WorkCurve::STRAIGHT,
        }
    }
}

impl SchedulerConfig {
    /// Checks the limits against each other and against what reports can carry.
    ///
    /// # Errors
    /// Names the field that cannot be.
    pub fn validate(&self) -> Result<(), SchedulerConfigError> {
        if self.max_batch_tokens == 0 {
            return Err(SchedulerConfigError::Zero("max_batch_tokens"));
        }
        if self.max_queue_tokens == 0 {
            return Err(SchedulerConfigError::Zero("max_queue_tokens"));
        }
        if self.max_chunks == 0 {
            return Err(SchedulerConfigError::Zero("max_chunks"));
        }
        if self.max_queue_wait.is_zero() {
            return Err(SchedulerConfigError::Zero("max_queue_wait"));
        }
        if u32::try_from(self.max_batch_tokens).is_err() {
            return Err(SchedulerConfigError::TooBig { field: "max_batch_tokens", limit: u64::from(u32::MAX) });
        }
        Ok(())
    }
}

/// A limit that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerConfigError {
    /// No device was given.
    #[error("a scheduler needs at least one device")]
    NoDevice,
    /// The named field is zero.
    #[error("{0} must be above zero")]
    Zero(&'static str),
    /// The named field is past what a report can carry.
    #[error("{field} must be at most {limit}")]
    TooBig {
        /// The field.
        field: &'static str,
        /// Its largest value.
        limit: u64,
    },
}

/// Why a scheduler did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError<E> {
    /// A limit that cannot be.
    #[error(transparent)]
    Config(#[from] SchedulerConfigError),
    /// The system gave no thread.
    #[error("no thread for the backend")]
    Thread(#[source] std::io::Error),
    /// A backend could not be made.
    #[error(transparent)]
    Make(E),
    /// Making a backend panicked.
    #[error("making the backend panicked: {0}")]
    Panicked(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_zero_is_not() {
        assert_eq!(SchedulerConfig::default().validate(), Ok(()));
        let none = SchedulerConfig { max_batch_tokens: 0, ..SchedulerConfig::default() };
        assert_eq!(none.validate(), Err(SchedulerConfigError::Zero("max_batch_tokens")));
        let none = SchedulerConfig { max_queue_tokens: 0, ..SchedulerConfig::default() };
        assert_eq!(none.validate(), Err(SchedulerConfigError::Zero("max_queue_tokens")));
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_batch_past_what_a_report_carries_is_refused() {
        let huge = SchedulerConfig { max_batch_tokens: usize::MAX, ..SchedulerConfig::default() };
        assert!(matches!(huge.validate(), Err(SchedulerConfigError::TooBig { field: "max_batch_tokens", .. })));
    }
}
