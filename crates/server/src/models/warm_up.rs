//! Batches before the first caller's: the runtime makes its buffers, a GPU captures
//! its graphs, and the scheduler learns what a batch and a token cost here, and from
//! which size on throughput is flat (the knee). Without them the first estimates of
//! waiting would be guesses, and refusals with them.
//!
//! Measured sizes double from one sequence to a full batch. A first round of them is
//! thrown away: the first batch of a size may be slow.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use sortie_engine::{EncodeOptions, Executor, Model, Output, Sequence, Task, Want, WorkItem};
use sortie_scheduler::{PartResult, Request, Scheduler, Unit};

use crate::backend::EngineBackend;

/// Tokens of one sequence: a usual passage.
const TOKENS: usize = 128;

/// Rounds that are learnt from: an outlier among three of a size does not decide.
const ROUNDS: u32 = 3;

/// Time for all rounds. Enough for every size on a GPU; on a slow processor the largest are
/// left out, and `a` and `b` tell of them.
const TIME: Duration = Duration::from_secs(2);

/// Any text will do.
const TEXT: &str = "warm up";

/// On the device's own thread, before it takes work: captures its graphs, takes the memory of a full batch, and runs one and a
/// small one that nobody counts. The first of each is many times slower than the next.
pub(super) fn prime(name: &str, model: &Model, executor: &mut Executor, batch_tokens: u32) {
    let graphs = executor.capture();
    if graphs.captured + graphs.left_out > 0 {
        let (captured, left_out, mib) = (graphs.captured, graphs.left_out, graphs.bytes >> 20);
        tracing::info!(name, device = %executor.device(), captured, left_out, mib, "CUDA graphs of small batches");
    }
    executor.reserve(usize::try_from(batch_tokens).unwrap_or(usize::MAX));
    let Some(item) = item(model) else { return };
    for count in [full(&item, batch_tokens), 1] {
        let batch: Vec<&WorkItem> = std::iter::repeat_n(&item, count).collect();
        if let Some(fault) = executor.run(&batch).into_iter().find_map(Result::err) {
            tracing::warn!(name, device = %executor.device(), %fault, "warming up failed");
            return;
        }
    }
}

/// Sequences in a full batch.
fn full(item: &WorkItem, batch_tokens: u32) -> usize {
    let budget = usize::try_from(batch_tokens).unwrap_or(usize::MAX);
    (budget / item.sequence.len().max(1)).max(1)
}

/// Runs the measured batches, each on as many devices as there are. A fault is logged and no
/// more: requests will say what is wrong.
pub(super) async fn warm_up(
    name: &str,
    model: &Model,
    scheduler: &Scheduler<EngineBackend>,
    devices: usize,
    batch_tokens: u32,
) {
    let Some(item) = item(model) else { return };
    let full = full(&item, batch_tokens);
    let item = Arc::new(item);
    if let Err(fault) = rounds(&item, scheduler, devices, full).await {
        tracing::warn!(name, fault, "warming up failed");
        return;
    }
    let load = scheduler.load();
    tracing::info!(
        name,
        batch_ms = load.a_ms,
        token_us = load.b_us,
        knee_tokens = load.knee_tok,
        tokens_per_second = load.rate_tok_s,
        "warmed up"
    );
}

async fn rounds(
    item: &Arc<WorkItem>,
    scheduler: &Scheduler<EngineBackend>,
    devices: usize,
    full: usize,
) -> Result<(), String> {
    let begun = Instant::now();
    let mut sizes: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < full).collect();
    sizes.push(full);
    let mut affordable = 0;
    for count in &sizes {
        batch(item, scheduler, devices, *count).await?;
        affordable += 1;
        // The next size costs as much as all before it; every round runs it again.
        if begun.elapsed() * 2 * (ROUNDS + 1) > TIME {
            break;
        }
    }
    scheduler.relearn();
    for _ in 0..ROUNDS {
        for count in sizes.iter().take(affordable) {
            batch(item, scheduler, devices, *count).await?;
        }
    }
    Ok(())
}

/// A batch of `count` sequences on each device.
async fn batch(
    item: &Arc<WorkItem>,
    scheduler: &Scheduler<EngineBackend>,
    devices: usize,
    count: usize,
) -> Result<(), String> {
    let tokens = item.sequence.len();
    let part = async || {
        let units = vec![Unit { item: Arc::clone(item), tokens }; count];
        match scheduler.admit(Request::of((tokens * count) as u64)) {
            Ok(admission) => admission.submit(units).await.map_or_else(|e| Some(e.to_string()), |r| fault(&r)),
            Err(refusal) => Some(refusal.to_string()),
        }
    };
    let faults = join_all((0..devices.max(1)).map(|_| part())).await;
    faults.into_iter().flatten().next().map_or(Ok(()), Err)
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
