//! What number formats cost in exactness: the scores of a reranker in each format, for `gpu_errors.py` to hold against PyTorch's
//! in f32, beside PyTorch's own in that format. A line of JSON for each folder and format.

use anyhow::{Context as _, bail};
use serde_json::json;
use sortie_benches::SeededNumbers;
use sortie_engine::{Executor, LoadOptions, Model, Output, Precision, Sequence, Want, WorkItem};

use crate::{Common, families};

/// Texts of a folder.
const TEXTS: usize = 400;
/// Longest text.
const LONGEST: usize = 400;
/// Texts of a batch: each text's company differs.
const BATCH: usize = 50;

/// Prints a line for each folder below the given ones, and format.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    for folder in &common.folders {
        for path in families::models_in(folder)? {
            for precision in [Precision::F16, Precision::Bf16] {
                let options = LoadOptions { precision: Some(precision), ..common.options()? };
                let model = Model::open(&path, &options)?;
                let texts = texts(&model)?;
                let scores = scores(&model, &texts).with_context(|| path.display().to_string())?;
                let ids: Vec<&Vec<u32>> = texts.iter().map(|text| &text.sequence.ids).collect();
                println!("{}", json!({ "folder": path, "precision": precision.name(), "ids": ids, "scores": scores }));
            }
        }
    }
    Ok(())
}

/// Texts of random ids, the same for every model of one vocabulary.
fn texts(model: &Model) -> anyhow::Result<Vec<WorkItem>> {
    let vocabulary = u64::try_from(model.info().vocab_size)?;
    let longest = LONGEST.min(model.info().max_length) as u64;
    let mut random = SeededNumbers::new(5);
    let mut text = || {
        let length = 1 + random.below(longest);
        let ids = (0..length).map(|_| 10 + random.below(vocabulary - 10) as u32).collect();
        WorkItem { sequence: Sequence { ids, ..Sequence::default() }, want: Want::Logits }
    };
    Ok((0..TEXTS).map(|_| text()).collect())
}

fn scores(model: &Model, texts: &[WorkItem]) -> anyhow::Result<Vec<f32>> {
    let mut executor = Executor::new(model)?;
    executor.capture();
    let mut scores = Vec::with_capacity(texts.len());
    for batch in texts.chunks(BATCH) {
        for answer in executor.run(&batch.iter().collect::<Vec<_>>()) {
            match answer? {
                Output::Logits(row) => scores.push(*row.first().context("a row without a score")?),
                other => bail!("not wanted: {other:?}"),
            }
        }
    }
    Ok(scores)
}
