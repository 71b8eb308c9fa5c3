//! One bad item costs the others nothing, and a broken folder is an error that
//! names the file.

use std::path::Path;

use crate::support::oracle;
use sortie_engine::{Executor, ItemFault, LoadOptions, Model, Output, Sequence, Want, WorkItem};

fn sequence(ids: &[u32]) -> WorkItem {
    WorkItem { sequence: Sequence { ids: ids.to_vec(), type_ids: vec![], ..Sequence::default() }, want: Want::Logits }
}

#[test]
fn a_bad_item_leaves_its_batch_mates_alone() {
    let model = Model::open(&oracle("bert-rerank"), &LoadOptions::default()).unwrap();
    let mut executor = Executor::new(&model).unwrap();
    let good = sequence(&[2, 40, 3]);
    let bad = [
        sequence(&[2, 4_000_000, 3]),
        sequence(&[]),
        sequence(&[7; 193]),
        WorkItem { want: Want::Sparse, ..good.clone() },
        WorkItem { sequence: Sequence { type_ids: vec![0, 9, 0], ..good.sequence.clone() }, want: Want::Logits },
    ];
    let alone = executor.run(&[&good]).remove(0).unwrap();
    let mut batch = vec![&good];
    batch.extend(&bad);
    batch.push(&good);
    let answers = executor.run(&batch);
    assert_eq!(answers.len(), batch.len());
    for answer in [&answers[0], &answers[6]] {
        let (Ok(Output::Logits(got)), Output::Logits(want)) = (answer, &alone) else { panic!("{answer:?}") };
        crate::support::close(got, want, 1e-5, "good item");
    }
    assert!(matches!(&answers[1], Err(ItemFault::BadSequence(m)) if m.contains("4000000")));
    assert!(matches!(&answers[2], Err(ItemFault::BadSequence(_))));
    assert!(matches!(&answers[3], Err(ItemFault::BadSequence(m)) if m.contains("192")));
    assert!(matches!(&answers[4], Err(ItemFault::WrongWant("sparse vectors"))));
    assert!(matches!(&answers[5], Err(ItemFault::BadSequence(m)) if m.contains("type id 9")));
}

#[test]
fn an_empty_batch_is_answered_with_nothing() {
    let model = Model::open(&oracle("bert-rerank"), &LoadOptions::default()).unwrap();
    assert!(Executor::new(&model).unwrap().run(&[]).is_empty());
}

/// A copy of a tiny folder, spoilt by `spoil`, and the error that opening it gives.
fn spoilt(spoil: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(oracle("bert-rerank").join(file), dir.path().join(file)).unwrap();
    }
    spoil(dir.path());
    let error = match Model::open(dir.path(), &LoadOptions::default()) {
        Err(e) => e,
        Ok(model) => Executor::new(&model).unwrap_err(),
    };
    error.to_string()
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn a_broken_folder_is_an_error_that_names_the_file() {
    let cut = |file: &'static str| {
        move |dir: &Path| {
            let bytes = std::fs::read(dir.join(file)).unwrap();
            std::fs::write(dir.join(file), &bytes[..bytes.len() / 2]).unwrap();
        }
    };
    type Spoil = Box<dyn FnOnce(&Path)>;
    let rows: Vec<(&str, &[&str], Spoil)> = vec![
        (
            "no weights",
            &["neither safetensors", "ONNX"],
            Box::new(|d| std::fs::remove_file(d.join("model.safetensors")).unwrap()),
        ),
        ("no config", &["config.json"], Box::new(|d| std::fs::remove_file(d.join("config.json")).unwrap())),
        ("no tokenizer", &["tokenizer.json"], Box::new(|d| std::fs::remove_file(d.join("tokenizer.json")).unwrap())),
        ("weights cut short", &["model.safetensors", "fetch it again"], Box::new(cut("model.safetensors"))),
        ("config cut short", &["config.json"], Box::new(cut("config.json"))),
        ("tokenizer cut short", &["tokenizer.json"], Box::new(cut("tokenizer.json"))),
        (
            "empty weights",
            &["model.safetensors"],
            Box::new(|d| std::fs::write(d.join("model.safetensors"), b"").unwrap()),
        ),
        (
            "another hidden size",
            &["model.safetensors", "shape", "96"],
            Box::new(|d| edit(&d.join("config.json"), "\"hidden_size\": 64", "\"hidden_size\": 96")),
        ),
        (
            "heads that do not divide",
            &["config.json", "num_attention_heads 3"],
            Box::new(|d| edit(&d.join("config.json"), "\"num_attention_heads\": 2", "\"num_attention_heads\": 3")),
        ),
        (
            "more layers than tensors",
            &["model.safetensors", "encoder.layer.2", "missing"],
            Box::new(|d| edit(&d.join("config.json"), "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3")),
        ),
        (
            "an activation nobody knows",
            &["config.json", "hidden_act snake"],
            Box::new(|d| edit(&d.join("config.json"), "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"snake\"")),
        ),
        (
            "more positions and segments than one table may have",
            &["config.json", "max_position_embeddings 192 times type_vocab_size 683", "131072"],
            Box::new(|d| edit(&d.join("config.json"), "\"type_vocab_size\": 2", "\"type_vocab_size\": 683")),
        ),
        (
            "a vocabulary smaller than the tokenizer's",
            &["tokenizer.json", "100"],
            Box::new(|d| edit(&d.join("config.json"), "\"vocab_size\": 300", "\"vocab_size\": 100")),
        ),
        (
            "NaN weights",
            &["model.safetensors", "NaN"],
            Box::new(|d| {
                let path = d.join("model.safetensors");
                let mut bytes = std::fs::read(&path).unwrap();
                let end = bytes.len();
                bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
                std::fs::write(&path, bytes).unwrap();
            }),
        ),
    ];
    for (what, words, spoil) in rows {
        let message = spoilt(spoil);
        for word in words {
            assert!(message.contains(word), "{what}: {word:?} is not in: {message}");
        }
    }
}
