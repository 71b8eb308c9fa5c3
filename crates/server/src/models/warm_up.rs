//! A few batches before the first caller's: the runtime makes its buffers, and
//! the scheduler learns what a batch and a token cost here. Without them the
//! first estimates of waiting would be guesses, and refusals with them.

use std::sync::Arc;

use sortie_engine::{EncodeOptions, Model, Output, Sequence, Task, Want, WorkItem};
use sortie_scheduler::{PartResult, Request, Scheduler, Unit};

use crate::backend::EngineBackend;

/// Tokens of one sequence: a usual passage.
const TOKENS: usize = 128;

/// Sequences of each batch. Two sizes tell the cost of a batch from that of a token; each twice,
/// for the first of a kind is slow.
const BATCHES: [usize; 4] = [1, 4, 1, 4];

/// Any text will do.
const TEXT: &str = "warm up";

/// Runs the batches. A fault is logged and no more: requests will say what is wrong.
pub(super) async fn warm_up(name: &str, model: &Model, scheduler: &Scheduler<EngineBackend>) {
    let Some(item) = item(model) else { return };
    let tokens = item.sequence.len();
    let item = Arc::new(item);
    for count in BATCHES {
        let units = vec![Unit { item: Arc::clone(&item), tokens }; count];
        let fault = match scheduler.admit(Request::of((tokens * count) as u64)) {
            Ok(admission) => admission.submit(units).await.map_or_else(|e| Some(e.to_string()), |r| fault(&r)),
            Err(refusal) => Some(refusal.to_string()),
        };
        if let Some(fault) = fault {
            tracing::warn!(name, fault, "warming up failed");
            return;
        }
    }
    let load = scheduler.load();
    tracing::info!(name, batch_ms = load.a_ms, token_us = load.b_us, tokens_per_second = load.rate_tok_s, "warmed up");
}

fn fault(result: &PartResult<Output, sortie_engine::ItemFault>) -> Option<String> {
    result.outputs.iter().find_map(|o| o.as_ref().err().map(ToString::to_string))
}

/// A sequence of the usual length, made of the text's own ids.
fn item(model: &Model) -> Option<WorkItem> {
    let info = model.info();
    let start = model.tokenizer().encode(TEXT, &EncodeOptions::default()).ok()?;
    let length = TOKENS.min(info.max_length);
    let ids: Vec<u32> = start.ids.iter().copied().cycle().take(length).collect();
    let want = match &info.task {
        Task::SequenceClassification { .. } => Want::Logits,
        Task::TokenClassification { .. } => Want::TokenLogits,
        Task::Embedding => Want::Embedding(info.embed),
        Task::SparseEmbedding => Want::Sparse,
        _ => return None,
    };
    Some(WorkItem { sequence: Sequence { ids, ..Sequence::default() }, want })
}
