//! The engine alone on a CPU: 200 pairs of mixed lengths, 32,182 tokens, ids in,
//! scores or vectors out. `padded_ort.py` does the same work by padding.
//!
//! Prints one JSON object: seconds of each way to batch, and vectors to compare.

#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};
use sortie_benches::{batches_in_order, rerank_items};
use sortie_engine::{Executor, LoadOptions, Model, Output, Precision, Sequence, Task, Want, WorkItem};

/// Token budgets of a batch that are tried; the last takes all in one.
const BUDGETS: [usize; 5] = [512, 1_024, 2_048, 4_096, usize::MAX];

/// Ids below are special tokens in every shape that is timed.
const FIRST_WORD: u32 = 10;

/// Numbers of each vector that are compared.
const COMPARED: usize = 384;

/// Numbers of each vector that are printed: enough to tell two models apart.
const SHOWN: usize = 4;

#[derive(Parser)]
struct Args {
    /// Model folder; a reranker gives scores, an embedding model vectors
    #[arg(long)]
    model: Option<PathBuf>,
    /// ONNX Runtime threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Write the token ids here (JSON, a list an item)
    #[arg(long)]
    items_out: Option<PathBuf>,
    /// Number format: f32, bf16, bf16x3, int8 or auto; several are measured one after the other, and held against the first
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    precision: Vec<Precision>,
    /// Only the first so many items
    #[arg(long)]
    first: Option<usize>,
    /// One token budget, in place of all that are tried
    #[arg(long)]
    budget: Option<usize>,
    /// In place of the items one text of so many tokens each
    #[arg(long, value_delimiter = ',')]
    texts_of: Vec<usize>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut items = rerank_items()?;
    items.truncate(args.first.unwrap_or(usize::MAX));
    if let Some(path) = &args.items_out {
        fs::write(path, serde_json::to_string(&items)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let Some(folder) = &args.model else { return Ok(()) };
    let mut first: Option<Vec<Vec<f32>>> = None;
    for &precision in &args.precision {
        if !args.texts_of.is_empty() {
            println!("{}", long(folder, &args, precision)?);
            continue;
        }
        let (mut said, outputs) = measure(folder, &args, precision, items.clone())?;
        if let Some(first) = &first {
            said["beside the first"] = beside(first, &outputs);
        }
        println!("{said}");
        first.get_or_insert(outputs);
    }
    Ok(())
}

/// Seconds of one text of each length, the best of three.
fn long(folder: &Path, args: &Args, precision: Precision) -> anyhow::Result<Value> {
    let options = LoadOptions { threads: Some(args.threads), precision: Some(precision), ..LoadOptions::default() };
    let model = Model::open(folder, &options)?;
    let mut executor = Executor::new(&model)?;
    let want = Want::Embedding(model.info().embed);
    let mut times = Vec::new();
    for &tokens in &args.texts_of {
        let ids = (0..tokens).map(|i| 10 + u32::try_from(i % 1_000).unwrap_or(0)).collect();
        let text = WorkItem { sequence: Sequence { ids, ..Sequence::default() }, want };
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            run(&mut executor, &[&text])?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        times.push(json!({"tokens": tokens, "seconds": best, "us_per_token": best * 1e6 / tokens as f64}));
    }
    Ok(json!({ "precision": model.info().precision, "texts": times }))
}

/// How answers differ from those of the first precision: the largest difference of a number, the least cosine of vectors, and
/// Kendall's tau between the orders of their first numbers.
fn beside(first: &[Vec<f32>], other: &[Vec<f32>]) -> Value {
    let pairs = || first.iter().zip(other);
    let most = pairs().flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).abs())).fold(0.0_f32, f32::max);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = pairs().map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).fold(1.0, f64::min);
    let scores: Vec<_> = pairs().filter_map(|(a, b)| Some((*a.first()?, *b.first()?))).collect();
    let (mut alike, mut all) = (0_i64, 0_i64);
    for (i, a) in scores.iter().enumerate() {
        for b in &scores[i + 1..] {
            all += 1;
            alike += if (a.0 < b.0) == (a.1 < b.1) { 1 } else { -1 };
        }
    }
    json!({ "most": most, "least cosine of what is shown": cosine, "tau": alike as f64 / all.max(1) as f64 })
}

fn measure(
    folder: &Path,
    args: &Args,
    precision: Precision,
    mut items: Vec<Vec<u32>>,
) -> anyhow::Result<(Value, Vec<Vec<f32>>)> {
    let options = LoadOptions {
        threads: Some(args.threads),
        max_length: Some(512),
        precision: Some(precision),
        ..LoadOptions::default()
    };
    let loading = Instant::now();
    let model = Model::open(folder, &options)?;
    // Below lie special tokens; an id that a model lacks becomes another word, as the rivals have it.
    let words = u32::try_from(model.info().vocab_size)?.saturating_sub(FIRST_WORD).max(1);
    items.iter_mut().flatten().for_each(|id| *id = FIRST_WORD + id.saturating_sub(FIRST_WORD) % words);
    let want = match &model.info().task {
        Task::Embedding => Want::Embedding(model.info().embed),
        Task::SequenceClassification { .. } => Want::Logits,
        other => bail!("{} is made for {other:?}; this measures rerankers and embedding models", folder.display()),
    };
    let mut executor = Executor::new(&model)?;
    let loaded = loading.elapsed().as_secs_f64();
    let sequence = |ids| Sequence { ids, ..Sequence::default() };
    let work: Vec<_> = items.into_iter().map(|ids| WorkItem { sequence: sequence(ids), want }).collect();
    let work: Vec<_> = work.iter().collect();
    let lengths: Vec<_> = work.iter().map(|item| item.sequence.len()).collect();

    // Threads started, arenas grown, pages touched.
    run(&mut executor, work.get(..16).context("too few items")?)?;
    // Seconds of each way, and the first numbers of each item's output.
    let (mut times, mut shown) = (Vec::new(), Vec::new());
    let one = args.budget.map(|budget| vec![budget]);
    for budget in one.unwrap_or_else(|| BUDGETS.to_vec()) {
        let batches = batches_in_order(&lengths, budget);
        let mut outputs = Vec::with_capacity(work.len());
        let start = Instant::now();
        for batch in &batches {
            outputs.extend(run(&mut executor, work.get(batch.clone()).context("a batch is outside the work")?)?);
        }
        let seconds = start.elapsed().as_secs_f64();
        let how = if budget == usize::MAX { "one batch".to_owned() } else { format!("batches of ≤ {budget} tokens") };
        times.push(json!({"how": how, "seconds": seconds}));
        shown = outputs;
    }
    let printed: Vec<&[f32]> = shown.iter().map(|numbers| &numbers[..SHOWN.min(numbers.len())]).collect();
    let said = json!({"precision": model.info().precision, "loaded": loaded, "seconds": times, "outputs": printed});
    Ok((said, shown))
}

fn run(executor: &mut Executor, batch: &[&WorkItem]) -> anyhow::Result<Vec<Vec<f32>>> {
    let answers = executor.run(batch);
    ensure!(answers.len() == batch.len(), "{} answers for {} items", answers.len(), batch.len());
    answers
        .into_iter()
        .map(|answer| match answer? {
            Output::Logits(numbers) | Output::Embedding(numbers) => Ok(numbers.into_iter().take(COMPARED).collect()),
            other => bail!("unexpected {other:?}"),
        })
        .collect()
}
