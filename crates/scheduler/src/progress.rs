//! The answer that a part is owed while its units run.
//!
//! Invariant: each unit's output is put once; the part is complete with the last.

use std::time::Duration;

use tokio::{sync::oneshot, time::Instant};

use crate::{
    backend::Backend,
    ticket::{Answer, BatchRecord, PartError, PartResult},
};

/// An answer and whom it goes to; sent after the lock is let go.
pub(crate) type Owed<B> = (oneshot::Sender<Answer<B>>, Answer<B>);

/// What came of a part so far.
pub(crate) struct Progress<B: Backend> {
    answer: oneshot::Sender<Answer<B>>,
    outputs: Vec<Option<Result<B::Output, B::Fault>>>,
    left: usize,
    submitted: Instant,
    queued: Option<Duration>,
    batches: Vec<BatchRecord>,
}

impl<B: Backend> Progress<B> {
    /// A part of `units` units that is submitted now, and where its answer comes out.
    pub(crate) fn new(units: usize) -> (Self, oneshot::Receiver<Answer<B>>) {
        let (answer, receiver) = oneshot::channel();
        let mut outputs = Vec::new();
        outputs.resize_with(units, || None);
        let submitted = Instant::now();
        (Self { answer, outputs, left: units, submitted, queued: None, batches: Vec::new() }, receiver)
    }

    /// A batch with units of this part starts.
    pub(crate) fn start(&mut self, now: Instant) {
        self.queued.get_or_insert(now.saturating_duration_since(self.submitted));
    }

    /// Puts one output in its place.
    pub(crate) fn put(&mut self, index: usize, output: Result<B::Output, B::Fault>) {
        self.outputs[index] = Some(output);
        self.left -= 1;
    }

    /// A batch with units of this part ended; true when nothing is left to do.
    pub(crate) fn end(&mut self, record: BatchRecord) -> bool {
        self.batches.push(record);
        self.left == 0
    }

    /// The whole answer.
    pub(crate) fn complete(self) -> Owed<B> {
        let outputs = self.outputs.into_iter().flatten().collect();
        let queued = self.queued.unwrap_or_default();
        (self.answer, Ok(PartResult { outputs, queued, batches: self.batches }))
    }

    /// No answer.
    pub(crate) fn fail(self, error: PartError) -> Owed<B> {
        (self.answer, Err(error))
    }
}

/// Sends what is owed. Callers hold no lock: a waker may run anything.
pub(crate) fn send<B: Backend>(owed: Vec<Owed<B>>) {
    for (to, answer) in owed {
        // A ticket that was just dropped wants no answer.
        drop(to.send(answer));
    }
}
