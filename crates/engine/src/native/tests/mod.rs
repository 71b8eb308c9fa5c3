//! CUDA's graph without a GPU: its text against what is committed ([`golden`]), its
//! numbers against PyTorch's with an operator of ours in attention's place ([`numbers`]). And mistakes that families invite, made
//! on purpose ([`traps`], [`tagger_traps`]).

#[path = "../../../tests/engine/archive.rs"]
mod archive;
mod families;
mod golden;
mod kept;
mod lengths;
mod numbers;
mod tagger_traps;
mod traps;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::NativeModel;
use crate::{
    folder::{Folder, Routes},
    model::Model,
    open::ServedBy,
    options::LoadOptions,
    task::Task,
};

/// A tiny model folder with its expected outputs.
fn oracle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny").join(name)
}

/// A folder of one of the oracle's archives.
fn archived(folder: &str) -> PathBuf {
    archive::unpacked(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle")).join(folder)
}

/// The folder as the native path has it.
fn native_of(folder: &Path) -> NativeModel {
    let mut described = Folder::read(folder, &LoadOptions::default()).unwrap();
    let routes = std::mem::replace(&mut described.routes, Routes::empty());
    let task = described.task.clone().unwrap();
    NativeModel::open(&described, Arc::new(routes), task).unwrap()
}

fn open(name: &str, options: &LoadOptions) -> Model {
    Model::open(&oracle(name), options).unwrap()
}

fn native(model: &Model) -> &NativeModel {
    match model.served_by() {
        ServedBy::Native(native) => native,
        _ => panic!("not native"),
    }
}

/// A masked-LM model of two layers: `bert-base` with a head of made-up numbers.
fn masked_lm() -> (tempfile::TempDir, NativeModel) {
    let from = oracle("bert-base");
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let there = SafeTensors::deserialize(&bytes).unwrap();
    let (hidden, vocab) = (64, 300);
    let mut state = 1u32;
    let mut numbers = |n: usize| -> Vec<u8> {
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((f64::from(state >> 8) / f64::from(1 << 24) - 0.5) as f32).to_le_bytes()
        };
        (0..n).flat_map(next).collect()
    };
    let head = [
        ("cls.predictions.transform.dense.weight", vec![hidden, hidden]),
        ("cls.predictions.transform.dense.bias", vec![hidden]),
        ("cls.predictions.transform.LayerNorm.weight", vec![hidden]),
        ("cls.predictions.transform.LayerNorm.bias", vec![hidden]),
        ("cls.predictions.bias", vec![vocab]),
    ]
    .map(|(name, shape)| (name.to_owned(), numbers(shape.iter().product()), shape));
    let mut tensors: Vec<(String, TensorView<'_>)> = there.tensors();
    for (name, data, shape) in &head {
        tensors.push((name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    }
    safetensors::serialize_to_file(tensors, None, &dir.path().join("model.safetensors")).unwrap();
    std::fs::copy(from.join("config.json"), dir.path().join("config.json")).unwrap();
    let mut folder = Folder::read(dir.path(), &LoadOptions::default()).unwrap();
    let routes = std::mem::replace(&mut folder.routes, Routes::empty());
    let model = NativeModel::open(&folder, Arc::new(routes), Task::SparseEmbedding).unwrap();
    (dir, model)
}
