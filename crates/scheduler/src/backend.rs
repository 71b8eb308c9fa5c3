//! The seam to whatever computes: a model session, a timed stand-in, a script.
//!
//! Invariant: a backend is made, used and dropped on one thread, so it need be
//! neither `Send` nor `Sync`; what goes in and comes out must be `Send`.

/// Runs batches, one at a time, on the thread that made it.
pub trait Backend: 'static {
    /// One unit of work.
    type Item: Send + 'static;
    /// What one unit gives.
    type Output: Send + 'static;
    /// Why one unit has no output.
    type Fault: Send + 'static;

    /// Runs one batch: as many answers as `items`, in the same order. Items come
    /// longest first. A panic, or a wrong number of answers, fails every part in
    /// the batch with [`PartError::BackendGone`](crate::PartError::BackendGone).
    fn run(&mut self, items: &[&Self::Item]) -> Vec<Result<Self::Output, Self::Fault>>;
}
