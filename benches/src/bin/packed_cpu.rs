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
use sortie_engine::{Executor, LoadOptions, Model, Output, Sequence, Task, Want, WorkItem};

/// Token budgets of a batch that are tried; the last takes all in one.
const BUDGETS: [usize; 5] = [512, 1_024, 2_048, 4_096, usize::MAX];

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
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let items = rerank_items()?;
    if let Some(path) = &args.items_out {
        fs::write(path, serde_json::to_string(&items)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(folder) = &args.model {
        println!("{}", measure(folder, args.threads, items)?);
    }
    Ok(())
}

fn measure(folder: &Path, threads: usize, items: Vec<Vec<u32>>) -> anyhow::Result<Value> {
    let options = LoadOptions { threads: Some(threads), max_length: Some(512), ..LoadOptions::default() };
    let model = Model::open(folder, &options)?;
    let want = match &model.info().task {
        Task::Embedding => Want::Embedding(model.info().embed),
        Task::SequenceClassification { .. } => Want::Logits,
        other => bail!("{} is made for {other:?}; this measures rerankers and embedding models", folder.display()),
    };
    let mut executor = Executor::new(&model)?;
    let sequence = |ids| Sequence { ids, ..Sequence::default() };
    let work: Vec<_> = items.into_iter().map(|ids| WorkItem { sequence: sequence(ids), want }).collect();
    let work: Vec<_> = work.iter().collect();
    let lengths: Vec<_> = work.iter().map(|item| item.sequence.len()).collect();

    // Threads started, arenas grown, pages touched.
    run(&mut executor, work.get(..16).context("too few items")?)?;
    // Seconds of each way, and the first numbers of each item's output.
    let (mut times, mut shown) = (Vec::new(), Vec::new());
    for budget in BUDGETS {
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
    Ok(json!({"seconds": times, "outputs": shown}))
}

fn run(executor: &mut Executor, batch: &[&WorkItem]) -> anyhow::Result<Vec<Vec<f32>>> {
    let answers = executor.run(batch);
    ensure!(answers.len() == batch.len(), "{} answers for {} items", answers.len(), batch.len());
    answers
        .into_iter()
        .map(|answer| match answer? {
            Output::Logits(numbers) | Output::Embedding(numbers) => Ok(numbers.into_iter().take(SHOWN).collect()),
            other => bail!("unexpected {other:?}"),
        })
        .collect()
}
