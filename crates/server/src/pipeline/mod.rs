//! The one way of a request through the server:
//!
//! ```text
//! may it come in at all? → read and validate → admit (estimated tokens) → tokenize (the pool) ⇉ queue → await →
//! assemble
//! ```
//!
//! The services differ in how inputs are read ([`InputKind`]), what is wanted of
//! them and what the outputs become; the rest is here. Items go into the queue as
//! they are tokenized, a piece at a time. Each ends as an [`Item`] or an
//! [`ItemRefusal`], in request order. Dropping the future anywhere cancels what was
//! begun: the admission, the tokenizing, the queued chunk.

mod estimate;
mod input;
mod pool;
mod tokenize;
mod tokenize_job;
mod tokenize_stats;
mod validate;
mod windows;

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use sortie_engine::{InputError, ItemFault, Output, TokenDetail, Want};
use sortie_proto::v1;
use sortie_scheduler::{Admission, ChunkError, Refusal, Request, Tenant};
use tokio::time::Instant;

pub(crate) use estimate::TokenRatio;
pub(crate) use input::{InputKind, ParsedInput, Tokens};
pub(crate) use pool::TokenizerPool;
pub(crate) use tokenize::{make_query, tokenize};
use tokenize_job::{TokenSink, TokenizeJob, TokenizeResult, TokenizedItem};
pub(crate) use tokenize_stats::TokenizeStats;
pub(crate) use validate::{TextRules, check_answer_size, check_list, enum_value, text_rules};
pub(crate) use windows::{ItemWindows, WindowRule, window_rule};

use crate::{
    backend::EngineBackend,
    context::RequestContext,
    errors::{ItemRefusal, ServeError},
    models::Served,
};

/// A request's work.
pub(crate) struct InferenceRequest {
    /// The inputs, in request order.
    pub(crate) inputs: Vec<ParsedInput>,
    /// How they become tokens.
    pub(crate) input_kind: InputKind,
    /// What is computed of each.
    pub(crate) want: Want,
}

/// One item's answer.
#[derive(Debug)]
pub(crate) struct Item {
    /// That of its first window where it was read in windows.
    pub(crate) output: Output,
    /// Its windows, where they were asked for.
    pub(crate) windows: Option<ItemWindows>,
    /// Tokens used, specials included.
    pub(crate) tokens: usize,
    pub(crate) truncated: bool,
    /// One a token where the reading was [`InputKind::Detailed`] and the input a text.
    pub(crate) details: Vec<TokenDetail>,
    /// Its token ids where the reading was [`InputKind::Detailed`].
    pub(crate) ids: Vec<u32>,
}

impl Item {
    /// An item of which nothing is known but its answer.
    pub(crate) fn of(output: Output) -> Self {
        Self { output, windows: None, tokens: 0, truncated: false, details: Vec::new(), ids: Vec::new() }
    }
}

/// One a request item.
pub(crate) type Items = Vec<Result<Item, ItemRefusal>>;

/// What `context` asks of the scheduler.
fn request(context: &RequestContext, tokens: u64) -> Request<Instant> {
    Request {
        tokens,
        deadline: context.deadline,
        priority: context.caller.priority,
        tenant: Tenant::named(&context.caller.tenant),
    }
}

/// Refuses a request that would be refused whatever is in it, before its message is read.
///
/// # Errors
/// As [`admit`], for the tokens that the caller said it has, or for next to none.
pub(crate) fn check_admissible(served: &Served, context: &RequestContext) -> Result<(), ServeError> {
    match served.scheduler.admissible(&request(context, context.caller.tokens.max(1))) {
        // The caller's estimate knows nothing of where texts are cut: too large is what is too large once it is read.
        Ok(()) | Err(Refusal::TooLarge { .. }) => Ok(()),
        Err(refusal) => Err(refused(refusal)),
    }
}

/// Reserves room for inputs that all share `shared`, before any is tokenized. Dropping it gives the room back.
///
/// # Errors
/// Where the queue has no room or no time for them.
pub(crate) fn admit(
    served: &Served,
    context: &RequestContext,
    inputs: &[ParsedInput],
    shared: Option<&ParsedInput>,
) -> Result<Admission<EngineBackend>, ServeError> {
    let estimate = estimate::tokens(inputs, shared, &served.ratio, served.info().max_length);
    context.note_size(inputs.len(), estimate);
    served.scheduler.admit(request(context, estimate)).map_err(refused)
}

/// Runs `work`, which was admitted, on `served`.
pub(crate) async fn run(
    served: &Arc<Served>,
    context: &RequestContext,
    admission: Admission<EngineBackend>,
    work: InferenceRequest,
) -> Result<(Items, v1::ChunkInfo), ServeError> {
    let InferenceRequest { inputs, input_kind, want } = work;
    let (sink, response) = admission.stream();
    let to = TokenSink::Queue { sink: RwLock::new(Some(sink)), want };
    let reads = TokenizeJob::start(served, context, inputs, input_kind, to);
    // All pieces ended before the chunk could be answered, unless the request failed.
    let result = match response.await {
        Ok(result) => result,
        Err(error) => return Err(reads.failure().unwrap_or_else(|| chunk_failed(error))),
    };
    let (slots, took) = reads.ended().await?;
    let total = slots.iter().flatten().map(|made| made.tokens as u64).sum();
    context.note_size(slots.len(), total);
    let mut chunk = chunk_info(served, context, took + context.query_took(), total);
    chunk.queue_us = micros(result.queued);
    chunk.compute_us = result.batches.iter().map(|b| micros(b.duration)).sum();
    chunk.batch_ms = result.batches.iter().map(|b| b.duration.as_secs_f32() * 1e3).collect();
    chunk.batch_tokens = result.batches.iter().map(|b| u32::try_from(b.tokens).unwrap_or(u32::MAX)).collect();
    let items = merge(slots, result.outputs)?;
    chunk.total_us = micros(context.arrived.elapsed());
    Ok((items, chunk))
}

fn chunk_failed(error: ChunkError) -> ServeError {
    match error {
        ChunkError::Expired => ServeError::DeadlineExceeded,
        _ => ServeError::BackendGone,
    }
}

/// Puts outputs, one a queued sequence, back among the items that were refused before the device.
fn merge(slots: Vec<TokenizeResult>, outputs: Vec<Result<Output, ItemFault>>) -> Result<Items, ServeError> {
    // A run that failed for everything is the server's fault, not the items'.
    if let Some(Err(ItemFault::Run(message))) = outputs.first()
        && outputs.iter().all(|o| matches!(o, Err(ItemFault::Run(_))))
    {
        return Err(ServeError::RunFailed(message.clone()));
    }
    let mut outputs: Vec<_> = outputs.into_iter().map(Some).collect();
    let mut items = Vec::with_capacity(slots.len());
    for slot in slots {
        items.push(match slot {
            Err(refusal) => Err(refusal),
            Ok(made) => {
                let given = made.queued.clone().map(|at| outputs.get_mut(at).and_then(Option::take));
                let Some(given) = given.collect::<Option<Vec<_>>>() else {
                    return Err(ServeError::Internal("the scheduler gave too few answers".to_owned()));
                };
                item(made, given)?
            }
        });
    }
    Ok(items)
}

/// An item of what came of its sequences, all of which must have an answer.
fn item(made: TokenizedItem, given: Vec<Result<Output, ItemFault>>) -> Result<Result<Item, ItemRefusal>, ServeError> {
    let mut outputs = match given.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(outputs) => outputs.into_iter(),
        Err(fault) => return Ok(Err(ItemRefusal::from(&fault))),
    };
    let Some(output) = outputs.next() else {
        return Err(ServeError::Internal("an item was queued without a sequence".to_owned()));
    };
    let windows = made.window_tokens.map(|tokens| ItemWindows { tokens, later: outputs.collect() });
    Ok(Ok(Item {
        output,
        windows,
        tokens: made.tokens,
        truncated: made.truncated,
        details: made.details,
        ids: made.kept.ids,
    }))
}

/// The contract's per-item facts.
pub(crate) fn item_info(items: &[Result<Item, ItemRefusal>]) -> v1::ItemInfo {
    v1::ItemInfo {
        tokens: items.iter().map(|i| i.as_ref().map_or(0, |i| u32::try_from(i.tokens).unwrap_or(u32::MAX))).collect(),
        truncated: items.iter().map(|i| i.as_ref().is_ok_and(|i| i.truncated)).collect(),
        errors: items.iter().enumerate().filter_map(|(n, i)| i.as_ref().err().map(|e| e.at(n))).collect(),
        windows: if items.iter().flatten().any(|item| item.windows.is_some()) {
            let count = |item: &Item| u32::try_from(item.window_count()).unwrap_or(u32::MAX);
            items.iter().map(|item| item.as_ref().map_or(0, count)).collect()
        } else {
            Vec::new()
        },
    }
}

fn chunk_info(served: &Served, context: &RequestContext, tokenize: Duration, tokens: u64) -> v1::ChunkInfo {
    v1::ChunkInfo {
        model: served.name.clone(),
        model_revision: served.revision.clone(),
        replica: served.replica.to_string(),
        job_id: context.caller.job_id.clone(),
        tokenize_us: micros(tokenize),
        tokens,
        ..v1::ChunkInfo::default()
    }
}

fn refused(refusal: Refusal) -> ServeError {
    match refusal {
        Refusal::QueueFull { queued, limit, retry_after } => ServeError::QueueFull { queued, limit, retry_after },
        Refusal::TooManyChunks { limit, retry_after } => {
            ServeError::TooManyChunks { limit: u32::try_from(limit).unwrap_or(u32::MAX), retry_after }
        }
        Refusal::TooLate { wait, queue, remaining, retry_after } => {
            ServeError::DeadlineTooShort { wait, queue, remaining, retry_after }
        }
        Refusal::WaitTooLong { wait, limit, retry_after } => ServeError::WaitTooLong { wait, limit, retry_after },
        Refusal::NoDevice => ServeError::BackendGone,
        Refusal::TooLarge { tokens, limit } => ServeError::JobTooLarge { tokens, limit },
        Refusal::Draining => ServeError::Draining,
        other => ServeError::Internal(other.to_string()),
    }
}

/// The refusal of a whole request for an input it cannot do without, or for options no input can meet.
pub(crate) fn whole_request(field: &'static str, error: &InputError) -> ServeError {
    match error {
        InputError::BadMaxLength { .. } => ServeError::BadMaxLength(error.to_string()),
        InputError::BadRole(message) => ServeError::bad_field("options.role", message),
        InputError::BadStride { .. } => ServeError::bad_field("windows.stride", error.to_string()),
        InputError::NoWindows => ServeError::bad_field("windows", error.to_string()),
        InputError::QueryTooLong { .. } | InputError::TooLong { .. } => {
            ServeError::QueryTooLong { field, message: error.to_string() }
        }
        _ => ServeError::bad_field(field, error.to_string()),
    }
}

/// Whether options that no input can meet are at fault, and not one input.
fn is_of_the_request(error: &InputError) -> bool {
    matches!(
        error,
        InputError::BadMaxLength { .. } | InputError::BadRole(_) | InputError::BadStride { .. } | InputError::NoWindows
    )
}

/// Microseconds, as the contract counts.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(at: usize, tokens: usize, truncated: bool) -> TokenizeResult {
        let kept = sortie_engine::Sequence::default();
        Ok(TokenizedItem { tokens, truncated, details: vec![], queued: at..at + 1, window_tokens: None, kept })
    }

    #[test]
    fn outputs_go_back_to_their_places() {
        let slots = vec![made(1, 3, false), Err(ItemRefusal::unsupported("x")), made(0, 4, true)];
        let outputs = vec![Err(ItemFault::NonFinite), Ok(Output::Logits(vec![1.0]))];
        let items = merge(slots, outputs).unwrap();
        let info = item_info(&items);
        assert_eq!((info.tokens, info.truncated), (vec![3, 0, 0], vec![false, false, false]));
        let errors: Vec<_> = info.errors.iter().map(|e| (e.index, e.reason.as_str())).collect();
        assert_eq!(errors, [(1, "UNSUPPORTED_INPUT"), (2, "NON_FINITE_OUTPUT")]);
    }

    #[test]
    fn windows_go_back_to_their_item_and_one_that_failed_fails_it() {
        let windows = |slot: TokenizeResult| {
            slot.map(|made| {
                let queued = made.queued.start..made.queued.start + 2;
                TokenizedItem { queued, window_tokens: Some(vec![5, 2]), ..made }
            })
        };
        let slots = vec![windows(made(1, 3, false)), made(0, 4, false), windows(made(3, 9, false))];
        let logits = |x: f32| Ok(Output::Logits(vec![x]));
        let outputs = vec![logits(0.0), logits(1.0), logits(2.0), logits(3.0), Err(ItemFault::NonFinite)];
        let items = merge(slots, outputs).unwrap();
        let first = items[0].as_ref().unwrap();
        assert_eq!(first.output, Output::Logits(vec![1.0]));
        let windows = ItemWindows { tokens: vec![5, 2], later: vec![Output::Logits(vec![2.0])] };
        assert_eq!(first.windows, Some(windows));
        let info = item_info(&items);
        assert_eq!((info.windows, info.errors[0].index), (vec![2, 1, 0], 2));
    }

    #[test]
    fn a_run_that_failed_for_everything_is_the_jobs_error() {
        let slots = vec![made(0, 3, false), made(1, 4, true)];
        let outputs = vec![Err(ItemFault::Run("a".into())), Err(ItemFault::Run("b".into()))];
        assert_eq!(merge(slots, outputs).unwrap_err(), ServeError::RunFailed("a".into()));
    }

    #[test]
    fn too_few_outputs_are_noticed() {
        assert!(matches!(merge(vec![made(0, 1, false)], vec![]), Err(ServeError::Internal(_))));
    }
}
