//! One piece of a request's inputs, read by a thread of the pool.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use sortie_engine::{Sequence, WorkItem};
use sortie_scheduler::QueuedItem;

use super::{
    super::{
        input::{InputKind, LaterWindows, ParsedInput, ReadLimits, TokenizeFailure, Tokens},
        refusals::{is_of_the_request, whole_request},
    },
    TokenSink, TokenizeResult, TokenizeTask, TokenizedItem, internal,
};
use crate::item_refusal::ItemRefusal;

/// Most windows of one request, in items that have several: what comes of each is held until the answer, and so many
/// vectors of 768 numbers are 50 MB. Two hundred documents of 80 windows fit.
const MAX_REQUEST_WINDOWS: usize = 16_384;

/// What was made of a piece so far.
pub(super) struct PieceReader<'a> {
    task: &'a TokenizeTask,
    results: Vec<TokenizeResult>,
    /// Sequences to be queued; an item's have consecutive numbers, which count from the piece's first.
    sequences: Vec<Sequence>,
    /// Bytes of whole texts and their tokens, to learn from.
    learned: (u64, u64),
    tokens: usize,
    begun: Instant,
}

impl<'a> PieceReader<'a> {
    /// An empty piece of `task`, of so many inputs.
    pub(super) fn of(task: &'a TokenizeTask, inputs: usize) -> Self {
        let (results, sequences) = (Vec::with_capacity(inputs), Vec::with_capacity(inputs));
        Self { task, results, sequences, learned: (0, 0), tokens: 0, begun: Instant::now() }
    }

    /// Reads its inputs and passes them on. Once the request is over, nothing is read or queued any more.
    pub(super) fn read(mut self, inputs: &[ParsedInput]) -> Vec<TokenizeResult> {
        for input in inputs {
            if self.task.is_over() {
                return self.results;
            }
            let result = match self.task.read(input) {
                Ok(made) => self.add(input, made),
                Err(TokenizeFailure::Refused(refusal)) => Err(refusal),
                Err(TokenizeFailure::Input(error)) if is_of_the_request(&error) => {
                    self.task.fail(whole_request("options", &error));
                    return self.results;
                }
                Err(TokenizeFailure::Input(error)) => Err(error.into()),
            };
            self.results.push(result);
        }
        let (bytes, tokens) = self.learned;
        self.task.served.ratio.lock().observe(bytes, tokens);
        self.task.served.tokenizing.note(inputs.len(), self.tokens, self.begun.elapsed());
        self.queue()
    }

    /// Adds what was made of one input, if there is room for its windows.
    fn add(&mut self, input: &ParsedInput, made: Tokens) -> TokenizeResult {
        if !self.task.has_room(made.window_count()) {
            return Err(too_many_windows());
        }
        self.learn(input, &made);
        let Tokens { sequence, windows, details } = made;
        let (truncated, first) = (sequence.truncated, self.sequences.len());
        let mut tokens = sequence.len();
        let kept = self.keep(sequence);
        let window_tokens = windows.map(|LaterWindows { later, tokens: of_text, .. }| {
            tokens += later.iter().map(Sequence::len).sum::<usize>();
            self.task.take_window_tokens(tokens);
            self.sequences.extend(later);
            of_text
        });
        self.tokens += tokens;
        Ok(TokenizedItem { tokens, truncated, details, queued: first..self.sequences.len(), window_tokens, kept })
    }

    /// Remembers the tokens of a text that was not cut.
    fn learn(&mut self, input: &ParsedInput, made: &Tokens) {
        let size = if made.windows.is_some() { input.own_size() } else { input.size() };
        if !made.sequence.truncated && size.ids == 0 {
            self.learned.0 += size.bytes;
            self.learned.1 += made.text_tokens(&self.task.input_kind) as u64;
        }
    }

    /// Takes an item's first sequence: to be queued, or for the answer. What is to be in the answer too comes back.
    fn keep(&mut self, sequence: Sequence) -> Sequence {
        match self.task.sink {
            TokenSink::Queue { .. } => {
                let kept = match self.task.input_kind {
                    InputKind::Detailed { .. } => sequence.clone(),
                    InputKind::Labelled(_) => Sequence { places: sequence.places.clone(), ..Sequence::default() },
                    _ => Sequence::default(),
                };
                self.sequences.push(sequence);
                kept
            }
            TokenSink::Keep => sequence,
        }
    }

    /// Queues its sequences and gives its items their numbers.
    fn queue(mut self) -> Vec<TokenizeResult> {
        let TokenSink::Queue { sink, want } = &self.task.sink else { return self.results };
        let first = self.task.queued_items.fetch_add(self.sequences.len(), Ordering::Relaxed);
        for made in self.results.iter_mut().flatten() {
            made.queued = first + made.queued.start..first + made.queued.end;
        }
        let item = |sequence: Sequence| QueuedItem {
            tokens: sequence.len(),
            item: Arc::new(WorkItem { sequence, want: *want }),
        };
        if let Some(sink) = sink.read().as_ref() {
            sink.push(first, self.sequences.into_iter().map(item).collect());
        }
        self.results
    }
}

impl TokenizeTask {
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
}

fn too_many_windows() -> ItemRefusal {
    let message = format!("the request has more than {MAX_REQUEST_WINDOWS} windows; send fewer documents at once");
    ItemRefusal { reason: "TOO_MANY_WINDOWS", message }
}
