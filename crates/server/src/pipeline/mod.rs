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

mod detokenize;
mod estimate;
mod input;
mod item;
mod labels;
mod refusals;
mod tokenize;
mod tokenize_task;
mod validate;
mod windows;

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use sortie_engine::Want;
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1;
use sortie_scheduler::{Admission, Amount, Priority, Refusal, Request, Tenant};
use sortie_work::WorkCurve;
use tokio::time::Instant;

pub(crate) use self::{
    detokenize::detokenize,
    input::{InputKind, ParsedInput, Tokens},
    item::{Item, Items, item_info},
    labels::RequestLabels,
    tokenize::{make_query, tokenize},
    validate::{TextRules, check_answer_size, check_list, enum_value, text_rules},
    windows::{WindowRule, window_rule},
};
use self::{
    estimate::TokenEstimate,
    item::merge,
    refusals::{chunk_failed, refused},
    tokenize_task::{TokenSink, TokenizeTask},
};
use crate::{backend::EngineBackend, models::Served};

/// A request's work.
pub(crate) struct InferenceRequest {
    /// The inputs, in request order.
    pub(crate) inputs: Vec<ParsedInput>,
    /// How they become tokens.
    pub(crate) input_kind: InputKind,
    /// What is computed of each.
    pub(crate) want: Want,
}

/// What `context` asks of the scheduler.
fn request(context: &RequestContext, amount: Amount) -> Request<Instant> {
    Request {
        deadline: context.deadline,
        priority: Priority { lane: context.caller.lane, attempt: context.caller.attempt },
        tenant: Tenant::named(&context.caller.tenant),
        ..Request::of_work(amount)
    }
}

/// Refuses a request that would be refused whatever is in it, before its message is read.
///
/// # Errors
/// As [`admit`], for the tokens that the caller said it has, or for next to none.
pub(crate) fn check_admissible(served: &Served, context: &RequestContext) -> Result<(), ServeError> {
    let tokens = context.caller.tokens.max(1);
    // However tokens are parted into texts, they are no more work than one text of them all, and no less than themselves.
    let most = WorkCurve::new(served.info().doubling_length).work(tokens);
    let said = Amount { tokens, work: context.caller.work.clamp(tokens, most) };
    match served.scheduler.admissible(&request(context, said)) {
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
    let estimate = TokenEstimate { ratio: *served.ratio.lock(), info: served.info() }.amount(inputs, shared);
    context.note_size(inputs.len(), estimate.tokens);
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
    let (sink, pending) = admission.stream();
    let to = TokenSink::Queue { sink: RwLock::new(Some(sink)), want };
    let tokenizing = TokenizeTask::start(served, context, inputs, input_kind, to);
    // All pieces ended before the chunk could be answered, unless the request failed.
    let response = match pending.await {
        Ok(response) => response,
        Err(error) => return Err(tokenizing.failure().unwrap_or_else(|| chunk_failed(error))),
    };
    let (results, took) = tokenizing.ended().await?;
    let total = results.iter().flatten().map(|made| made.tokens as u64).sum();
    context.note_size(results.len(), total);
    let mut chunk = chunk_info(served, context, took + context.query_took(), total);
    chunk.queue_us = micros(response.queued);
    chunk.compute_us = response.batches.iter().map(|b| micros(b.duration)).sum();
    chunk.batch_ms = response.batches.iter().map(|b| b.duration.as_secs_f32() * 1e3).collect();
    chunk.batch_work = response.batches.iter().map(|b| u32::try_from(b.work).unwrap_or(u32::MAX)).collect();
    chunk.batch_tokens = response.batches.iter().map(|b| u32::try_from(b.tokens).unwrap_or(u32::MAX)).collect();
    let items = merge(results, response.outputs)?;
    chunk.total_us = micros(context.arrived.elapsed());
    Ok((items, chunk))
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

/// Microseconds, as the contract counts.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
