//! Real models against PyTorch: all-MiniLM-L6-v2 and the demo reranker, text in.

use std::path::PathBuf;

use crate::support::{close, real};
use serde::Deserialize;
use sortie_engine::{EncodeOptions, Executor, LoadOptions, Model, Output, Truncation, Want, WorkItem};

#[derive(Deserialize)]
struct Expected {
    embed: Vec<Embedded>,
    rerank: Vec<Scored>,
}

#[derive(Deserialize)]
struct Embedded {
    text: String,
    tokens: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Scored {
    query: String,
    document: String,
    tokens: usize,
    logit: f32,
}

fn expected() -> Expected {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/minilm.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The oracle cuts at 512 tokens; the folder intends fewer.
fn open(name: &str) -> Model {
    Model::open(&real(name), &LoadOptions { threads: Some(2), max_length: Some(512), ..LoadOptions::default() })
        .unwrap()
}

#[test]
fn embeddings_are_those_of_the_reference() {
    let model = open("minilm");
    let mut executor = Executor::new(&model).unwrap();
    assert!(model.info().normalize, "the folder's Normalize module was not read");
    for case in expected().embed {
        let sequence = model.tokenizer().encode(&case.text, &EncodeOptions::default()).unwrap();
        assert_eq!(sequence.len(), case.tokens, "tokens of {:?}", case.text);
        let item = WorkItem { sequence, want: Want::Embedding(model.info().embed) };
        let Ok(Output::Embedding(v)) = executor.run(&[&item]).remove(0) else { panic!("no vector") };
        close(&v, &case.embedding, 1e-5, &case.text);
    }
}

#[test]
fn rerank_logits_are_those_of_the_reference() {
    let model = open("reranker");
    let mut executor = Executor::new(&model).unwrap();
    let options = EncodeOptions { truncation: Truncation::LongestFirst, ..EncodeOptions::default() };
    for case in expected().rerank {
        let query = model.tokenizer().query(&case.query, &options).unwrap();
        let sequence = model.tokenizer().encode_with(&query, &case.document).unwrap();
        assert_eq!(sequence.len(), case.tokens, "tokens of {:?}", case.document);
        let item = WorkItem { sequence, want: Want::Logits };
        let Ok(Output::Logits(v)) = executor.run(&[&item]).remove(0) else { panic!("no logit") };
        assert!((v[0] - case.logit).abs() <= 1e-3, "{:?}: {} is not {}", case.document, v[0], case.logit);
    }
}
