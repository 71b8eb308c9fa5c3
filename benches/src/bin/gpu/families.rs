//! Folders of oracles on a GPU in each number format: how far answers are from PyTorch's in f32, and whether they are the same
//! alone and beside others. A line of JSON each; `gpu_families.py` holds them against PyTorch's own errors in that format.
//! And folders of whole size: how fast they are.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use sortie_benches::{batches_in_order, rerank_items};
use sortie_engine::{Executor, LoadOptions, Model, Precision, Want, WorkItem};

use crate::{
    Common,
    parity::{ParityAnswers, numbers, read, wanted},
    speed::{answer, items, timed},
};

const FORMATS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

/// Tokens of a batch when a folder is timed.
const BUDGET: usize = 16_384;

/// A text that is long for most models.
const LONG: usize = 8_192;

/// Prints a line for each folder below the given ones that has answers, and format; then one for each that has none.
pub(crate) fn run(common: &Common) -> anyhow::Result<bool> {
    let mut all = true;
    for folder in &common.folders {
        for path in models_in(folder)? {
            for precision in FORMATS {
                let options = LoadOptions { precision: Some(precision), ..common.options()? };
                let timed = !path.join("expected.json").is_file();
                if timed && precision == Precision::F32 {
                    continue;
                }
                let row = if timed { speed(common, &path, &options) } else { compare(&path, &options) };
                let said = row.unwrap_or_else(|error| {
                    all = false;
                    json!({ "error": format!("{error:#}") })
                });
                println!("{}", json!({ "folder": path, "precision": precision.name(), "row": said }));
            }
        }
    }
    Ok(all)
}

/// The folders of models in a folder, in their names' order.
pub(crate) fn models_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut inside: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|path| path.join("config.json").is_file())
        .collect();
    inside.sort();
    Ok(inside)
}

fn compare(path: &Path, options: &LoadOptions) -> anyhow::Result<serde_json::Value> {
    let expected: ParityAnswers = read(&path.join("expected.json"))?;
    let model = Model::open(path, options)?;
    let mut executor = Executor::new(&model)?;
    executor.capture();
    let cases: Vec<(WorkItem, Vec<f32>)> = expected.cases.iter().flat_map(wanted).collect();
    let items: Vec<&WorkItem> = cases.iter().map(|(item, _)| item).collect();
    let together = executor.run(&items).into_iter().map(|a| numbers(a, &model)).collect::<anyhow::Result<Vec<_>>>()?;
    let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    // One logit alone may be next to nothing.
    let logits = cases.iter().filter(|(item, _)| item.want == Want::Logits);
    let of_all = logits.map(|(_, row)| largest(row)).fold(0.0_f32, f32::max);
    let (mut worst, mut squares, mut count, mut moved) = (0.0_f32, 0.0_f64, 0_usize, 0.0_f32);
    for ((item, want), got) in cases.iter().zip(&together) {
        let scale = largest(want).max(of_all);
        let alone = numbers(executor.run(&[item]).into_iter().next().context("no answer")?, &model)?;
        for ((g, w), a) in got.iter().zip(want).zip(&alone) {
            let off = (g - w).abs() / scale;
            // A NaN is as wrong as can be.
            worst = if off <= worst { worst } else { off };
            squares += f64::from(off).powi(2);
            count += 1;
            let apart = (g - a).abs() / scale;
            moved = if apart <= moved { moved } else { apart };
        }
    }
    Ok(json!({ "worst": worst, "rms": (squares / count.max(1) as f64).sqrt(), "moved": moved, "cases": cases.len() }))
}

/// 200 pairs of mixed lengths, one text of 128 tokens, and one long one, where the model takes it.
fn speed(common: &Common, path: &Path, options: &LoadOptions) -> anyhow::Result<serde_json::Value> {
    let model = Model::open(path, options)?;
    let mut executor = Executor::new(&model)?;
    executor.capture();
    let embed = Want::Embedding(model.info().embed);
    let work = |ids: Vec<Vec<u32>>| {
        let mut work = items(ids);
        work.iter_mut().for_each(|item| item.want = embed);
        work
    };
    let vocabulary = u32::try_from(model.info().vocab_size)?;
    let pairs = rerank_items()?.into_iter().map(|ids| ids.into_iter().map(|id| 10 + id % (vocabulary - 10)).collect());
    let pairs = work(pairs.collect());
    let all: Vec<&WorkItem> = pairs.iter().collect();
    let lengths: Vec<usize> = all.iter().map(|i| i.sequence.len()).collect();
    let tokens: usize = lengths.iter().sum();
    let batches = batches_in_order(&lengths, BUDGET);
    let seconds = timed(common.rounds, || {
        batches.iter().try_for_each(|b| answer(&mut executor, all.get(b.clone()).unwrap_or_default()))
    })?;
    let mut one = |length: usize| {
        let text = work(vec![(0..length as u32).map(|i| 10 + i % (vocabulary - 10)).collect()]);
        timed(common.rounds, || answer(&mut executor, &text.iter().collect::<Vec<_>>()))
    };
    let short = one(128)?;
    let long = if model.info().max_length >= LONG { Some(one(LONG)?) } else { None };
    Ok(json!({
        "tokens": tokens,
        "lengths": lengths,
        "pairs_ms": seconds * 1e3,
        "tokens_per_s": tokens as f64 / seconds,
        "one_of_128_ms": short * 1e3,
        "one_of_8192_ms": long.map(|s| s * 1e3),
    }))
}
