//! Batch-mates never change a score: the same item alone, first, last and amid 64
//! mixed lengths, on a real model.

use sortie_engine::{EmbedSpec, Executor, LoadOptions, Model, Output, Pooling, Sequence, Want, WorkItem};

use crate::support::{close, real};

fn item(seed: usize, tokens: usize, want: Want) -> WorkItem {
    let ids =
        (0..tokens).map(|i| if i == 0 { 101 } else { (1000 + (seed * 7919 + i * 104_729) % 25_000) as u32 }).collect();
    WorkItem { sequence: Sequence { ids, type_ids: vec![], ..Sequence::default() }, want }
}

fn numbers(o: &Output) -> Vec<f32> {
    match o {
        Output::Logits(v) | Output::Embedding(v) => v.clone(),
        // An entry near zero may come and go; its weight may not.
        Output::Sparse(entries) => {
            let mut dense = vec![0.0; VOCAB];
            entries.iter().for_each(|&(id, w)| dense[id as usize] = w);
            dense
        }
        Output::TokenEmbeddings(v) => v.values.clone(),
        Output::TokenLogits(_) | Output::SpanScores(_) => {
            panic!("not asked for; `oracle` and `gliner` hold these against their batch")
        }
    }
}

/// Of every model here.
const VOCAB: usize = 30_522;

fn holds(name: &str, want: Want) {
    let model = Model::open(&real(name), &LoadOptions { threads: Some(2), ..LoadOptions::default() }).unwrap();
    let mut executor = Executor::new(&model).unwrap();
    for tokens in [1, 2, 17, 130, 512] {
        let it = item(0, tokens, want);
        let alone = executor.run(&[&it]).remove(0).unwrap();
        let mates: Vec<WorkItem> = (1..=61).map(|s| item(s, 1 + (s * 37) % 150, want)).collect();
        let mut batch: Vec<&WorkItem> = mates.iter().collect();
        let places = [0, 31, 63];
        for at in places {
            batch.insert(at, &it);
        }
        let answers = executor.run(&batch);
        for at in places {
            close(
                &numbers(answers[at].as_ref().unwrap()),
                &numbers(&alone),
                1e-5,
                &format!("{name}, {tokens} tokens, place {at}"),
            );
        }
    }
}

#[test]
fn a_rerank_score_does_not_depend_on_its_batch() {
    holds("reranker", Want::Logits);
}

#[test]
fn a_vector_does_not_depend_on_its_batch() {
    holds(
        "minilm",
        Want::Embedding(EmbedSpec { pooling: Some(Pooling::Mean), normalize: Some(true), dimensions: None }),
    );
}

#[test]
fn a_sparse_vector_does_not_depend_on_its_batch() {
    holds("splade", Want::Sparse);
}
