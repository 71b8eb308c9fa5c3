//! The seam to whatever computes: a model session, a timed stand-in, a script.
//!
//! A batch passes three stages, each on a thread of its own:
//!
//! ```text
//! HostSide::prepare (host thread) → Backend::run (device thread) → HostSide::finish (answer thread)
//! ```
//!
//! While the device runs batch *n*, the host prepares *n + 1* and finishes *n − 1*.
//!
//! Invariant: a [`Backend`] is made, used and dropped on one thread, so it need be
//! neither `Send` nor `Sync`; its [`HostSide`] is shared by threads and holds no device
//! state. What passes between stages is `Send`.

use std::sync::Arc;

/// Host-side work of a model: filling a batch's tensors, reading its answers.
pub trait HostSide: Send + Sync + 'static {
    /// One item.
    type Item: Send + Sync + 'static;
    /// A batch in the form the device takes, for example filled tensors.
    type Prepared: Send + 'static;
    /// What the device gave, for example raw output rows.
    type Raw: Send + 'static;
    /// What one item gives.
    type Output: Send + 'static;
    /// Why one item has no output.
    type ItemFault: Send + 'static;

    /// Prepares a batch, off the device's thread. Items come longest first. What
    /// is wrong with a single item belongs into `Prepared` and out of
    /// [`finish`](Self::finish); a panic here makes the batch fail as a run does.
    fn prepare(&self, items: &[&Self::Item]) -> Self::Prepared;

    /// Turns what the device gave into as many answers as `items`, in their order,
    /// off the device's thread. A panic, or a wrong number, fails every item of the batch.
    fn finish(&self, items: &[&Self::Item], raw: Self::Raw) -> Vec<Result<Self::Output, Self::ItemFault>>;

    /// The fault of an item that the scheduler itself gives up, `why` in words for a log.
    fn item_fault(&self, why: String) -> Self::ItemFault;

    /// Names an item by its content, so that one which failed alone more than once is
    /// not run again. `None`: items are never quarantined.
    fn fingerprint(&self, _item: &Self::Item) -> Option<u64> {
        None
    }
}

/// Runs batches, one at a time, on the thread that made it.
pub trait Backend: 'static {
    /// Its host side.
    type Host: HostSide;

    /// The host side; asked for once, when the backend was made.
    fn host(&self) -> Arc<Self::Host>;

    /// Runs one batch. A panic counts as [`RunError::Failed`].
    ///
    /// # Errors
    /// See [`RunError`] for what each outcome leads to.
    fn run(&mut self, prepared: PreparedOf<Self>) -> Result<RawOf<Self>, RunError>;
}

/// Why a batch as a whole gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The batch failed; halves of it are tried until the item at fault is alone.
    #[error("{0}")]
    Failed(String),
    /// The device has too little memory: the batch budget is halved and the work is run again.
    #[error("the device is out of memory: {0}")]
    OutOfMemory(String),
    /// The device or its session is broken: what runs fails, the backend is made anew once.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
}

/// One item of a backend.
pub type ItemOf<B> = <<B as Backend>::Host as HostSide>::Item;
/// A prepared batch of a backend.
pub type PreparedOf<B> = <<B as Backend>::Host as HostSide>::Prepared;
/// What a backend's device gives for a batch.
pub type RawOf<B> = <<B as Backend>::Host as HostSide>::Raw;
/// What one item gives.
pub type OutputOf<B> = <<B as Backend>::Host as HostSide>::Output;
/// One answer an item of a batch.
pub type BatchOutputs<B> = Vec<Result<OutputOf<B>, ItemFaultOf<B>>>;
/// Why one item has no output.
pub type ItemFaultOf<B> = <<B as Backend>::Host as HostSide>::ItemFault;
