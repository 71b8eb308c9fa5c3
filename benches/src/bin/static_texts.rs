//! A static embedding model in this process, on one thread: texts in, vectors out. `benches/static_rival.py` does the
//! same with model2vec.
//!
//! Prints one JSON object: texts a second of the best round, and the first numbers of the first vectors.

#![forbid(unsafe_code)]

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;
use sortie_engine::{EmbedSpec, EncodeOptions, Executor, LoadOptions, Model, Output, Want, WorkItem};

/// Texts of a batch: their ids and vectors stay in a core's cache.
const BATCH: usize = 64;

/// Vectors that are printed, and numbers of each: enough to tell two answers apart.
const SHOWN: (usize, usize) = (50, 8);

#[derive(Parser)]
struct Args {
    /// Folder of the model
    #[arg(long)]
    model: PathBuf,
    /// JSON list of texts
    #[arg(long)]
    texts: PathBuf,
    /// Rounds; the best one counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let texts = fs::read_to_string(&args.texts).with_context(|| format!("cannot read {}", args.texts.display()))?;
    let texts: Vec<String> = serde_json::from_str(&texts)?;
    let model = Model::open(&args.model, &LoadOptions { threads: Some(1), ..LoadOptions::default() })?;
    let mut executor = Executor::new(&model)?;
    let mut best = f64::INFINITY;
    let mut vectors = Vec::new();
    for _ in 0..args.rounds {
        vectors.clear();
        let begun = Instant::now();
        for texts in texts.chunks(BATCH) {
            embed(&model, &mut executor, texts, &mut vectors)?;
        }
        best = best.min(begun.elapsed().as_secs_f64());
    }
    ensure!(vectors.len() == texts.len(), "{} vectors of {} texts", vectors.len(), texts.len());
    let first: Vec<&[f32]> = vectors.iter().take(SHOWN.0).filter_map(|v| v.get(..SHOWN.1)).collect();
    println!("{}", serde_json::json!({ "texts_per_second": texts.len() as f64 / best, "vectors": first }));
    Ok(())
}

fn embed(model: &Model, executor: &mut Executor, texts: &[String], into: &mut Vec<Vec<f32>>) -> anyhow::Result<()> {
    let fit = EncodeOptions::default();
    let want = Want::Embedding(EmbedSpec::default());
    let items = texts.iter().map(|text| Ok(WorkItem { sequence: model.tokenizer().encode(text, &fit)?, want }));
    let items: Vec<WorkItem> = items.collect::<anyhow::Result<_>>()?;
    for output in executor.run(&items.iter().collect::<Vec<_>>()) {
        match output {
            Ok(Output::Embedding(vector)) => into.push(vector),
            Ok(other) => return Err(anyhow!("not a vector: {other:?}")),
            Err(fault) => return Err(anyhow!("a text failed: {fault}")),
        }
    }
    Ok(())
}
