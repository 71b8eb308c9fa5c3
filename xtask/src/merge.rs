//! Merges a low-rank adapter into a BERT encoder, giving an ordinary one-label
//! `BertForSequenceClassification` folder.
//!
//! For each linear of the encoder with an update, in f32:
//! `W' = W + B·A`, with `A` (rank × in) and `B` (out × rank), no scaling factor.
//! Every other tensor of the adapter replaces the base's or is new (the
//! classifier). Names of the base gain the `bert.` prefix.
//!
//! Invariant: base and adapter are pinned, so what comes of them is too ([`MERGED`]); nothing else is ever written.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, bail};
use half::f16;
use safetensors::{Dtype, SafeTensors, serialize_to_file, tensor::TensorView};
use serde_json::{Value, json};

use crate::{digest, interrupt};

/// Digest of the merged tensors: each one's name and numbers, in the order of names.
const MERGED: &str = "5333de1fed4c24c53463389ff774bb4479606c3ff53cdb7d260d7e6311a0036c";

/// Files a tokenizer is read from; copied as they are.
const TOKENIZER_FILES: [&str; 4] = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"];

/// A constant of old checkpoints (0, 1, 2, …), not a weight.
const POSITION_IDS: &str = "embeddings.position_ids";

/// Shape and numbers (f32, little-endian) of each tensor.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// Writes the merged model into `folder`.
pub(crate) fn model_folder(base: &Path, adapter: &[u8], folder: &Path) -> anyhow::Result<()> {
    let weights = base.join("model.safetensors");
    let bytes = fs::read(&weights).with_context(|| format!("cannot read {}", weights.display()))?;
    let tensors = SafeTensors::deserialize(&bytes).with_context(|| format!("{} is damaged", weights.display()))?;
    let merged = merge(&tensors, &SafeTensors::deserialize(adapter).context("the adapter is damaged")?)?;
    let got = digest::parts(merged.iter().flat_map(|(name, (_, data))| [name.as_bytes(), data]));
    if got != MERGED {
        bail!("the merged weights have digest {got}, not {MERGED}: base and adapter do not belong together");
    }
    let mut views = Vec::with_capacity(merged.len());
    for (name, (shape, data)) in &merged {
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), data)?));
    }
    let about = [("format".to_owned(), "pt".to_owned())].into();
    serialize_to_file(views, Some(about), &folder.join("model.safetensors")).context("cannot write the weights")?;

    let config = base.join("config.json");
    let text = fs::read(&config).with_context(|| format!("cannot read {}", config.display()))?;
    let text = config_of(&text).with_context(|| format!("{} is not a model's configuration", config.display()))?;
    fs::write(folder.join("config.json"), text).context("cannot write config.json")?;
    for name in TOKENIZER_FILES {
        fs::copy(base.join(name), folder.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(())
}

fn merge(base: &SafeTensors<'_>, adapter: &SafeTensors<'_>) -> anyhow::Result<Tensors> {
    let mut merged = Tensors::new();
    for (name, view) in base.tensors() {
        interrupt::check()?;
        if name == POSITION_IDS {
            continue;
        }
        let name = format!("bert.{name}");
        let mut numbers = numbers(&view)?;
        let stem = name.strip_suffix(".weight").unwrap_or(&name);
        let half = |which| adapter.tensor(&format!("{stem}.lora_{which}"));
        if let (Ok(a), Ok(b), &[_, columns]) = (half('A'), half('B'), view.shape()) {
            add_product(&mut numbers, &self::numbers(&b)?, &self::numbers(&a)?, columns);
        }
        merged.insert(name, (view.shape().to_vec(), bytes(&numbers)));
    }
    for (name, view) in adapter.tensors() {
        if !name.contains(".lora_") {
            merged.insert(name, (view.shape().to_vec(), bytes(&numbers(&view)?)));
        }
    }
    Ok(merged)
}

fn numbers(view: &TensorView<'_>) -> anyhow::Result<Vec<f32>> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        other => bail!("numbers of type {other:?}; f32 and f16 are read"),
    })
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// `w += b · a`, row by row; `w` and `a` have this many columns.
fn add_product(w: &mut [f32], b: &[f32], a: &[f32], columns: usize) {
    let (columns, rank) = (columns.max(1), (a.len() / columns.max(1)).max(1));
    for (w_row, b_row) in w.chunks_exact_mut(columns).zip(b.chunks_exact(rank)) {
        for (factor, a_row) in b_row.iter().zip(a.chunks_exact(columns)) {
            w_row.iter_mut().zip(a_row).for_each(|(w, a)| *w += factor * a);
        }
    }
}

/// The base's configuration, as that of a classifier with one label.
fn config_of(base: &[u8]) -> anyhow::Result<String> {
    let mut config: Value = serde_json::from_slice(base)?;
    let fields = config.as_object_mut().context("it is no object")?;
    fields.insert("architectures".to_owned(), json!(["BertForSequenceClassification"]));
    fields.insert("id2label".to_owned(), json!({"0": "relevance"}));
    fields.insert("label2id".to_owned(), json!({"relevance": 0}));
    fields.remove("_name_or_path");
    Ok(serde_json::to_string_pretty(&config)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of f32 tensors.
    fn file(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
        let data: Vec<_> = tensors.iter().map(|(_, _, numbers)| bytes(numbers)).collect();
        let views = tensors
            .iter()
            .zip(&data)
            .map(|((name, shape, _), data)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    fn base() -> Vec<u8> {
        file(&[
            ("encoder.q.weight", &[2, 3], &[1., 2., 3., 4., 5., 6.]),
            ("encoder.q.bias", &[2], &[0.1, 0.2]),
            ("pooler.dense.bias", &[2], &[9., 9.]),
        ])
    }

    fn adapter() -> Vec<u8> {
        file(&[
            ("bert.encoder.q.lora_A", &[1, 3], &[1., 0., -1.]),
            ("bert.encoder.q.lora_B", &[2, 1], &[10., 100.]),
            ("bert.pooler.dense.bias", &[2], &[7., 8.]),
            ("classifier.weight", &[1, 2], &[1., 1.]),
        ])
    }

    #[test]
    fn updates_are_added_and_other_tensors_replaced() {
        let (base, adapter) = (base(), adapter());
        let merged = merge(&SafeTensors::deserialize(&base).unwrap(), &SafeTensors::deserialize(&adapter).unwrap());
        let merged = merged.unwrap();
        assert_eq!(merged["bert.encoder.q.weight"], (vec![2, 3], bytes(&[11., 2., -7., 104., 5., -94.])));
        assert_eq!(merged["bert.encoder.q.bias"].1, bytes(&[0.1, 0.2]));
        assert_eq!(merged["bert.pooler.dense.bias"].1, bytes(&[7., 8.]));
        let names: Vec<_> = merged.keys().map(String::as_str).collect();
        let ours = ["bert.encoder.q.bias", "bert.encoder.q.weight", "bert.pooler.dense.bias", "classifier.weight"];
        assert_eq!(names, ours);
    }

    #[test]
    fn a_base_that_is_not_the_pinned_one_is_refused_before_anything_is_written() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("model.safetensors"), base()).unwrap();
        let error = model_folder(from.path(), &adapter(), to.path()).unwrap_err().to_string();
        assert!(error.contains("do not belong together"), "{error}");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_config_has_one_label_and_keeps_the_rest() {
        let text = config_of(br#"{"architectures": ["BertModel"], "hidden_size": 384, "_name_or_path": "x"}"#).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["architectures"][0], "BertForSequenceClassification");
        assert_eq!(config["id2label"].as_object().unwrap().len(), 1);
        assert_eq!(config["hidden_size"], 384);
        assert!(config.get("_name_or_path").is_none());
    }
}
