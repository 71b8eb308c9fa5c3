//! The one way of a request through the server:
//!
//! ```text
//! validate → admit (estimated tokens) → tokenize (blocking threads) → submit → await → assemble
//! ```
//!
//! The services differ in how inputs are read ([`Reading`]), what is wanted of
//! them and what the outputs become; the rest is here. Each item ends as an
//! [`Item`] or an [`ItemRefusal`], in request order. Dropping the future anywhere
//! cancels what was begun: the admission, the tokenizing, the queued part.

mod estimate;
mod read;
mod tokenize;
mod validate;

use std::{sync::Arc, time::Instant};

use sortie_engine::{InputError, ItemFault, Output, TokenDetail, Want, WorkItem};
use sortie_proto::v1;
use sortie_scheduler::{PartError, Refusal, Request, Tenant, Unit};

pub(crate) use estimate::TokenRatio;
pub(crate) use read::{Asked, Reading, Tokens};
pub(crate) use tokenize::{make_query, tokenize};
pub(crate) use validate::{TextRules, check_answer_size, check_list, enum_value, text_rules};

use crate::{
    context::RequestContext,
    errors::{ItemRefusal, ServeError},
    models::Served,
};

/// A request's work: validated, not yet admitted.
pub(crate) struct Work {
    /// The inputs, in request order.
    pub(crate) asked: Vec<Asked>,
    /// How they become tokens.
    pub(crate) reading: Reading,
    /// What is computed of each.
    pub(crate) want: Want,
}

/// One item's answer.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) output: Output,
    /// Tokens used, specials included.
    pub(crate) tokens: usize,
    pub(crate) truncated: bool,
    /// One a token where the reading was [`Reading::Detailed`] and the input a text.
    pub(crate) details: Vec<TokenDetail>,
}

/// One a request item.
pub(crate) type Items = Vec<Result<Item, ItemRefusal>>;

/// Runs `work` on `served`.
pub(crate) async fn run(
    served: &Arc<Served>,
    context: &RequestContext,
    work: Work,
) -> Result<(Items, v1::PartInfo), ServeError> {
    let Work { asked, reading, want } = work;
    let estimate = estimate::tokens(&asked, &reading, &served.ratio, served.info().max_length);
    context.note_size(asked.len(), estimate);
    let request = Request {
        tokens: estimate,
        deadline: context.deadline,
        priority: context.caller.priority,
        tenant: Tenant::named(&context.caller.tenant),
    };
    let admission = served.scheduler.admit(request).map_err(refused)?;

    let begun = Instant::now();
    let read = tokenize(served, asked, reading).await?;
    let tokenize_us = micros(begun.elapsed());

    let mut units = Vec::with_capacity(read.len());
    let mut slots = Vec::with_capacity(read.len());
    let mut total = 0;
    for item in read {
        slots.push(match item {
            Ok(tokens) => {
                let n = tokens.sequence.len();
                total += n;
                let truncated = tokens.sequence.truncated;
                units.push(Unit { item: Arc::new(WorkItem { sequence: tokens.sequence, want }), tokens: n });
                Ok((n, truncated, tokens.details))
            }
            Err(refusal) => Err(refusal),
        });
    }
    context.note_size(slots.len(), total as u64);

    let mut part = part_info(served, context, tokenize_us, total as u64);
    let outputs = if units.is_empty() {
        drop(admission);
        Vec::new()
    } else {
        let result = admission.submit(units).await.map_err(|e| match e {
            PartError::Expired => ServeError::DeadlineExceeded,
            _ => ServeError::BackendGone,
        })?;
        part.queue_us = micros(result.queued);
        part.compute_us = result.batches.iter().map(|b| micros(b.duration)).sum();
        part.batch_ms = result.batches.iter().map(|b| b.duration.as_secs_f32() * 1e3).collect();
        part.batch_tok = result.batches.iter().map(|b| u32::try_from(b.tokens).unwrap_or(u32::MAX)).collect();
        result.outputs
    };
    let items = merge(slots, outputs)?;
    part.total_us = micros(context.arrived.elapsed());
    Ok((items, part))
}

type Slot = Result<(usize, bool, Vec<TokenDetail>), ItemRefusal>;

/// Puts outputs back among the items that were refused before the device.
fn merge(slots: Vec<Slot>, outputs: Vec<Result<Output, ItemFault>>) -> Result<Items, ServeError> {
    // A run that failed for everything is the server's fault, not the items'.
    if let Some(Err(ItemFault::Run(message))) = outputs.first()
        && outputs.iter().all(|o| matches!(o, Err(ItemFault::Run(_))))
    {
        return Err(ServeError::RunFailed(message.clone()));
    }
    let mut outputs = outputs.into_iter();
    let mut items = Vec::with_capacity(slots.len());
    for slot in slots {
        items.push(match slot {
            Err(refusal) => Err(refusal),
            Ok((tokens, truncated, details)) => match outputs.next() {
                Some(Ok(output)) => Ok(Item { output, tokens, truncated, details }),
                Some(Err(fault)) => Err(ItemRefusal::from(&fault)),
                None => return Err(ServeError::Internal("the scheduler gave too few answers".to_owned())),
            },
        });
    }
    Ok(items)
}

/// The contract's per-item facts.
pub(crate) fn item_info(items: &[Result<Item, ItemRefusal>]) -> v1::ItemInfo {
    v1::ItemInfo {
        tokens: items.iter().map(|i| i.as_ref().map_or(0, |i| u32::try_from(i.tokens).unwrap_or(u32::MAX))).collect(),
        truncated: items.iter().map(|i| i.as_ref().is_ok_and(|i| i.truncated)).collect(),
        errors: items.iter().enumerate().filter_map(|(n, i)| i.as_ref().err().map(|e| e.at(n))).collect(),
    }
}

fn part_info(served: &Served, context: &RequestContext, tokenize_us: u64, tokens: u64) -> v1::PartInfo {
    v1::PartInfo {
        model: served.name.clone(),
        model_revision: served.revision.clone(),
        replica: served.replica.to_string(),
        job_id: context.caller.job_id.clone(),
        tokenize_us,
        tokens,
        ..v1::PartInfo::default()
    }
}

fn refused(refusal: Refusal) -> ServeError {
    match refusal {
        Refusal::QueueFull { queued, limit, retry_after } => ServeError::QueueFull { queued, limit, retry_after },
        Refusal::TooManyParts { limit, retry_after } => {
            ServeError::TooManyParts { limit: u32::try_from(limit).unwrap_or(u32::MAX), retry_after }
        }
        Refusal::TooLate { wait, remaining, retry_after } => {
            ServeError::DeadlineTooShort { wait, remaining, retry_after }
        }
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
        InputError::QueryTooLong { .. } | InputError::TooLong { .. } => {
            ServeError::QueryTooLong { field, message: error.to_string() }
        }
        _ => ServeError::bad_field(field, error.to_string()),
    }
}

/// Microseconds, as the contract counts.
fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_go_back_to_their_places() {
        let slots: Vec<Slot> = vec![Ok((3, false, vec![])), Err(ItemRefusal::unsupported("x")), Ok((4, true, vec![]))];
        let outputs = vec![Ok(Output::Logits(vec![1.0])), Err(ItemFault::NonFinite)];
        let items = merge(slots, outputs).unwrap();
        let info = item_info(&items);
        assert_eq!((info.tokens, info.truncated), (vec![3, 0, 0], vec![false, false, false]));
        let errors: Vec<_> = info.errors.iter().map(|e| (e.index, e.reason.as_str())).collect();
        assert_eq!(errors, [(1, "UNSUPPORTED_INPUT"), (2, "NON_FINITE_OUTPUT")]);
    }

    #[test]
    fn a_run_that_failed_for_everything_is_the_jobs_error() {
        let slots: Vec<Slot> = vec![Ok((3, false, vec![])), Ok((4, true, vec![]))];
        let outputs = vec![Err(ItemFault::Run("a".into())), Err(ItemFault::Run("b".into()))];
        assert_eq!(merge(slots, outputs).unwrap_err(), ServeError::RunFailed("a".into()));
    }

    #[test]
    fn too_few_outputs_are_noticed() {
        assert!(matches!(merge(vec![Ok((1, false, vec![]))], vec![]), Err(ServeError::Internal(_))));
    }
}
