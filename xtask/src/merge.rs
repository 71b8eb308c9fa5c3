//! Merges a low-rank adapter into a BERT encoder, giving an ordinary one-label
//! `BertForSequenceClassification` folder.
//!
//! For each linear of the encoder with an update, in f32:
//! `W' = W + B·A`, with `A` (rank × in) and `B` (out × rank), no scaling factor.
//! Every other tensor of the adapter replaces the base's or is new (the
//! classifier). Names of the base gain the `bert.` prefix. The result must have
//! each tensor the base has, in the base's shape, plus the classifier.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, bail};
use half::f16;
use safetensors::{Dtype, SafeTensors, serialize_to_file, tensor::TensorView};
use serde_json::{Value, json};

use crate::interrupt;

/// Files a tokenizer is read from; copied as they are.
const TOKENIZER_FILES: [&str; 4] = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"];

/// A constant of old checkpoints (0, 1, 2, …), not a weight.
const POSITION_IDS: &str = "embeddings.position_ids";

/// An f32 tensor.
#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

type Tensors = BTreeMap<String, Tensor>;

/// Writes the merged model into `folder`.
pub(crate) fn model_folder(base: &Path, adapter: &[u8], folder: &Path) -> anyhow::Result<()> {
    let weights = base.join("model.safetensors");
    let bytes = fs::read(&weights).with_context(|| format!("cannot read {}", weights.display()))?;
    let base_tensors = read(&bytes).with_context(|| format!("{} is damaged", weights.display()))?;
    let merged = merge(base_tensors, read(adapter).context("the adapter is damaged")?)?;
    write(&merged, &folder.join("model.safetensors"))?;
    let config = base.join("config.json");
    let text = fs::read(&config).with_context(|| format!("cannot read {}", config.display()))?;
    let text = config_of(&text).with_context(|| format!("{} is not a model's configuration", config.display()))?;
    fs::write(folder.join("config.json"), text).context("cannot write config.json")?;
    for name in TOKENIZER_FILES {
        fs::copy(base.join(name), folder.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(())
}

fn read(bytes: &[u8]) -> anyhow::Result<Tensors> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        if name == POSITION_IDS {
            continue;
        }
        let data = match view.dtype() {
            Dtype::F32 => view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => view.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => bail!("{name} has numbers of type {other:?}; f32 and f16 are read"),
        };
        tensors.insert(name, Tensor { shape: view.shape().to_vec(), data });
    }
    Ok(tensors)
}

fn merge(base: Tensors, mut adapter: Tensors) -> anyhow::Result<Tensors> {
    let mut merged = Tensors::new();
    for (name, mut tensor) in base {
        interrupt::check()?;
        let name = format!("bert.{name}");
        if let Some(stem) = name.strip_suffix(".weight") {
            let a = adapter.remove(&format!("{stem}.lora_A"));
            let b = adapter.remove(&format!("{stem}.lora_B"));
            match (a, b) {
                (Some(a), Some(b)) => {
                    add_product(&mut tensor, &b, &a).with_context(|| format!("cannot update {name}"))?
                }
                (None, None) => {}
                _ => bail!("the adapter has one half of the update of {name}"),
            }
        }
        if let Some(other) = adapter.remove(&name) {
            if other.shape != tensor.shape {
                bail!("{name} is {:?} in the adapter and {:?} in the base", other.shape, tensor.shape);
            }
            tensor = other;
        }
        merged.insert(name, tensor);
    }
    let hidden = merged.get("bert.pooler.dense.bias").map(|t| t.shape.clone()).context("the base has no pooler")?;
    let head = [("classifier.weight", [vec![1], hidden].concat()), ("classifier.bias", vec![1])];
    for (name, shape) in head {
        let tensor = adapter.remove(name).with_context(|| format!("the adapter has no {name}"))?;
        if tensor.shape != shape {
            bail!("{name} is {:?}, not {shape:?}", tensor.shape);
        }
        merged.insert(name.to_owned(), tensor);
    }
    if let Some(name) = adapter.keys().next() {
        bail!("the adapter has {name}, which the base lacks");
    }
    Ok(merged)
}

/// `w += b · a`, row by row.
fn add_product(w: &mut Tensor, b: &Tensor, a: &Tensor) -> anyhow::Result<()> {
    let ([rows, columns], [b_rows, rank], [a_rows, a_columns]) = (&*w.shape, &*b.shape, &*a.shape) else {
        bail!("an update needs three matrices");
    };
    if rows != b_rows || columns != a_columns || rank != a_rows || [columns, rank].contains(&&0) {
        bail!("shapes {:?} and {:?} · {:?} do not go together", w.shape, b.shape, a.shape);
    }
    for (w_row, b_row) in w.data.chunks_exact_mut(*columns).zip(b.data.chunks_exact(*rank)) {
        for (factor, a_row) in b_row.iter().zip(a.data.chunks_exact(*columns)) {
            w_row.iter_mut().zip(a_row).for_each(|(w, a)| *w += factor * a);
        }
    }
    Ok(())
}

fn write(tensors: &Tensors, path: &Path) -> anyhow::Result<()> {
    let bytes: Vec<_> =
        tensors.values().map(|t| t.data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).collect();
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, tensor), data) in tensors.iter().zip(&bytes) {
        views.push((name.as_str(), TensorView::new(Dtype::F32, tensor.shape.clone(), data)?));
    }
    let about = [("format".to_owned(), "pt".to_owned())].into();
    serialize_to_file(views, Some(about), path).with_context(|| format!("cannot write {}", path.display()))
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

    fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Tensor { shape: shape.to_vec(), data: data.to_vec() }
    }

    fn base() -> Tensors {
        [
            ("encoder.q.weight", tensor(&[2, 3], &[1., 2., 3., 4., 5., 6.])),
            ("encoder.q.bias", tensor(&[2], &[0.1, 0.2])),
            ("pooler.dense.bias", tensor(&[2], &[9., 9.])),
        ]
        .map(|(n, t)| (n.to_owned(), t))
        .into()
    }

    fn adapter() -> Tensors {
        [
            ("bert.encoder.q.lora_A", tensor(&[1, 3], &[1., 0., -1.])),
            ("bert.encoder.q.lora_B", tensor(&[2, 1], &[10., 100.])),
            ("bert.pooler.dense.bias", tensor(&[2], &[7., 8.])),
            ("classifier.weight", tensor(&[1, 2], &[1., 1.])),
            ("classifier.bias", tensor(&[1], &[0.])),
        ]
        .map(|(n, t)| (n.to_owned(), t))
        .into()
    }

    #[test]
    fn updates_are_added_and_other_tensors_replaced() {
        let merged = merge(base(), adapter()).unwrap();
        assert_eq!(merged["bert.encoder.q.weight"].data, [11., 2., -7., 104., 5., -94.]);
        assert_eq!(merged["bert.encoder.q.bias"].data, [0.1, 0.2]);
        assert_eq!(merged["bert.pooler.dense.bias"].data, [7., 8.]);
        let names: Vec<_> = merged.keys().map(String::as_str).collect();
        let expected = [
            "bert.encoder.q.bias",
            "bert.encoder.q.weight",
            "bert.pooler.dense.bias",
            "classifier.bias",
            "classifier.weight",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn an_adapter_that_does_not_fit_is_refused() {
        let with = |name: &str, tensor: Option<Tensor>| {
            let mut adapter = adapter();
            adapter.remove(name);
            adapter.extend(tensor.map(|t| (name.to_owned(), t)));
            merge(base(), adapter)
                .map(drop)
                .unwrap_err()
                .chain()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(": ")
        };
        assert!(with("bert.encoder.q.lora_A", None).contains("one half"));
        assert!(with("bert.encoder.q.lora_A", Some(tensor(&[1, 2], &[1., 1.]))).contains("do not go together"));
        assert!(with("bert.pooler.dense.bias", Some(tensor(&[1], &[1.]))).contains("in the base"));
        assert!(with("classifier.weight", None).contains("no classifier.weight"));
        assert!(with("bert.unheard.weight", Some(tensor(&[1], &[1.]))).contains("which the base lacks"));
    }

    #[test]
    fn a_written_file_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let merged = merge(base(), adapter()).unwrap();
        write(&merged, &path).unwrap();
        assert_eq!(read(&fs::read(&path).unwrap()).unwrap(), merged);
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

    #[test]
    fn the_committed_adapter_is_whole() {
        let adapter = read(include_bytes!("../data/minilm-l6-reranker-lora.safetensors")).unwrap();
        assert_eq!(adapter.keys().filter(|n| n.ends_with("lora_A")).count(), 36, "six linears in each of six layers");
        assert_eq!(adapter["classifier.weight"].shape, [1, 384]);
    }
}
