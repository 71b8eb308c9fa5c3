//! The answer that a chunk is owed, filled in as its items are answered.
//!
//! Invariants: a chunk is answered once: with every output, with an error, or not
//! at all because its response was dropped; whatever comes after that is thrown away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    backend::{Backend, ItemFaultOf, OutputOf},
    outcome::{BatchRecord, ChunkError, ChunkOutcome, ChunkResult},
};

/// What came of a chunk so far.
pub(crate) struct ChunkProgress<B: Backend> {
    /// Which attempt of its caller's it is.
    pub(crate) attempt: u32,
    over: AtomicBool,
    state: Mutex<AnswerState<B>>,
}

struct AnswerState<B: Backend> {
    answer: Option<oneshot::Sender<ChunkOutcome<B>>>,
    outputs: Vec<Option<Result<OutputOf<B>, ItemFaultOf<B>>>>,
    /// Items pushed and items answered.
    pushed: usize,
    filled: usize,
    closed: bool,
    submitted: Instant,
    queued: Option<Duration>,
    batches: Vec<BatchRecord>,
}

impl<B: Backend> ChunkProgress<B> {
    /// A chunk that is admitted now, and where its answer comes out.
    pub(crate) fn new(attempt: u32) -> (Arc<Self>, oneshot::Receiver<ChunkOutcome<B>>) {
        let (answer, receiver) = oneshot::channel();
        let state = AnswerState {
            answer: Some(answer),
            outputs: Vec::new(),
            pushed: 0,
            filled: 0,
            closed: false,
            submitted: Instant::now(),
            queued: None,
            batches: Vec::new(),
        };
        (Arc::new(Self { attempt, over: AtomicBool::new(false), state: Mutex::new(state) }), receiver)
    }

    /// True once it was answered or cancelled: work on it is wasted.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// `count` items from index `at` are about to be queued.
    pub(crate) fn expect(&self, at: usize, count: usize) {
        let mut state = self.state.lock();
        if state.pushed == 0 {
            state.submitted = Instant::now();
        }
        state.pushed += count;
        let len = state.outputs.len().max(at.saturating_add(count));
        state.outputs.resize_with(len, || None);
    }

    /// No item will follow. True if every item is answered already, and with it the chunk.
    pub(crate) fn close(&self) -> bool {
        self.state.lock().closed = true;
        self.settle()
    }

    /// The answer of one item. A second answer for an item is thrown away.
    pub(crate) fn put(&self, index: usize, output: Result<OutputOf<B>, ItemFaultOf<B>>) {
        let mut state = self.state.lock();
        let unwanted = match state.outputs.get_mut(index) {
            Some(slot @ None) => {
                *slot = Some(output);
                state.filled += 1;
                None
            }
            _ => Some(output),
        };
        drop(state);
        drop(unwanted);
    }

    /// A batch with items of this chunk was started and answered.
    pub(crate) fn record_batch(&self, started: Instant, record: BatchRecord) {
        let mut state = self.state.lock();
        let queued = started.saturating_duration_since(state.submitted);
        state.queued.get_or_insert(queued);
        state.batches.push(record);
    }

    /// Answers if every item is. True if that was the answer.
    pub(crate) fn settle(&self) -> bool {
        let mut state = self.state.lock();
        if !state.closed || state.filled < state.pushed || state.answer.is_none() {
            return false;
        }
        let to = state.answer.take();
        let slots = std::mem::take(&mut state.outputs);
        let whole = slots.len() == state.pushed;
        let outputs: Vec<_> = slots.into_iter().flatten().collect();
        // An index that no item has, or that two have, would shift the answers.
        let answer = if whole && outputs.len() == state.pushed {
            Ok(ChunkResult {
                outputs,
                queued: state.queued.unwrap_or_default(),
                batches: std::mem::take(&mut state.batches),
            })
        } else {
            Err(ChunkError::Abandoned)
        };
        drop(state);
        self.send(to, answer)
    }

    /// Answers with an error, unless it is answered. True if that was the answer.
    pub(crate) fn fail(&self, error: ChunkError) -> bool {
        let to = self.state.lock().answer.take();
        self.send(to, Err(error))
    }

    /// Wants no answer any more. True if it had none yet.
    pub(crate) fn cancel(&self) -> bool {
        self.over.store(true, Ordering::Release);
        let mut state = self.state.lock();
        let open = state.answer.take().is_some();
        let outputs = std::mem::take(&mut state.outputs);
        drop(state);
        drop(outputs);
        open
    }

    fn send(&self, to: Option<oneshot::Sender<ChunkOutcome<B>>>, answer: ChunkOutcome<B>) -> bool {
        self.over.store(true, Ordering::Release);
        // A response that was just dropped wants no answer.
        to.is_some_and(|to| to.send(answer).is_ok())
    }
}
