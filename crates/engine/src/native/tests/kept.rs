//! Graphs whose products are made by operators that keep their weights, in every format, against PyTorch; and that no company and
//! no number of threads changes a bit. Units that this machine lacks are judged in `sortie-gemm`.

use super::{
    archived, native_of,
    numbers::{cases_of, numbers, run},
    oracle,
};
use crate::{
    device::{Device, Precision},
    item::{Sequence, Want, WorkItem},
    native::{NativeExecutor, NativeModel},
    onnx::Target,
    options::LoadOptions,
};

/// Formats with how far answers may be off, of a row's largest number. The oracle's models are tiny and random, their numbers
/// loud; what real models lose is in `ranking`.
const FORMATS: [(Precision, f32); 4] =
    [(Precision::F32, 2e-4), (Precision::Bf16x3, 5e-4), (Precision::Bf16, 1e-1), (Precision::Int8, 3e-1)];

/// Those whose products are ours here.
fn formats() -> impl Iterator<Item = (Precision, f32)> {
    FORMATS.into_iter().filter(|(precision, _)| precision.kept().is_some())
}

fn start(model: &NativeModel, precision: Precision, threads: usize) -> NativeExecutor {
    let options = LoadOptions { threads: Some(threads), precision: Some(precision), ..LoadOptions::default() };
    NativeExecutor::load(model, &options, Device::Cpu, Target::Cpu).unwrap()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

fn holds(folder: &std::path::Path) {
    let model = native_of(folder);
    let all = cases_of(folder);
    let items: Vec<&WorkItem> = all.iter().map(|(item, _)| item).collect();
    let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    // One logit alone may be next to nothing.
    let logits = all.iter().filter(|(item, _)| item.want == Want::Logits);
    let of_all = logits.map(|(_, row)| largest(row)).fold(0.0_f32, f32::max);
    for (precision, bound) in formats() {
        let what = format!("{} in {}", folder.display(), precision.name());
        let mut executor = start(&model, precision, 1);
        let together: Vec<Vec<f32>> = run(&mut executor, &items).iter().map(numbers).collect();
        for (k, ((item, want), got)) in all.iter().zip(&together).enumerate() {
            let scale = largest(want).max(of_all);
            assert_eq!(got.len(), want.len(), "{what}");
            let off = got.iter().zip(want).map(|(g, w)| (g - w).abs() / scale).fold(0.0_f32, f32::max);
            assert!(off <= bound, "{what}, case {k}: off by {off}");
            let alone = numbers(&run(&mut executor, &[item]).remove(0));
            assert_eq!(bits(&alone), bits(got), "{what}, case {k}: another answer beside others");
        }
    }
}

macro_rules! families {
    ($($test:ident $folder:literal)*) => { $(
        #[test]
        fn $test() {
            holds(&archived($folder));
        }
    )* };
}

families! {
    deberta_rerank "families/deberta-v2-rerank"
    eurobert_base "families/eurobert-base"
    gemma3_embed "families/gemma3-embed"
    gte_rerank "families/gte-rerank"
    llama_embed "families/llama-embed"
    modernbert_rerank_cls "families/modernbert-rerank-cls"
    modernbert_tokens "families/modernbert-tokens5"
    mpnet_base "families/mpnet-base"
    nomic_base "families/nomic-base"
    qwen3_rerank "families/qwen3-rerank-seqcls"
    t5_encoder "families/t5-encoder"
    t5_encoder_gated "families/t5-encoder-gated"
}

#[test]
fn berts_kin() {
    for name in ["bert-base", "bert-rerank", "roberta-rerank", "distilbert-rerank", "electra-rerank"] {
        holds(&oracle(name));
    }
}

/// Numbers of a generator of Knuth's, the same each time.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

#[test]
fn batches_and_threads_change_no_bit() {
    const BATCHES: usize = 60;
    for name in ["bert-rerank", "distilbert-rerank"] {
        let model = native_of(&oracle(name));
        let mut next = random(7);
        let all: Vec<WorkItem> = (0..40)
            .map(|_| {
                let ids = (0..1 + next(60)).map(|_| 1 + next(250) as u32).collect();
                WorkItem { sequence: Sequence { ids, ..Sequence::default() }, want: Want::Logits }
            })
            .collect();
        for (precision, _) in formats() {
            let mut one = start(&model, precision, 1);
            let alone: Vec<_> = all.iter().map(|item| bits(&numbers(&run(&mut one, &[item]).remove(0)))).collect();
            for threads in [1, 2, 3, 8] {
                let mut executor = start(&model, precision, threads);
                for batch in 0..BATCHES / 4 {
                    let chosen: Vec<usize> = (0..1 + next(30)).map(|_| next(all.len())).collect();
                    let items: Vec<&WorkItem> = chosen.iter().map(|&i| &all[i]).collect();
                    for (got, i) in run(&mut executor, &items).iter().zip(&chosen) {
                        let what = precision.name();
                        assert_eq!(bits(&numbers(got)), alone[*i], "{name} {what} {threads} threads, batch {batch}");
                    }
                }
            }
        }
    }
}
