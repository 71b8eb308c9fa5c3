//! One request's inputs on their way to tokens.
//!
//! The inputs are cut into pieces of about equal bytes, which the pool's threads
//! read in any order. What a piece makes goes into the scheduler's queue the
//! moment it is ready ([`TokenSink::Queue`]), so that the device starts while later
//! pieces are still being read; [`TokenSink::Keep`] holds it for an answer without a
//! device.
//!
//! Invariants: the queued sequences of a chunk are numbered without gaps in the order they
//! were queued; the sink is closed by whoever ends the last piece, unless the request
//! failed as a whole; nothing is read for a request that is over; a panic is its
//! item's refusal.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use sortie_engine::{Sequence, TokenDetail, Want, WorkItem};
use sortie_scheduler::{ItemSink, QueuedItem};
use tokio::{sync::oneshot, time::Instant};

use super::{
    estimate::window_limit,
    input::{InputKind, ParsedInput, ReadLimits, TokenizeFailure, Tokens},
    refusals::{is_of_the_request, whole_request},
};
use crate::{
    backend::EngineBackend,
    context::RequestContext,
    errors::{ItemRefusal, ServeError},
    models::Served,
    tokenizing::ParallelTask,
};

/// Bytes of one piece: short enough to feed the device early and to stop soon, long enough that handing it over
/// costs nothing beside it.
const PIECE_BYTES: usize = 8 << 10;

/// Most windows of one request, in items that have several: what comes of each is held until the answer, and so many
/// vectors of 768 numbers are 50 MB. Two hundred documents of 80 windows fit.
const MAX_REQUEST_WINDOWS: usize = 16_384;

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
    /// Its tokens, where they were kept or the reading was [`InputKind::Detailed`].
    pub(super) kept: Sequence,
}

/// What came of one input.
pub(super) type TokenizeResult = Result<TokenizedItem, ItemRefusal>;

/// What a request holds of its [`TokenizeJob`]. Dropping it stops the reading.
pub(super) struct TokenizeHandle {
    reader: Arc<TokenizeJob>,
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
        let reader = &self.reader;
        let mut slots = Vec::with_capacity(reader.inputs.len());
        for (piece, made) in reader.pieces.iter().zip(&reader.made) {
            slots.append(&mut made.lock());
            slots.resize_with(piece.end, || Err(internal("it was not read")));
        }
        let took = reader.ended.get().map_or(Duration::ZERO, |at| at.saturating_duration_since(reader.begun));
        Ok((slots, took))
    }

    /// Why the request as a whole failed here, if it did.
    pub(super) fn failure(&self) -> Option<ServeError> {
        self.reader.failure.get().cloned()
    }
}

impl Drop for TokenizeHandle {
    fn drop(&mut self) {
        self.reader.over.store(true, Ordering::Relaxed);
    }
}

/// The inputs of one request and what was made of them.
pub(super) struct TokenizeJob {
    served: Arc<Served>,
    inputs: Vec<ParsedInput>,
    pieces: Vec<Range<usize>>,
    input_kind: InputKind,
    deadline: Option<Instant>,
    sink: TokenSink,
    made: Vec<Mutex<Vec<TokenizeResult>>>,
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

impl TokenizeJob {
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
        let reader = Self {
            served: Arc::clone(served),
            inputs,
            input_kind,
            deadline: context.deadline,
            sink,
            made: pieces.iter().map(|_| Mutex::default()).collect(),
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
            reader.end();
        }
        let reader = Arc::new(reader);
        served.tokenizers.queue(context.caller.priority.lane, &reader, count);
        TokenizeHandle { reader, all_done }
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

    /// Reads one item; a panic is its refusal.
    fn read(&self, input: &ParsedInput) -> Result<Tokens, TokenizeFailure> {
        let limits = ReadLimits {
            max_text_bytes: self.served.limits.max_text_bytes,
            window_tokens: self.window_tokens_left.load(Ordering::Relaxed),
        };
        let read = || input.read(self.served.model.tokenizer(), &self.input_kind, limits);
        catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|_| Err(TokenizeFailure::Refused(internal("tokenizing it panicked"))))
    }

    /// Takes room for the windows of one more item.
    fn has_room(&self, windows: usize) -> bool {
        windows <= 1 || self.windows.fetch_add(windows, Ordering::Relaxed) + windows <= MAX_REQUEST_WINDOWS
    }

    fn take_window_tokens(&self, tokens: usize) {
        let take = |left: usize| Some(left.saturating_sub(tokens));
        // It never refuses.
        let _ = self.window_tokens_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }

    /// Reads the items of a piece and passes them on.
    fn read_piece(&self, items: &[ParsedInput]) -> Vec<TokenizeResult> {
        let begun = std::time::Instant::now();
        let mut slots = Vec::with_capacity(items.len());
        let mut sequences = Vec::with_capacity(items.len());
        let (mut seen_bytes, mut seen_tokens, mut tokens) = (0, 0, 0);
        for input in items {
            if self.is_over() {
                return slots;
            }
            slots.push(match self.read(input) {
                Ok(made) if !self.has_room(made.window_count()) => Err(too_many_windows()),
                Ok(made) => {
                    let size = if made.windows.is_some() { input.own_size() } else { input.size() };
                    if !made.sequence.truncated && size.ids == 0 {
                        seen_bytes += size.bytes;
                        seen_tokens += made.text_tokens(&self.input_kind) as u64;
                    }
                    let Tokens { sequence, windows, details } = made;
                    let truncated = sequence.truncated;
                    let first = sequences.len();
                    let mut n = sequence.len();
                    let kept = match self.sink {
                        TokenSink::Queue { .. } => {
                            let detailed = matches!(self.input_kind, InputKind::Detailed { .. });
                            let kept = if detailed { sequence.clone() } else { Sequence::default() };
                            sequences.push(sequence);
                            kept
                        }
                        TokenSink::Keep => sequence,
                    };
                    let window_tokens = windows.map(|windows| {
                        n += windows.later.iter().map(Sequence::len).sum::<usize>();
                        self.take_window_tokens(n);
                        sequences.extend(windows.later);
                        windows.tokens
                    });
                    tokens += n;
                    let queued = first..sequences.len();
                    Ok(TokenizedItem { tokens: n, truncated, details, queued, window_tokens, kept })
                }
                Err(TokenizeFailure::Refused(refusal)) => Err(refusal),
                Err(TokenizeFailure::Input(error)) if is_of_the_request(&error) => {
                    self.fail(whole_request("options", &error));
                    return slots;
                }
                Err(TokenizeFailure::Input(error)) => Err(error.into()),
            });
        }
        self.served.ratio.lock().observe(seen_bytes, seen_tokens);
        self.served.tokenizing.note(items.len(), tokens, begun.elapsed());
        self.queue_sequences(sequences, &mut slots);
        slots
    }

    /// Queues a piece's sequences and gives their slots their numbers.
    fn queue_sequences(&self, sequences: Vec<Sequence>, slots: &mut [TokenizeResult]) {
        let TokenSink::Queue { sink, want } = &self.sink else { return };
        let first = self.queued_items.fetch_add(sequences.len(), Ordering::Relaxed);
        for made in slots.iter_mut().flatten() {
            made.queued = first + made.queued.start..first + made.queued.end;
        }
        let item = |sequence: Sequence| QueuedItem {
            tokens: sequence.len(),
            item: Arc::new(WorkItem { sequence, want: *want }),
        };
        if let Some(sink) = sink.read().as_ref() {
            sink.push(first, sequences.into_iter().map(item).collect());
        }
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

impl ParallelTask for TokenizeJob {
    fn run(&self, piece: usize) -> bool {
        let _end = PieceGuard(self);
        let items = self.pieces.get(piece).and_then(|range| self.inputs.get(range.clone()));
        if let (Some(items), Some(slot)) = (items, self.made.get(piece)) {
            let made = self.read_piece(items);
            let read = !made.is_empty();
            *slot.lock() = made;
            return read;
        }
        false
    }
}

/// Ends a piece, whatever happened in it.
struct PieceGuard<'a>(&'a TokenizeJob);

impl Drop for PieceGuard<'_> {
    fn drop(&mut self) {
        self.0.end_piece();
    }
}

fn too_many_windows() -> ItemRefusal {
    let message = format!("the request has more than {MAX_REQUEST_WINDOWS} windows; send fewer documents at once");
    ItemRefusal { reason: "TOO_MANY_WINDOWS", message }
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
