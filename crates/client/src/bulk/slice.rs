//! Consecutive inputs that travel as one job: how large, and how they are answered.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sortie_dispatch::{Backoff, TextSize};
use tokio::time::{Instant, sleep};

use super::{BulkSettings, MAX_SLICE_BYTES, SLICES_PER_SERVER, window::Window};
use crate::{
    call::Call,
    client::Client,
    error::{Error, ErrorKind},
    input::Input,
    job,
    job::chunked::{ChunkedRpc, Resource},
    state::ClientState,
};

/// Makes the call for a slice.
pub(super) type MakeCall<R> = Box<dyn Fn(&Client, &[Input]) -> Call<R> + Send + Sync>;

/// Tokens of a slice where no server says what a batch holds: twice a server's default on processors and an eighth of
/// the one on GPUs, so that a slice keeps a processor busy and is no long wait on it.
const ASSUMED_BATCH_TOKENS: u64 = 2_048;

/// Items of a slice where no server says how many a request holds: the default of `max_items` on servers.
const ASSUMED_MAX_ITEMS: usize = 10_000;

/// Shortest wait before a slice is sent again, whatever a server asks for.
const MIN_BACKOFF: Duration = Duration::from_millis(10);

/// Waits before a slice is sent again where no server says how long. Nobody waits for bulk work, so they are long.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(250), limit: Duration::from_secs(10) };

/// How large slices are.
#[derive(Clone, Copy, Debug)]
pub(super) struct SliceSize {
    pub(super) tokens: u64,
    pub(super) items: usize,
    /// Slices that keep the fleet busy.
    pub(super) window: usize,
}

impl Default for SliceSize {
    fn default() -> Self {
        Self { tokens: ASSUMED_BATCH_TOKENS, items: ASSUMED_MAX_ITEMS, window: SLICES_PER_SERVER }
    }
}

/// Asks the fleet what it takes.
pub(super) async fn size(client: Client, model: Option<String>, settings: BulkSettings) -> SliceSize {
    let mut probe = client.probe();
    if let Some(model) = model {
        probe = probe.model(model);
    }
    let answers = probe.deadline(client.state().config.first_contact_timeout()).await.unwrap_or_default();
    let loads: Vec<_> = answers.into_iter().filter_map(|answer| answer.result.ok()).collect();
    let mut size = SliceSize::default();
    // A slice fits the smallest server: it may go to any.
    if let Some(tokens) = loads.iter().map(|load| load.limits.max_batch_tokens).filter(|&tokens| tokens > 0).min() {
        size.tokens = tokens;
    }
    if let Some(items) = loads.iter().map(|load| load.limits.max_items).filter(|&items| items > 0).min() {
        size.items = usize::try_from(items).unwrap_or(usize::MAX);
    }
    size.tokens = settings.slice_tokens.unwrap_or(size.tokens);
    size.window = settings.slices.unwrap_or(SLICES_PER_SERVER * loads.len().max(1));
    size
}

/// A slice that is being filled.
#[derive(Debug, Default)]
pub(super) struct SliceBuilder {
    pub(super) start: u64,
    pub(super) inputs: Vec<Input>,
    bytes: usize,
    tokens: u64,
}

impl SliceBuilder {
    /// An empty slice from `start` on.
    pub(super) fn from(start: u64) -> Self {
        Self { start, ..Self::default() }
    }

    /// Adds an input. Gives the input back where the slice is full without it.
    pub(super) fn push<R: ChunkedRpc>(
        &mut self,
        state: &ClientState,
        model: &str,
        size: SliceSize,
        input: Input,
    ) -> Option<Input> {
        let (bytes, ids) = input.size();
        let tokens = {
            let mut fleet = state.fleet();
            let number = fleet.model(model, R::RESOURCE);
            fleet.estimate(number, TextSize { bytes: bytes as u64, ids: ids as u64 }, u64::MAX)
        };
        // Tokenizing has no batch to fill.
        let tokens = if R::RESOURCE == Resource::Tokenizer { 0 } else { tokens };
        let full = self.inputs.len() >= size.items
            || self.tokens.saturating_add(tokens) > size.tokens
            || self.bytes.saturating_add(bytes) > MAX_SLICE_BYTES;
        if full && !self.inputs.is_empty() {
            return Some(input);
        }
        self.inputs.push(input);
        self.bytes += bytes;
        self.tokens += tokens;
        None
    }
}

/// A slice's answer.
pub(super) struct AnsweredSlice<T> {
    pub(super) start: u64,
    pub(super) items: u64,
    pub(super) outcome: Result<T, Error>,
    pub(super) again: u32,
}

/// What slices of a run share.
#[derive(Debug)]
pub(super) struct RunState {
    pub(super) window: Window,
    /// When a slice last succeeded.
    pub(super) success: Instant,
}

/// Has a slice answered, again and again until the run gives up.
pub(super) async fn answer<R: ChunkedRpc>(
    client: Client,
    make: Arc<MakeCall<R>>,
    slice: SliceBuilder,
    shared: Arc<Mutex<RunState>>,
    give_up_after: Duration,
) -> AnsweredSlice<R::Output> {
    let SliceBuilder { start, inputs, .. } = slice;
    let items = inputs.len() as u64;
    let mut again: u32 = 0;
    loop {
        let Call { client: caller, rpc, options } = make(&client, &inputs);
        let outcome = job::run(rpc, caller.state(), options).await;
        let now = Instant::now();
        let error = match outcome {
            Ok(answer) => {
                let mut shared = shared.lock();
                shared.window.answered();
                shared.success = now;
                return AnsweredSlice { start, items, outcome: Ok(answer), again };
            }
            Err(error) => error,
        };
        let pause = {
            let mut shared = shared.lock();
            if error.kind() == ErrorKind::Overloaded {
                shared.window.overloaded(now);
            }
            let goes_on = now.saturating_duration_since(shared.success) < give_up_after;
            // A slice that no server had time for has a new deadline the next time.
            let passing =
                error.is_retryable() || matches!(error.kind(), ErrorKind::DeadlineExceeded | ErrorKind::Overloaded);
            let wait = error.retry_after().unwrap_or_else(|| BACKOFF.after(again + 1));
            (goes_on && passing).then(|| wait.clamp(MIN_BACKOFF, BACKOFF.limit))
        };
        let Some(pause) = pause else { return AnsweredSlice { start, items, outcome: Err(error), again } };
        tracing::debug!(start, items, %error, ?pause, "slice failed; it is sent again");
        again += 1;
        sleep(pause).await;
    }
}
