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
use sortie_engine::{
    Device, EncodeOptions, Executor, ItemFault, LoadError, Model, Output, Role, RunFault, Sequence, Task, Want,
    WorkItem,
};
use sortie_scheduler::{ChunkResult, QueuedItem, Request, Scheduler};

use super::error::StartupError;
use crate::backend::EngineBackend;

/// Tokens of one sequence: a usual passage.
const TOKENS: usize = 128;

/// Most tokens of the long text that a GPU runs once: what most families read at most. Memory for longer ones is taken when
/// they come.
const LONG_TOKENS: usize = 8_192;

/// Rounds that are learnt from: an outlier among three of a size does not decide.
const ROUNDS: u32 = 3;

/// Time for all rounds. Enough for every size on a GPU; on a slow processor the largest are
/// left out, and `a` and `b` tell of them.
const TIME: Duration = Duration::from_secs(2);

/// Any text will do.
const TEXT: &str = "warm up";

/// On the device's own thread, before it takes work: captures its graphs, takes the memory of its largest batch, and runs
/// a full one, a small one, and on a GPU a long text, that nobody counts. The first of each is many times slower than the next.
///
/// # Errors
/// When the device is lost, or not even one sequence gets through. A full batch or a long text that fails is a warning:
/// smaller ones may fit, and the scheduler finds that out.
pub(super) fn prepare_device(
    name: &str,
    model: &Model,
    executor: &mut Executor,
    batch_tokens: u32,
) -> Result<(), LoadError> {
    let graphs = executor.capture();
    if graphs.captured + graphs.left_out > 0 {
        let (captured, left_out, mib) = (graphs.captured, graphs.left_out, graphs.bytes >> 20);
        tracing::info!(name, device = %executor.device(), captured, left_out, mib, "CUDA graphs of small batches");
    }
    let long = long_text(executor.device(), model.info().max_length);
    executor.reserve(usize::try_from(batch_tokens).unwrap_or(usize::MAX).max(long.unwrap_or(0)));
    let Some(item) = item(model, TOKENS) else { return Ok(()) };
    let long = long.and_then(|tokens| self::item(model, tokens));
    let (device, host) = (executor.device(), executor.host());
    // The one that must get through is the last.
    for (item, count) in long.iter().map(|long| (long, 1)).chain([(&item, full(&item, batch_tokens)), (&item, 1)]) {
        let batch: Vec<&WorkItem> = std::iter::repeat_n(item, count).collect();
        let fault = match executor.run_batch(host.prepare(&batch)) {
            Ok(raw) => host.finish(&batch, raw).into_iter().find_map(Result::err),
            Err(RunFault::DeviceLost(why)) => return Err(LoadError::FirstRun { device, why }),
            Err(fault) => Some(ItemFault::Run(fault.to_string())),
        };
        match fault {
            Some(ItemFault::Run(why)) if count == 1 && item.sequence.len() <= TOKENS => {
                return Err(LoadError::FirstRun { device, why });
            }
            Some(fault) => {
                let tokens = item.sequence.len();
                tracing::warn!(name, %device, items = count, tokens, %fault, "warming up failed");
            }
            None => {}
        }
    }
    Ok(())
}

/// Tokens of the long text that a device runs once; `None` where the usual one is as long as the model reads, and on
/// processors, which would take seconds for it and gain nothing.
fn long_text(device: Device, max_length: usize) -> Option<usize> {
    let tokens = max_length.min(LONG_TOKENS);
    (device != Device::Cpu && tokens > TOKENS).then_some(tokens)
}

/// Sequences in a full batch.
fn full(item: &WorkItem, batch_tokens: u32) -> usize {
    let budget = usize::try_from(batch_tokens).unwrap_or(usize::MAX);
    (budget / item.sequence.len().max(1)).max(1)
}

/// Runs the measured batches, each on as many devices as there are. A fault is logged and no more where one
/// sequence still gets through: requests will say what is wrong.
///
/// # Errors
/// When every run of one sequence failed. A refusal by limits that are smaller than a sequence is a warning.
pub(super) async fn warm_up(
    name: &str,
    model: &Model,
    scheduler: &Scheduler<EngineBackend>,
    devices: usize,
    batch_tokens: u32,
) -> Result<(), StartupError> {
    let Some(item) = item(model, TOKENS) else { return Ok(()) };
    let full = full(&item, batch_tokens);
    let item = Arc::new(item);
    if let Err(fault) = rounds(&item, scheduler, devices, full).await {
        tracing::warn!(name, %fault, "warming up failed");
        let mut failures = batches(&item, scheduler, devices, 1).await;
        failures.retain(|failure| matches!(failure, WarmUpFailure::Run(_)));
        return match failures.pop() {
            Some(why) if failures.len() + 1 == devices.max(1) => {
                Err(StartupError::WarmUp { name: name.to_owned(), why: why.to_string() })
            }
            _ => Ok(()),
        };
    }
    let load = scheduler.load();
    tracing::info!(
        name,
        batch_ms = load.a_ms,
        token_us = load.b_us,
        knee_tokens = load.knee_tokens,
        tokens_per_second = load.rate_tokens_per_second,
        "warmed up"
    );
    Ok(())
}

async fn rounds(
    item: &Arc<WorkItem>,
    scheduler: &Scheduler<EngineBackend>,
    devices: usize,
    full: usize,
) -> Result<(), WarmUpFailure> {
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
    scheduler.reset_cost_model();
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
) -> Result<(), WarmUpFailure> {
    batches(item, scheduler, devices, count).await.pop().map_or(Ok(()), Err)
}

/// Why a batch gave nothing.
#[derive(Debug, thiserror::Error)]
enum WarmUpFailure {
    /// It was not let in.
    #[error("{0}")]
    Refused(String),
    /// It ran, or should have.
    #[error("{0}")]
    Run(String),
}

/// As [`batch`]: what went wrong, one a batch that did.
async fn batches(
    item: &Arc<WorkItem>,
    scheduler: &Scheduler<EngineBackend>,
    devices: usize,
    count: usize,
) -> Vec<WarmUpFailure> {
    let tokens = item.sequence.len();
    let round = async || {
        let items = vec![QueuedItem { item: Arc::clone(item), tokens }; count];
        match scheduler.admit(Request::of((tokens * count) as u64)) {
            Ok(admission) => {
                let run = admission.submit(items).await;
                run.map_or_else(|e| Some(e.to_string()), |r| fault(&r)).map(WarmUpFailure::Run)
            }
            Err(refusal) => Some(WarmUpFailure::Refused(refusal.to_string())),
        }
    };
    let failures = join_all((0..devices.max(1)).map(|_| round())).await;
    failures.into_iter().flatten().collect()
}

/// What went wrong with a run. A number that is not finite is a matter of this text and these weights: it took its
/// time.
fn fault(result: &ChunkResult<Output, ItemFault>) -> Option<String> {
    let mut faults = result.outputs.iter().filter_map(|o| o.as_ref().err());
    faults.find(|f| !matches!(f, ItemFault::NonFinite)).map(ToString::to_string)
}

/// A sequence of so many tokens, where the model reads as many, made of the text's own ids, of the first role that it takes.
fn item(model: &Model, tokens: usize) -> Option<WorkItem> {
    let info = model.info();
    if model.tokenizer().reads_labels() {
        let prompt = model.tokenizer().label_prompt(&[TEXT.to_owned()]).ok()?;
        let text = [TEXT].repeat(tokens).join(" ");
        let options = EncodeOptions { max_length: Some(tokens.min(info.max_length)), ..EncodeOptions::default() };
        let sequence = model.tokenizer().encode_labelled(&prompt, &text, &options).ok()?;
        return Some(WorkItem { sequence, want: Want::SpanScores });
    }
    let read = |role: Option<Role>| {
        let options = EncodeOptions { role, ..EncodeOptions::default() };
        let tokenizer = model.tokenizer();
        let made = if tokenizer.reads_chat() {
            tokenizer.encode_pair(TEXT, TEXT, &options)
        } else {
            tokenizer.encode(TEXT, &options)
        };
        Some((role, made.ok()?))
    };
    let (role, start) = [Some(Role::Document), Some(Role::Query), None]
        .into_iter()
        .filter(|role| info.reads_roles || role.is_none())
        .find_map(read)?;
    let length = tokens.min(info.max_length);
    let ids: Vec<u32> = start.ids.iter().copied().cycle().take(length).collect();
    let want = match &info.task {
        Task::SequenceClassification { .. } => Want::Logits,
        Task::TokenClassification { .. } => Want::TokenLogits,
        Task::Embedding => Want::Embedding(info.embed),
        Task::SparseEmbedding => Want::Sparse,
        Task::LateInteraction => Want::TokenEmbeddings,
        _ => return None,
    };
    Some(WorkItem { sequence: Sequence { ids, role, ..Sequence::default() }, want })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sortie_engine::LoadOptions;

    use super::*;

    /// A model whose every token is `id`: 7 makes its runs fail, 8 gives what is not a number.
    fn primed(id: u32) -> Result<(), LoadError> {
        let folder = tempfile::tempdir().unwrap();
        let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/data/tags.onnx");
        std::fs::copy(graph, folder.path().join("model.onnx")).unwrap();
        let config = r#"{"model_type": "bert", "architectures": ["BertForTokenClassification"], "vocab_size": 10, "num_labels": 3}"#;
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let tokenizer = format!(
            r#"{{"version": "1.0", "pre_tokenizer": {{"type": "Whitespace"}}, "model": {{"type": "WordLevel", "vocab": {{"[UNK]": {id}}}, "unk_token": "[UNK]"}}}}"#
        );
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
        let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
        let model = Model::open(folder.path(), &options).unwrap();
        prepare_device("m", &model, &mut Executor::on(&model, Device::Cpu).unwrap(), 512)
    }

    #[test]
    fn a_gpu_runs_a_long_text_before_a_caller_sends_one() {
        assert_eq!(long_text(Device::Cpu, 8_192), None);
        let lengths = [128, 512, 8_192, 32_768, usize::MAX].map(|longest| long_text(Device::Cuda(0), longest));
        assert_eq!(lengths, [None, Some(512), Some(8_192), Some(8_192), Some(8_192)]);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny/bert-rerank");
        let model = Model::open(&folder, &LoadOptions::default()).unwrap();
        let most = model.info().max_length;
        let tokens = [TOKENS, LONG_TOKENS].map(|tokens| item(&model, tokens).unwrap().sequence.len());
        assert_eq!(tokens, [TOKENS.min(most), LONG_TOKENS.min(most)]);
    }

    #[test]
    fn a_model_that_runs_nothing_does_not_start() {
        let error = primed(7).unwrap_err().to_string();
        assert!(error.starts_with("the first run on cpu failed: ") && error.contains("Gather"), "{error}");
    }

    #[test]
    fn one_that_runs_does_even_where_its_numbers_are_odd() {
        primed(1).unwrap();
        primed(8).unwrap();
    }
}
