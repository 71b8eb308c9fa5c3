//! Model folders with the numbers that PyTorch computed for them in f32, one sequence at a time, and how the native path
//! is held against them.

use std::path::Path;

use serde::Deserialize;
use sortie_engine::{EmbedSpec, Executor, LoadOptions, Model, Output, Pooling, Sequence, Want, WorkItem};

use crate::support::{close, options};

/// Largest difference from the reference, of the largest number of the row.
const CLOSE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    input_ids: Vec<u32>,
    #[serde(default)]
    token_type_ids: Vec<u32>,
    cls: Option<Vec<f32>>,
    mean: Option<Vec<f32>>,
    last: Option<Vec<f32>>,
    logits: Option<Logits>,
    /// Largest logit that any token gives each entry of the vocabulary.
    vocab_max: Option<Vec<f32>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Logits {
    Sequence(Vec<f32>),
    Tokens(Vec<Vec<f32>>),
}

/// What an item must give: a row, or one for each token.
type Rows = Vec<Vec<f32>>;

impl Case {
    /// What the case expects, each with how to ask for it.
    fn wants(&self) -> Vec<(Want, Rows)> {
        let embed =
            |pooling| Want::Embedding(EmbedSpec { pooling: Some(pooling), normalize: Some(false), dimensions: None });
        let mut wants = Vec::new();
        for (pooling, row) in [(Pooling::Cls, &self.cls), (Pooling::Mean, &self.mean), (Pooling::Last, &self.last)] {
            wants.extend(row.clone().map(|row| (embed(pooling), vec![row])));
        }
        match &self.logits {
            Some(Logits::Sequence(row)) => wants.push((Want::Logits, vec![row.clone()])),
            Some(Logits::Tokens(rows)) => wants.push((Want::TokenLogits, rows.clone())),
            None => {}
        }
        if let Some(largest) = &self.vocab_max {
            wants.push((Want::Sparse, vec![largest.iter().map(|v| v.max(0.0).ln_1p()).collect()]));
        }
        wants
    }

    fn item(&self, want: Want) -> WorkItem {
        WorkItem {
            sequence: Sequence {
                ids: self.input_ids.clone(),
                type_ids: self.token_type_ids.clone(),
                ..Sequence::default()
            },
            want,
        }
    }
}

/// The numbers of an answer one after the other, those of a sparse vector in all its `length` places.
fn numbers(output: &Output, length: usize) -> Vec<f32> {
    match output {
        Output::Logits(v) | Output::TokenLogits(v) | Output::Embedding(v) => v.clone(),
        Output::Sparse(entries) => {
            let mut dense = vec![0.0; length];
            entries.iter().for_each(|&(id, weight)| dense[id as usize] = weight);
            dense
        }
        Output::TokenEmbeddings(_) | Output::SpanScores(_) => panic!("no reference here has these"),
    }
}

fn largest(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |most, v| v.abs().max(most))
}

/// How a sequence's numbers may differ from those it has beside others.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Alone {
    /// In no bit on the processor; as in [`Near`](Self::Near) on another device.
    Bitwise,
    /// By 1e-5 of the number, or of one where it is smaller.
    Near,
}

/// Asserts that the model of the folder gives the numbers of its `expected.json` on the native path, each sequence alone
/// and all together.
pub(crate) fn agrees(folder: &Path, how: Alone) {
    let name = folder.file_name().unwrap().display();
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_str(&text).unwrap();
    // States of a class that names another head are had as an operator has them: by asking for a pooling.
    let pooling = expected.cases.iter().any(|case| case.mean.is_some()).then_some(Pooling::Mean);
    let model = Model::open(folder, &LoadOptions { pooling, ..options() }).unwrap();
    assert_eq!(model.info().engine, "native", "{name}");
    let bitwise = how == Alone::Bitwise && model.info().device == "cpu";
    let mut executor = Executor::new(&model).unwrap();

    let all: Vec<(WorkItem, Rows)> =
        expected.cases.iter().flat_map(|c| c.wants().into_iter().map(|(want, rows)| (c.item(want), rows))).collect();
    assert!(!all.is_empty() && expected.cases.iter().all(|c| !c.wants().is_empty()), "{name}: a case says nothing");
    // A lone number may be near zero by chance: it is measured by the largest of its kind.
    let lone =
        largest(&all.iter().flat_map(|(_, rows)| rows).filter(|r| r.len() == 1).flatten().copied().collect::<Vec<_>>());
    let items: Vec<&WorkItem> = all.iter().map(|(item, _)| item).collect();
    let together = executor.run(&items);
    for (k, ((item, rows), got)) in all.iter().zip(&together).enumerate() {
        let what = format!("{name}, case {k}, {} tokens, {}", item.sequence.len(), item.want.name());
        let width = rows[0].len();
        let got = numbers(got.as_ref().unwrap(), width);
        assert_eq!(got.len(), rows.len() * width, "{what}: how many numbers");
        for (got, want) in got.chunks(width).zip(rows) {
            let scale = if width == 1 { lone } else { largest(want) };
            for (i, (g, w)) in got.iter().zip(want).enumerate() {
                assert!((g - w).abs() <= CLOSE * scale, "{what}: number {i} is {g}, not {w}; the largest is {scale}");
            }
        }
        let alone = numbers(&executor.run(&[item]).remove(0).unwrap(), width);
        if bitwise {
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&alone), bits(&got), "{what}: alone against batched");
        } else {
            close(&alone, &got, 1e-5, &format!("{what}: alone against batched"));
        }
    }
}

/// Asserts that the tests name every folder that lies in `place`, each once.
pub(crate) fn names_all_of(place: &Path, named: &[&str]) {
    let mut there: Vec<String> =
        std::fs::read_dir(place).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    let mut named = named.to_vec();
    named.sort_unstable();
    assert_eq!(named, there, "tests, and folders in {}", place.display());
}

/// A test for each folder of one place, and one that none is forgotten; some may have another test.
macro_rules! oracles {
    ($place:expr, $alone:expr; $($test:ident $folder:literal)* $(; besides $($other:literal)*)?) => {
        $(
            #[test]
            fn $test() {
                $crate::reference::agrees(&$place.join($folder), $alone);
            }
        )*

        #[test]
        fn every_folder_has_a_test() {
            $crate::reference::names_all_of(&$place, &[$($folder,)* $($($other),*)?]);
        }
    };
}
pub(crate) use oracles;
