//! The native path against outputs that PyTorch computed in f32, one sequence at
//! a time: every family, every head, every way weights are stored.

use crate::support::{close, options, oracle};
use serde::Deserialize;
use sortie_engine::{EmbedSpec, Executor, LoadOptions, Model, Output, Pooling, Sequence, Want, WorkItem};

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
    logits: Option<Logits>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Logits {
    Sequence(Vec<f32>),
    Tokens(Vec<Vec<f32>>),
}

impl Case {
    /// What the case expects, each with how to ask for it.
    fn wants(&self) -> Vec<(Want, Vec<f32>)> {
        let embed =
            |pooling| Want::Embedding(EmbedSpec { pooling: Some(pooling), normalize: Some(false), dimensions: None });
        let mut wants = Vec::new();
        wants.extend(self.cls.clone().map(|v| (embed(Pooling::Cls), v)));
        wants.extend(self.mean.clone().map(|v| (embed(Pooling::Mean), v)));
        match &self.logits {
            Some(Logits::Sequence(v)) => wants.push((Want::Logits, v.clone())),
            Some(Logits::Tokens(rows)) => wants.push((Want::TokenLogits, rows.concat())),
            None => {}
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

fn numbers(output: &Output) -> &[f32] {
    match output {
        Output::Logits(v) | Output::TokenLogits(v) | Output::Embedding(v) => v,
        Output::Sparse(_) | Output::TokenEmbeddings(_) => panic!("no oracle is sparse or has a vector a token"),
    }
}

fn agrees(name: &str) {
    let folder = oracle(name);
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_str(&text).unwrap();
    let model = Model::open(&folder, &options()).unwrap();
    assert_eq!(model.info().engine, "native", "{name}");
    let mut executor = Executor::new(&model).unwrap();

    let all: Vec<(WorkItem, Vec<f32>)> =
        expected.cases.iter().flat_map(|c| c.wants().into_iter().map(|(w, v)| (c.item(w), v))).collect();
    assert!(all.len() >= expected.cases.len(), "{name}: a case says nothing");
    let items: Vec<&WorkItem> = all.iter().map(|(i, _)| i).collect();
    let together = executor.run(&items);
    for (k, ((item, want), got)) in all.iter().zip(&together).enumerate() {
        close(numbers(got.as_ref().unwrap()), want, 1e-4, &format!("{name}, case {k}"));
        let alone = executor.run(&[item]).remove(0).unwrap();
        close(
            numbers(&alone),
            numbers(got.as_ref().unwrap()),
            1e-5,
            &format!("{name}, case {k}, alone against batched"),
        );
    }
}

macro_rules! oracles {
    ($($test:ident $folder:literal)*) => { $(
        #[test]
        fn $test() {
            agrees($folder);
        }
    )* };
}

oracles! {
    bert_base "bert-base"
    bert_classify "bert-classify3"
    bert_multi_label "bert-multilabel4"
    bert_rerank "bert-rerank"
    bert_bf16 "bert-rerank-bf16"
    bert_f16 "bert-rerank-f16"
    bert_relu "bert-rerank-relu"
    bert_sharded "bert-rerank-sharded"
    bert_tokens "bert-tokens5"
    distilbert_base "distilbert-base"
    distilbert_classify "distilbert-classify3"
    distilbert_rerank "distilbert-rerank"
    distilbert_tokens "distilbert-tokens5"
    electra_base "electra-base"
    electra_rerank "electra-rerank"
    roberta_base "roberta-base"
    roberta_rerank "roberta-rerank"
    xlm_roberta_base "xlm-roberta-base"
    xlm_roberta_rerank "xlm-roberta-rerank"
}

#[test]
fn types_not_served_natively_are_named() {
    for (name, kind) in
        [("mpnet-rerank", "mpnet"), ("deberta-v2-base", "deberta-v2"), ("modernbert-tokens5", "modernbert")]
    {
        let message = Model::open(&oracle(name), &LoadOptions::default()).unwrap_err().to_string();
        assert!(message.contains(kind) && message.contains("ONNX export"), "{message}");
    }
}
