//! The same bits in every company: each text's answer alone, and in twenty thousand answers among others, in batches of random
//! size and order, replayed from graphs and run eagerly, on two sessions side by side.

use std::thread;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use sortie_benches::SeededNumbers;
use sortie_engine::{
    EmbedSpec, Executor, LoadOptions, Model, Output, Pooling, Precision, Sequence, Task, Want, WorkItem, write_sample,
};

use crate::{Common, ModelShape};

/// Texts that answers are compared of.
const TEXTS: usize = 160;
/// Answers of each row.
const ANSWERS: usize = 20_000;
/// Longest text.
const LONGEST: usize = 400;
/// Texts of the largest batch.
const MOST: usize = 200;

const FORMATS: [Precision; 3] = [Precision::F16, Precision::Bf16, Precision::F32];

/// Prints the table; true where no answer moved.
pub(crate) fn run(common: &Common) -> anyhow::Result<bool> {
    println!("\n## Answers that moved, of {ANSWERS} in a row, on {}\n", common.device);
    println!("| model | format | answers | moved | largest difference |\n| --- | --- | ---: | ---: | ---: |");
    let mut still = true;
    for &shape in &common.shapes {
        for precision in FORMATS {
            for (reranker, wants) in wants() {
                let folder = tempfile::tempdir()?;
                write_sample(folder.path(), shape.sample(), reranker)?;
                let options = LoadOptions { precision: Some(precision), ..common.options()? };
                let model = Model::open(folder.path(), &options)?;
                for (what, want) in wants {
                    let (answers, moved, most) =
                        one(&model, want, answers_of(shape, precision)).with_context(|| shape.name().to_owned())?;
                    println!("| {}, {what} | {} | {answers} | {moved} | {most:.1e} |", shape.name(), precision.name());
                    still &= moved == 0;
                }
            }
        }
    }
    for folder in &common.folders {
        for precision in FORMATS {
            let options = LoadOptions { precision: Some(precision), ..common.options()? };
            let model = Model::open(folder, &options)?;
            let want = match model.info().task {
                Task::TokenClassification { .. } => Want::TokenLogits,
                Task::SequenceClassification { .. } => Want::Logits,
                _ => Want::Embedding(EmbedSpec::default()),
            };
            let (answers, moved, most) = one(&model, want, ANSWERS / 10)?;
            println!("| {} | {} | {answers} | {moved} | {most:.1e} |", folder.display(), precision.name());
            still &= moved == 0;
        }
    }
    Ok(still)
}

/// In f32 large models are slow; a tenth of the answers shows as much.
fn answers_of(shape: ModelShape, precision: Precision) -> usize {
    match (shape, precision) {
        (ModelShape::Base | ModelShape::Large, Precision::F32) => ANSWERS / 20,
        _ => ANSWERS,
    }
}

/// What is asked of a reranker, and of an embedding model.
fn wants() -> [(bool, Vec<(&'static str, Want)>); 2] {
    let embed =
        |pooling| Want::Embedding(EmbedSpec { pooling: Some(pooling), normalize: Some(false), dimensions: None });
    [
        (true, vec![("scores", Want::Logits)]),
        (false, vec![("mean", embed(Pooling::Mean)), ("cls", embed(Pooling::Cls))]),
    ]
}

fn one(model: &Model, want: Want, answers: usize) -> anyhow::Result<(usize, usize, f32)> {
    let vocabulary = u64::try_from(model.info().vocab_size)?;
    let longest = LONGEST.min(model.info().max_length);
    let mut random = SeededNumbers::new(11);
    let mut below = |n: usize| usize::try_from(random.below(n as u64)).unwrap_or(0);
    let texts: Vec<WorkItem> = (0..TEXTS)
        .map(|_| {
            // Half are short, as queries are.
            let length = if below(2) == 0 { 1 + below(48) } else { 1 + below(longest) };
            let ids = (0..length).map(|_| 10 + (below(1 << 30) as u64 % (vocabulary - 10)) as u32).collect();
            WorkItem { sequence: Sequence { ids, ..Sequence::default() }, want }
        })
        .collect();
    let mut eager = Executor::new(model)?;
    let one = |text| bits(&mut eager, &[text])?.pop().context("no answer");
    let alone: Vec<Vec<u32>> = texts.iter().map(one).collect::<anyhow::Result<_>>()?;
    drop(eager);
    let (alone, texts) = (&alone, &texts);
    let found = Mutex::new((0, 0, 0.0_f32));
    // Each on a thread of its own, which a session stays on.
    let drive = |captured: bool, seed: u64| -> anyhow::Result<()> {
        let mut executor = Executor::new(model)?;
        if captured {
            executor.capture();
        }
        let mut random = SeededNumbers::new(seed);
        let mut done = 0;
        while done < answers / 2 {
            // Sizes spread evenly over their logarithm: single texts are as common as hundreds.
            let most = 1_u64 << (random.below(8) + 1);
            let count = (1 + random.below(most.min(MOST as u64))) as usize;
            let chosen: Vec<usize> = (0..count).map(|_| random.below(TEXTS as u64) as usize).collect();
            let batch: Vec<&WorkItem> = chosen.iter().filter_map(|&i| texts.get(i)).collect();
            let given = bits(&mut executor, &batch)?;
            let mut found = found.lock();
            for (&i, given) in chosen.iter().zip(&given) {
                let want = alone.get(i).map(Vec::as_slice).unwrap_or_default();
                found.0 += 1;
                if want != given {
                    found.1 += 1;
                    let apart = want.iter().zip(given).map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs());
                    found.2 = apart.fold(found.2, f32::max);
                }
            }
            done += count;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let both = [(false, 1), (true, 2)].map(|(captured, seed)| {
            scope.spawn({
                let drive = &drive;
                move || drive(captured, seed)
            })
        });
        both.into_iter().try_for_each(|side| side.join().unwrap_or_else(|_| bail!("a session's thread panicked")))
    })?;
    Ok(found.into_inner())
}

fn bits(executor: &mut Executor, batch: &[&WorkItem]) -> anyhow::Result<Vec<Vec<u32>>> {
    let numbers = |answer| match answer {
        Ok(Output::Logits(v) | Output::TokenLogits(v) | Output::Embedding(v)) => {
            Ok(v.into_iter().map(f32::to_bits).collect())
        }
        Ok(other) => bail!("not wanted: {other:?}"),
        Err(fault) => Err(anyhow::Error::from(fault)),
    };
    executor.run(batch).into_iter().map(numbers).collect()
}
