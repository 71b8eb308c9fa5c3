//! A run of bulk work as a stream: reads inputs, keeps slices under way, gives their answers.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    Stream, StreamExt as _,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    BulkSettings,
    slice::{self, AnsweredSlice, MakeCall, RunState, SliceBuilder, SliceSize},
    window::Window,
};
use crate::{client::Client, error::Error, input::Input, job::chunked::ChunkedRpc};

/// How often the fleet is asked again what it takes: servers come and go.
const SIZE_PERIOD: Duration = Duration::from_secs(5);

/// Answers that wait for an earlier one, for each slice that may be under way.
const HELD_PER_SLICE: usize = 2;

/// The answer to consecutive inputs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SliceAnswer<T> {
    /// Place of its first input in the whole input, from 0.
    pub start: u64,
    /// The answer; its lists are in input order, its report is of this slice alone.
    pub answer: T,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Inputs that were read, those read past included.
    pub read: u64,
    /// Inputs whose answer was given.
    pub given: u64,
    /// Every input before this one was given: where a run that goes on after this one starts.
    pub resume_at: u64,
    /// Slices under way.
    pub slices: usize,
    /// Slices that may be under way as the fleet stands.
    pub window: usize,
    /// Answers that wait for an earlier one.
    pub held: usize,
    /// Times that a slice was sent again as a whole.
    pub again: u64,
}

type Underway<T> = FuturesUnordered<BoxFuture<'static, AnsweredSlice<T>>>;

/// A run of bulk work: a stream of [`SliceAnswer`]s.
///
/// An error ends it; what was given is good, and [`Progress::resume_at`] says where to go on.
/// Dropping it cancels what is under way.
#[must_use = "a run does nothing until it is polled"]
pub struct BulkRun<R: ChunkedRpc> {
    client: Client,
    inputs: Option<BoxStream<'static, Input>>,
    make: Arc<MakeCall<R>>,
    model: String,
    named: Option<String>,
    settings: BulkSettings,
    sizing: Option<BoxFuture<'static, SliceSize>>,
    size: Option<(SliceSize, Instant)>,
    builder: SliceBuilder,
    /// An input that did not fit the slice before it.
    left_over: Option<Input>,
    read: u64,
    given: u64,
    again: u64,
    resume_at: u64,
    underway: Underway<R::Output>,
    held: BTreeMap<u64, (u64, R::Output)>,
    /// Given out of order, from each start to its end.
    islands: BTreeMap<u64, u64>,
    shared: Arc<Mutex<RunState>>,
}

impl<R: ChunkedRpc> fmt::Debug for BulkRun<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkRun").field("rpc", &R::NAME).field("progress", &self.progress()).finish_non_exhaustive()
    }
}

impl<R: ChunkedRpc> BulkRun<R> {
    pub(super) fn new(
        client: Client,
        inputs: BoxStream<'static, Input>,
        make: MakeCall<R>,
        settings: BulkSettings,
    ) -> Self {
        let template = make(&client, &[]);
        let named = template.options.model.clone();
        let model = client.state().defaults().model_of(&template.options).to_owned();
        let shared = RunState { window: Window::new(1), success: Instant::now() };
        Self {
            client,
            inputs: Some(inputs),
            make: Arc::new(make),
            model,
            named,
            settings,
            sizing: None,
            size: None,
            builder: SliceBuilder::from(settings.resume_at),
            left_over: None,
            read: 0,
            given: 0,
            again: 0,
            resume_at: settings.resume_at,
            underway: FuturesUnordered::new(),
            held: BTreeMap::new(),
            islands: BTreeMap::new(),
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            read: self.read,
            given: self.given,
            resume_at: self.resume_at,
            slices: self.underway.len(),
            window: self.shared.lock().window.slices(),
            held: self.held.len(),
            again: self.again,
        }
    }

    /// The size of slices, once the fleet has answered; asked again from time to time.
    fn sized(&mut self, cx: &mut Context<'_>) -> Option<SliceSize> {
        let stale = self.size.is_none_or(|(_, at)| at.elapsed() >= SIZE_PERIOD);
        if stale && self.sizing.is_none() {
            self.sizing = Some(Box::pin(slice::size(self.client.clone(), self.named.clone(), self.settings)));
        }
        if let Some(sizing) = &mut self.sizing
            && let Poll::Ready(size) = sizing.as_mut().poll(cx)
        {
            self.sizing = None;
            let mut shared = self.shared.lock();
            match self.size {
                Some(_) => shared.window.set_most(size.window),
                None => *shared = RunState { window: Window::new(size.window), success: Instant::now() },
            }
            self.size = Some((size, Instant::now()));
        }
        self.size.map(|(size, _)| size)
    }

    /// Whether one more slice may be under way.
    fn room(&self) -> bool {
        let window = self.shared.lock().window.slices();
        self.underway.len() < window && self.underway.len() + self.held.len() < window * (1 + HELD_PER_SLICE)
    }

    /// Reads inputs and sends slices for as long as there is room.
    fn fill(&mut self, cx: &mut Context<'_>, size: SliceSize) {
        while self.room() {
            let next = match self.left_over.take() {
                Some(input) => Poll::Ready(Some(input)),
                None => self.read(cx),
            };
            match next {
                Poll::Ready(Some(input)) => {
                    self.left_over = self.builder.push::<R>(self.client.state(), &self.model, size, input);
                    if self.left_over.is_some() {
                        self.send();
                    }
                }
                Poll::Ready(None) => {
                    self.send();
                    return;
                }
                // A slow source: better a small slice than an idle fleet.
                Poll::Pending => {
                    if self.underway.is_empty() {
                        self.send();
                    }
                    return;
                }
            }
        }
    }

    /// The next input, past those that are not wanted.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Input>> {
        loop {
            let Some(inputs) = &mut self.inputs else { return Poll::Ready(None) };
            match std::task::ready!(inputs.as_mut().poll_next(cx)) {
                Some(input) => {
                    self.read += 1;
                    if self.read > self.settings.resume_at {
                        return Poll::Ready(Some(input));
                    }
                }
                None => {
                    self.inputs = None;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn send(&mut self) {
        if self.builder.inputs.is_empty() {
            return;
        }
        let next = self.builder.start + self.builder.inputs.len() as u64;
        let slice = std::mem::replace(&mut self.builder, SliceBuilder::from(next));
        let (client, make) = (self.client.clone(), Arc::clone(&self.make));
        let answer = slice::answer(client, make, slice, Arc::clone(&self.shared), self.settings.give_up_after);
        self.underway.push(Box::pin(answer));
    }

    /// An answer that may be given now.
    fn take(&mut self) -> Option<SliceAnswer<R::Output>> {
        let entry = self.held.first_entry()?;
        if self.settings.ordered && *entry.key() != self.resume_at {
            return None;
        }
        let (start, (items, answer)) = entry.remove_entry();
        self.given += items;
        self.islands.insert(start, start + items);
        while let Some(end) = self.islands.remove(&self.resume_at) {
            self.resume_at = end;
        }
        Some(SliceAnswer { start, answer })
    }
}

impl<R: ChunkedRpc> Stream for BulkRun<R> {
    type Item = Result<SliceAnswer<R::Output>, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(size) = this.sized(cx) else { return Poll::Pending };
        loop {
            this.fill(cx, size);
            if let Some(slice) = this.take() {
                return Poll::Ready(Some(Ok(slice)));
            }
            match this.underway.poll_next_unpin(cx) {
                Poll::Ready(Some(AnsweredSlice { start, items, outcome, again })) => {
                    this.again += u64::from(again);
                    match outcome {
                        Ok(answer) => {
                            this.held.insert(start, (items, answer));
                        }
                        Err(error) => {
                            // Nothing more is read, and the rest is cancelled.
                            this.inputs = None;
                            this.left_over = None;
                            this.builder = SliceBuilder::from(this.resume_at);
                            this.underway.clear();
                            this.held.clear();
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
                Poll::Ready(None) if this.inputs.is_none() && this.left_over.is_none() => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}
