//! One request's inputs on their way to tokens.
//!
//! The inputs are cut into pieces of about equal bytes, which the pool's threads
//! read in any order ([`piece`]). What a piece makes goes into the scheduler's queue the
//! moment it is ready ([`TokenSink::Queue`]), so that the device starts while later
//! pieces are still being read; [`TokenSink::Keep`] holds it for an answer without a
//! device.
//!
//! Invariants: the queued sequences of a chunk are numbered without gaps in the order they
//! were queued; the sink is closed by whoever ends the last piece, unless the request
//! failed as a whole; nothing is read for a request that is over; a panic is its
//! item's refusal.

mod piece;

use std::{
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use sortie_engine::{Sequence, TokenDetail, Want};
use sortie_frontend::{RequestContext, ServeError};
use sortie_scheduler::ItemSink;
use tokio::{sync::oneshot, time::Instant};

use self::piece::PieceReader;
use super::{
    estimate::window_limit,
    input::{InputKind, ParsedInput},
};
use crate::{backend::EngineBackend, item_refusal::ItemRefusal, models::Served, tokenizing::ParallelTask};

/// Bytes of one piece: short enough to feed the device early and to stop soon, long enough that handing it over
/// costs nothing beside it.
const PIECE_BYTES: usize = 8 << 10;

/// Where tokens go.
pub(super) enum TokenSink {
    /// Into the queue, to have this computed of them.
    Queue {
        /// The chunk; `None` once it is closed or given up.
        sink: RwLock<Option<ItemSink<EngineBackend>>>,
        /// What is computed.
        want: Want,
    },
    /// Nowhere: they are the answer.
    Keep,
}

/// One input, read.
#[derive(Debug)]
pub(super) struct TokenizedItem {
    /// Tokens used, specials included.
    pub(super) tokens: usize,
    pub(super) truncated: bool,
    pub(super) details: Vec<TokenDetail>,
    /// Its sequences' numbers among those that the chunk queued: one, or one a window.
    pub(super) queued: Range<usize>,
    /// Tokens of the text in each window, where it was read in windows.
    pub(super) window_tokens: Option<Vec<usize>>,
    /// Its tokens, where they were kept or the reading was [`InputKind::Detailed`]; its words where it was
    /// [`InputKind::Labelled`].
    pub(super) kept: Sequence,
}

/// What came of one input.
pub(super) type TokenizeResult = Result<TokenizedItem, ItemRefusal>;

/// What a request holds of its [`TokenizeTask`]. Dropping it stops the reading.
pub(super) struct TokenizeHandle {
    task: Arc<TokenizeTask>,
    all_done: oneshot::Receiver<()>,
}

impl TokenizeHandle {
    /// What came of each input, in order, and how long it took from the first to the last, waiting for a thread
    /// included.
    ///
    /// An error is the whole request's: options that no input can meet, or a deadline that passed.
    pub(super) async fn ended(mut self) -> Result<(Vec<TokenizeResult>, Duration), ServeError> {
        // An error means that the pool is gone, and every piece with it.
        let ended = (&mut self.all_done).await;
        if let Some(error) = self.failure() {
            return Err(error);
        }
        ended.map_err(|_| ServeError::Internal("tokenizing ended early".to_owned()))?;
        let task = &self.task;
        let mut results = Vec::with_capacity(task.inputs.len());
        for (piece, made) in task.pieces.iter().zip(&task.results) {
            results.append(&mut made.lock());
            results.resize_with(piece.end, || Err(internal("it was not read")));
        }
        let took = task.ended.get().map_or(Duration::ZERO, |at| at.saturating_duration_since(task.begun));
        Ok((results, took))
    }

    /// Why the request as a whole failed here, if it did.
    pub(super) fn failure(&self) -> Option<ServeError> {
        self.task.failure.get().cloned()
    }
}

impl Drop for TokenizeHandle {
    fn drop(&mut self) {
        self.task.over.store(true, Ordering::Relaxed);
    }
}

/// The inputs of one request and what was made of them.
pub(super) struct TokenizeTask {
    served: Arc<Served>,
    inputs: Vec<ParsedInput>,
    pieces: Vec<Range<usize>>,
    input_kind: InputKind,
    deadline: Option<Instant>,
    sink: TokenSink,
    /// What came of each piece.
    results: Vec<Mutex<Vec<TokenizeResult>>>,
    queued_items: AtomicUsize,
    /// Windows made so far of items that have several.
    windows: AtomicUsize,
    /// Tokens that the windows of items may still have.
    window_tokens_left: AtomicUsize,
    left: AtomicUsize,
    /// Nobody waits any more, or the request failed.
    over: AtomicBool,
    failure: OnceLock<ServeError>,
    begun: Instant,
    ended: OnceLock<Instant>,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

impl TokenizeTask {
    /// Has the model's pool read `inputs`.
    pub(super) fn start(
        served: &Arc<Served>,
        context: &RequestContext,
        inputs: Vec<ParsedInput>,
        input_kind: InputKind,
        sink: TokenSink,
    ) -> TokenizeHandle {
        let pieces = pieces(&inputs, PIECE_BYTES);
        let count = pieces.len();
        let (_, admitted) = context.size();
        let window_tokens = window_limit(admitted, inputs.len(), served.info().max_length);
        let (done, all_done) = oneshot::channel();
        let task = Self {
            served: Arc::clone(served),
            inputs,
            input_kind,
            deadline: context.deadline,
            sink,
            results: pieces.iter().map(|_| Mutex::default()).collect(),
            pieces,
            queued_items: AtomicUsize::new(0),
            windows: AtomicUsize::new(0),
            window_tokens_left: AtomicUsize::new(window_tokens),
            left: AtomicUsize::new(count),
            over: AtomicBool::new(false),
            failure: OnceLock::new(),
            begun: Instant::now(),
            ended: OnceLock::new(),
            done: Mutex::new(Some(done)),
        };
        if count == 0 {
            task.end();
        }
        let task = Arc::new(task);
        served.tokenizers.queue(context.caller.lane, &task, count);
        TokenizeHandle { task, all_done }
    }

    fn is_over(&self) -> bool {
        if self.over.load(Ordering::Relaxed) {
            return true;
        }
        if self.deadline.is_some_and(|at| at <= Instant::now()) {
            self.fail(ServeError::DeadlineExceeded);
            return true;
        }
        match &self.sink {
            TokenSink::Queue { sink, .. } => sink.read().as_ref().is_none_or(ItemSink::is_over),
            TokenSink::Keep => false,
        }
    }

    fn fail(&self, error: ServeError) {
        // The first failure stays.
        let _ = self.failure.set(error);
        self.over.store(true, Ordering::Relaxed);
    }

    /// Ends one piece, and with the last one the chunk.
    fn end_piece(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end();
        }
    }

    fn end(&self) {
        // Only the last piece comes here.
        let _ = self.ended.set(Instant::now());
        if let TokenSink::Queue { sink, .. } = &self.sink
            && let Some(sink) = sink.write().take()
            && !self.over.load(Ordering::Relaxed)
        {
            sink.close();
        }
        if let Some(done) = self.done.lock().take() {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }
}

impl ParallelTask for TokenizeTask {
    fn run(&self, piece: usize) -> bool {
        let _end = PieceGuard(self);
        let items = self.pieces.get(piece).and_then(|range| self.inputs.get(range.clone()));
        let (Some(items), Some(results)) = (items, self.results.get(piece)) else { return false };
        let made = PieceReader::of(self, items.len()).read(items);
        let read = !made.is_empty();
        *results.lock() = made;
        read
    }
}

/// Ends a piece, whatever happened in it.
struct PieceGuard<'a>(&'a TokenizeTask);

impl Drop for PieceGuard<'_> {
    fn drop(&mut self) {
        self.0.end_piece();
    }
}

fn internal(what: &str) -> ItemRefusal {
    ItemRefusal { reason: "INTERNAL", message: what.to_owned() }
}

/// Cuts inputs into runs of at least `bytes`, but the last.
fn pieces(inputs: &[ParsedInput], bytes: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut from, mut filled) = (0, 0);
    for (at, item) in inputs.iter().enumerate() {
        filled += weight(item);
        if filled >= bytes {
            pieces.push(from..at + 1);
            (from, filled) = (at + 1, 0);
        }
    }
    if from < inputs.len() {
        pieces.push(from..inputs.len());
    }
    pieces
}

/// An item costs something even without a byte.
fn weight(input: &ParsedInput) -> usize {
    /// Bytes that take as long as an item's fixed work.
    const FIXED: usize = 64;
    usize::try_from(input.size().bytes).unwrap_or(usize::MAX).saturating_add(FIXED)
}

#[cfg(test)]
mod tests;
