//! Writes a model folder of made-up numbers: for self-tests and for timing, where
//! only shapes matter. A BERT reranker with one label, or a BERT embedding model.
//!
//! Weights are small and pseudo-random from a fixed seed, so that activations stay
//! in range in every format; the same shape always gives the same folder.

use std::path::Path;

use half::f16;
use safetensors::{Dtype, tensor::TensorView};

use crate::error::LoadError;

/// Shape of a made-up model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleShape {
    /// Layers.
    pub layers: usize,
    /// Width of a token's state.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Vocabulary.
    pub vocab: usize,
}

impl SampleShape {
    /// Large enough to use every kind of node, small enough to be written and run in a moment.
    pub const TINY: Self = Self { layers: 2, hidden: 128, heads: 4, vocab: 512 };
    /// MiniLM-L6.
    pub const MINILM: Self = Self { layers: 6, hidden: 384, heads: 12, vocab: 30_522 };
    /// BERT-base.
    pub const BASE: Self = Self { layers: 12, hidden: 768, heads: 12, vocab: 30_522 };
    /// BERT-large.
    pub const LARGE: Self = Self { layers: 24, hidden: 1_024, heads: 16, vocab: 30_522 };
}

/// Positions of every made-up model.
const POSITIONS: usize = 512;

/// A feed-forward layer is this many times as wide as a state, in all of BERT's kin.
const INNER: usize = 4;

/// Writes the folder's files into `folder`, which must exist.
///
/// # Errors
/// When a file cannot be written.
pub fn write_sample(folder: &Path, shape: SampleShape, reranker: bool) -> Result<(), LoadError> {
    let SampleShape { layers, hidden, heads, vocab } = shape;
    let inner = INNER * hidden;
    let architecture = if reranker { "BertForSequenceClassification" } else { "BertModel" };
    let config = serde_json::json!({
        "model_type": "bert", "architectures": [architecture], "id2label": {"0": "LABEL_0"},
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": inner, "vocab_size": vocab, "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "pad_token_id": 0,
    });
    put(folder, "config.json", config.to_string().as_bytes())?;
    put(folder, "tokenizer.json", tokenizer().to_string().as_bytes())?;

    let prefix = if reranker { "bert." } else { "" };
    let mut all: Vec<(String, Vec<usize>, Fill)> = Vec::new();
    let mut add = |name: String, shape: &[usize], fill| all.push((format!("{prefix}{name}"), shape.to_vec(), fill));
    add("embeddings.word_embeddings.weight".into(), &[vocab, hidden], Fill::Weight);
    add("embeddings.position_embeddings.weight".into(), &[POSITIONS, hidden], Fill::Weight);
    add("embeddings.token_type_embeddings.weight".into(), &[2, hidden], Fill::Weight);
    add("embeddings.LayerNorm.weight".into(), &[hidden], Fill::One);
    add("embeddings.LayerNorm.bias".into(), &[hidden], Fill::Weight);
    for i in 0..layers {
        for (name, to, from) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ] {
            add(format!("encoder.layer.{i}.{name}.weight"), &[to, from], Fill::Weight);
            add(format!("encoder.layer.{i}.{name}.bias"), &[to], Fill::Weight);
        }
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(format!("encoder.layer.{i}.{name}.weight"), &[hidden], Fill::One);
            add(format!("encoder.layer.{i}.{name}.bias"), &[hidden], Fill::Weight);
        }
    }
    if reranker {
        add("pooler.dense.weight".into(), &[hidden, hidden], Fill::Weight);
        add("pooler.dense.bias".into(), &[hidden], Fill::Weight);
        all.push(("classifier.weight".into(), vec![1, hidden], Fill::Weight));
        all.push(("classifier.bias".into(), vec![1], Fill::Weight));
    }
    let mut random = Random(1);
    let made: Vec<(String, Vec<usize>, Vec<u8>)> = all
        .into_iter()
        .map(|(name, shape, fill)| {
            let bytes = (0..shape.iter().product()).flat_map(|_| fill.next(&mut random).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let path = folder.join("model.safetensors");
    let bad = |e: safetensors::SafeTensorError| LoadError::invalid(&path, e.to_string());
    let mut views = Vec::with_capacity(made.len());
    for (name, shape, bytes) in &made {
        views.push((name.clone(), TensorView::new(Dtype::F16, shape.clone(), bytes).map_err(bad)?));
    }
    safetensors::serialize_to_file(views, None, &path).map_err(bad)
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), LoadError> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).map_err(LoadError::io(&path))
}

/// A word-piece tokenizer of a few words: ids are what samples are run with.
fn tokenizer() -> serde_json::Value {
    let special = |id: usize, content: &str| {
        serde_json::json!({
            "id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    let piece = |id: &str, kind: &str, type_id: usize| serde_json::json!({kind: {"id": id, "type_id": type_id}});
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"), special(3, "[SEP]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("[CLS]", "SpecialToken", 0), piece("A", "Sequence", 0), piece("[SEP]", "SpecialToken", 0)],
            "pair": [piece("[CLS]", "SpecialToken", 0), piece("A", "Sequence", 0), piece("[SEP]", "SpecialToken", 0),
                     piece("B", "Sequence", 1), piece("[SEP]", "SpecialToken", 1)],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "sortie": 5, "text": 6, "##s": 7}},
    })
}

#[derive(Clone, Copy)]
enum Fill {
    /// Uniform around zero, as narrow as trained weights are.
    Weight,
    /// One: the scale of a norm.
    One,
}

impl Fill {
    fn next(self, random: &mut Random) -> f16 {
        /// Half the width of the weights' range: a deviation of 0.03.
        const SPREAD: f32 = 0.05;
        match self {
            Fill::Weight => f16::from_f32(random.next() * SPREAD),
            Fill::One => f16::ONE,
        }
    }
}

/// xorshift64*: fast, and good enough for weights.
struct Random(u64);

impl Random {
    /// −1 to 1.
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
        #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
        let unit = bits as f32 / (1u32 << 23) as f32;
        unit - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Executor, LoadOptions, Model, Output, Sequence, Want, WorkItem};

    #[test]
    fn a_sample_loads_and_runs() {
        let dir = tempfile::tempdir().unwrap();
        for reranker in [true, false] {
            write_sample(dir.path(), SampleShape::TINY, reranker).unwrap();
            let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
            let model = Model::open(dir.path(), &options).unwrap();
            let want = if reranker { Want::Logits } else { Want::Embedding(model.info().embed) };
            let item = WorkItem { sequence: Sequence { ids: (0..40).collect(), ..Sequence::default() }, want };
            match Executor::new(&model).unwrap().run(&[&item]).remove(0).unwrap() {
                Output::Logits(v) => assert!(reranker && v.len() == 1),
                Output::Embedding(v) => assert!(!reranker && v.len() == 128),
                other => panic!("{other:?}"),
            }
        }
    }
}
