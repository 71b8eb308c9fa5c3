//! CUDA's graph run on the processor, with an operator of ours in the place of
//! CUDA's attention: order of columns and biases, `token_offset`, casts, poolings on
//! the device, heads, and batches brought to a bucket's shape, against PyTorch.

use std::{path::Path, sync::Arc};

use serde::Deserialize;

use super::{masked_lm, native, open, oracle};
use crate::{
    cuda::Memory,
    device::{Device, Precision},
    item::{EmbedSpec, ItemFault, Output, Sequence, Want, WorkItem},
    native::{
        NativeExecutor, NativeModel,
        graph::Head,
        kernel::cpu_domain,
        run::{Graphs, Grid, SessionShape, WrittenGraph, commit, load, write},
    },
    onnx::{SortieOperators, Target},
    options::{CudaOptions, Gelu, LoadOptions},
    post::{SparseTransform, cosine},
    runtime::session::Ready,
    task::Pooling,
};

#[derive(Deserialize)]
struct OracleNumbers {
    cases: Vec<OracleCase>,
}

#[derive(Deserialize)]
struct OracleCase {
    input_ids: Vec<u32>,
    #[serde(default)]
    token_type_ids: Vec<u32>,
    cls: Option<Vec<f32>>,
    mean: Option<Vec<f32>>,
    logits: Option<OracleLogits>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OracleLogits {
    Sequence(Vec<f32>),
    Tokens(Vec<Vec<f32>>),
}

fn embed(pooling: Pooling) -> Want {
    Want::Embedding(EmbedSpec { pooling: Some(pooling), normalize: Some(false), dimensions: None })
}

fn item(case: &OracleCase, want: Want) -> WorkItem {
    let sequence =
        Sequence { ids: case.input_ids.clone(), type_ids: case.token_type_ids.clone(), ..Sequence::default() };
    WorkItem { sequence, want }
}

/// Every case of a tiny model with each thing it expects.
fn cases(name: &str) -> Vec<(WorkItem, Vec<f32>)> {
    cases_of(&oracle(name))
}

/// Every case of an oracle's folder with each thing it expects.
pub(super) fn cases_of(folder: &Path) -> Vec<(WorkItem, Vec<f32>)> {
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: OracleNumbers = serde_json::from_str(&text).unwrap();
    let mut all = Vec::new();
    for c in &expected.cases {
        all.extend(c.cls.clone().map(|v| (item(c, embed(Pooling::Cls)), v)));
        all.extend(c.mean.clone().map(|v| (item(c, embed(Pooling::Mean)), v)));
        match &c.logits {
            Some(OracleLogits::Sequence(v)) => all.push((item(c, Want::Logits), v.clone())),
            Some(OracleLogits::Tokens(rows)) => all.push((item(c, Want::TokenLogits), rows.concat())),
            None => {}
        }
    }
    assert!(!all.is_empty(), "{} expects nothing", folder.display());
    all
}

pub(super) fn numbers(output: &Result<Output, ItemFault>) -> Vec<f32> {
    match output.as_ref().unwrap() {
        Output::Logits(v) | Output::TokenLogits(v) | Output::Embedding(v) => v.clone(),
        Output::Sparse(v) => v.iter().map(|&(_, w)| w).collect(),
        Output::TokenEmbeddings(v) => v.values.clone(),
        Output::SpanScores(v) => v.values.clone(),
    }
}

fn close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: how many numbers");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}: number {i} is {g}, not {w}");
    }
}

fn options(pooling: Option<Pooling>) -> LoadOptions {
    LoadOptions { threads: Some(1), pooling, ..LoadOptions::default() }
}

fn start(name: &str, target: Target, pooling: Option<Pooling>) -> NativeExecutor {
    start_with(name, target, &options(pooling))
}

fn start_with(name: &str, target: Target, options: &LoadOptions) -> NativeExecutor {
    let model = open(name, options);
    NativeExecutor::load(native(&model), options, Device::Cpu, target).unwrap()
}

pub(super) fn run(executor: &mut NativeExecutor, items: &[&WorkItem]) -> Vec<Result<Output, ItemFault>> {
    let host = executor.host();
    let raw = executor.run(host.prepare(items)).unwrap();
    host.finish(items, raw)
}

/// All cases in one batch and each alone.
fn agrees(name: &str, precision: Precision, pooling: Option<Pooling>, tolerance: f32) {
    agrees_with(name, SortieOperators::ALL, precision, pooling, tolerance);
}

/// The same on a device that has these operators of ours.
fn agrees_with(name: &str, own: SortieOperators, precision: Precision, pooling: Option<Pooling>, tolerance: f32) {
    let mut executor = start(name, Target::StandIn(precision, own), pooling);
    let all = cases(name);
    let items: Vec<&WorkItem> = all.iter().map(|(i, _)| i).collect();
    let together = run(&mut executor, &items);
    for (k, ((item, want), got)) in all.iter().zip(&together).enumerate() {
        let what = format!("{name} {}, case {k}", precision.name());
        let alone = numbers(&run(&mut executor, &[item]).remove(0));
        match item.want {
            // A vector is held to its direction where its numbers are coarse.
            Want::Embedding(_) if precision != Precision::F32 => {
                let alike = cosine(&numbers(got), want);
                assert!(alike >= ALIKE, "{what}: cosine {alike}");
            }
            _ => close(&numbers(got), want, tolerance, &what),
        }
        close(&alone, &numbers(got), tolerance, &format!("{what}, alone against batched"));
    }
}

/// f32 is exact but for the order of sums; f16 is held to the bound of design row "batch-mates".
const EXACT: f32 = 1e-4;
const HALF: f32 = 5e-3;
/// Least cosine of an f16 vector with the reference.
const ALIKE: f32 = 0.9999;
/// bf16 keeps eight bits.
const BRAIN: f32 = 5e-2;

macro_rules! oracles {
    ($($test:ident $folder:literal)*) => { $(
        mod $test {
            use super::*;

            #[test]
            fn exact() {
                agrees($folder, Precision::F32, None, EXACT);
            }

            #[test]
            fn half() {
                agrees($folder, Precision::F16, None, HALF);
            }
        }
    )* };
}

oracles! {
    bert_base "bert-base"
    bert_classify "bert-classify3"
    bert_multi_label "bert-multilabel4"
    bert_rerank "bert-rerank"
    bert_relu "bert-rerank-relu"
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

/// Each way to round and to compute GELU in f16 holds the same bounds.
#[test]
fn gelu_in_either_form_and_weights_rounded_either_way_hold() {
    for name in ["bert-rerank", "distilbert-classify3", "electra-rerank", "bert-rerank-relu"] {
        for (gelu, calibrate) in [(Gelu::Fused, true), (Gelu::Exact, true), (Gelu::Exact, false), (Gelu::Fused, false)]
        {
            let cuda = CudaOptions { gelu, calibrate, ..CudaOptions::default() };
            let options = LoadOptions { cuda, ..options(None) };
            let mut executor = start_with(name, Target::StandIn(Precision::F16, SortieOperators::ALL), &options);
            let all = cases(name);
            let items: Vec<&WorkItem> = all.iter().map(|(i, _)| i).collect();
            for ((_, want), got) in all.iter().zip(run(&mut executor, &items)) {
                close(&numbers(&got), want, HALF, &format!("{name}, {gelu:?}, calibrated {calibrate}"));
            }
        }
    }
}

#[test]
fn every_pooling_is_the_hosts_own_wherever_it_is_done() {
    let all = cases("bert-base");
    for own in [Pooling::Mean, Pooling::Max, Pooling::Cls, Pooling::Last] {
        let mut here = start("bert-base", Target::Cpu, Some(own));
        let mut there = start("bert-base", Target::StandIn(Precision::F32, SortieOperators::ALL), Some(own));
        for want in [Pooling::Mean, Pooling::Max, Pooling::Cls, Pooling::Last] {
            let items: Vec<WorkItem> =
                all.iter().map(|(i, _)| WorkItem { sequence: i.sequence.clone(), want: embed(want) }).collect();
            let items: Vec<&WorkItem> = items.iter().collect();
            let (a, b) = (run(&mut here, &items), run(&mut there, &items));
            for (a, b) in a.iter().zip(&b) {
                close(&numbers(b), &numbers(a), 1e-5, &format!("own {own:?}, wanted {want:?}"));
            }
        }
    }
}

/// What every GPU from Ampere on runs BERT's kin by.
#[test]
fn our_kernels_give_the_same() {
    let own = SortieOperators::KERNELS;
    for name in ["bert-rerank", "bert-rerank-relu", "bert-base", "distilbert-tokens5", "electra-rerank", "roberta-base"]
    {
        agrees_with(name, own, Precision::F32, None, EXACT);
        agrees_with(name, own, Precision::F16, None, HALF);
    }
}

#[test]
fn every_set_of_operators_gives_the_same() {
    for own in SortieOperators::EVERY {
        for name in ["bert-rerank", "distilbert-tokens5", "electra-rerank", "roberta-base"] {
            agrees_with(name, own, Precision::F16, None, HALF);
        }
    }
}

/// Items of many lengths, so that fillers and shapes matter.
fn mixed(name: &str) -> Vec<WorkItem> {
    let (first, _) = cases(name).remove(0);
    (1..30usize)
        .map(|n| {
            let ids = first.sequence.ids.iter().copied().cycle().take(n).collect();
            WorkItem { sequence: Sequence { ids, ..Sequence::default() }, want: first.want }
        })
        .collect()
}

#[test]
fn a_batch_brought_to_a_bucket_gives_what_it_gave_before() {
    let exact = ["bert-rerank", "bert-tokens5", "roberta-rerank", "bert-base"].map(|name| (name, Precision::F32, 1e-5));
    for (name, precision, tolerance) in exact.into_iter().chain([("bert-rerank", Precision::F16, HALF)]) {
        /// Enough shapes to meet every way of filling one.
        const TOKENS: usize = 64;
        let target = Target::StandIn(precision, SortieOperators::ALL);
        let mut plain = start(name, target, None);
        let mut bucketed = start(name, target, None);
        let grid = Grid::new(plain.host().bounds.longest).up_to(TOKENS);
        bucketed.use_graphs(Graphs::new(Memory::host(), false), Some(grid));
        let facts = bucketed.capture();
        assert!(facts.captured > 0 && facts.left_out == 0, "{name}: {facts:?}");
        let items = mixed(name);
        let mut fitted = 0;
        for count in [1, 2, 3, 7] {
            for batch in items.chunks(count) {
                let batch: Vec<&WorkItem> = batch.iter().collect();
                fitted += usize::from(bucketed.host().prepare(&batch).groups.iter().any(|g| g.bucket.is_some()));
                let (a, b) = (run(&mut plain, &batch), run(&mut bucketed, &batch));
                for (a, b) in a.iter().zip(&b) {
                    close(&numbers(b), &numbers(a), tolerance, &format!("{name}, {count} at once"));
                }
            }
        }
        assert!(fitted > 20, "{name}: {fitted} batches were brought to a bucket");
    }
}

#[test]
fn bound_tensors_give_what_copied_ones_give() {
    for (name, precision) in [
        ("bert-classify3", Precision::F32),
        ("bert-tokens5", Precision::F32),
        ("bert-base", Precision::F32),
        ("bert-classify3", Precision::F16),
    ] {
        let target = Target::StandIn(precision, SortieOperators::ALL);
        let mut plain = start(name, target, None);
        let mut bound = start(name, target, None);
        bound.use_graphs(Graphs::new(Memory::host(), true), None);
        let all = cases(name);
        let items: Vec<&WorkItem> = all.iter().map(|(i, _)| i).collect();
        for batch in [&items[..], &items[..1]] {
            let (a, b) = (run(&mut plain, batch), run(&mut bound, batch));
            for (a, b) in a.iter().zip(&b) {
                close(&numbers(b), &numbers(a), 1e-6, name);
            }
        }
    }
}

#[test]
fn onnx_runtime_takes_every_type_of_cudas_graph_and_lacks_only_its_kernels() {
    // Types and shapes are checked against ONNX Runtime's own schemas before kernels are looked for.
    let options = options(None);
    for name in ["bert-rerank", "bert-base", "distilbert-tokens5", "electra-rerank", "roberta-rerank"] {
        let model = open(name, &options);
        for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
            let loaded = NativeExecutor::load(native(&model), &options, Device::Cpu, Target::Cuda(precision));
            let why = format!("{:?}", loaded.expect_err("a processor has no packed attention"));
            // bf16 has no kernels on processors at all: whichever node comes first is named.
            let lacking = ["Could not find an implementation", "NOT_IMPLEMENTED", "NotImplemented"];
            assert!(lacking.iter().any(|l| why.contains(l)), "{name} {}: {why}", precision.name());
        }
    }
}

#[test]
fn onnx_runtime_takes_the_types_of_cudas_attention_over_three_matrices() {
    // As above, for the form that needs a GPU to be chosen: our operators by their stand-ins, attention by its schema.
    let options = options(None);
    let target = Target::Cuda(Precision::F16);
    for name in ["bert-rerank", "electra-rerank"] {
        let model = open(name, &options);
        let (proto, weights, ..) =
            write(native(&model), target, &SessionShape { own: SortieOperators::ALL, ..SessionShape::default() })
                .unwrap();
        let builder = Ready::new(&options, Device::Cpu, &oracle(name), true).unwrap().builder;
        let graph = WrittenGraph::new(&proto, weights).unwrap();
        let own = cpu_domain(&Arc::default(), 1).unwrap();
        let loaded = commit(builder, target, None, Some(own), &graph, &oracle(name));
        let why = format!("{:?}", loaded.expect_err("a processor has no packed attention"));
        assert!(why.contains("PackedMultiHeadAttention") && why.contains("NotImplemented"), "{name}: {why}");
    }
}

#[test]
fn the_brain_format_runs_its_attention_in_f16() {
    // ONNX Runtime has no bf16 kernels for processors: the graph must load, which checks every type in it.
    let options = options(None);
    let model = open("bert-rerank", &options);
    match NativeExecutor::load(
        native(&model),
        &options,
        Device::Cpu,
        Target::StandIn(Precision::Bf16, SortieOperators::ALL),
    ) {
        Ok(mut executor) => {
            let all = cases("bert-rerank");
            let items: Vec<&WorkItem> = all.iter().map(|(i, _)| i).collect();
            for ((_, want), got) in all.iter().zip(run(&mut executor, &items)) {
                close(&numbers(&got), want, BRAIN, "bf16");
            }
        }
        Err(e) => {
            let why = format!("{e:?}");
            assert!(why.contains("NOT_IMPLEMENTED") || why.contains("Could not find an implementation"), "{why}");
        }
    }
}

#[test]
fn a_sparse_model_gives_the_same_by_chunks() {
    sparse_on_cuda(&masked_lm().1, SortieOperators::ALL);
}

#[test]
fn a_sparse_model_gives_the_same_sums_by_kernels() {
    for transform in [SparseTransform::Log, SparseTransform::LogLog] {
        let (_dir, mut model) = masked_lm();
        model.head = Head::Vocabulary { sum: Some(transform) };
        sparse_on_cuda(&model, SortieOperators::KERNELS);
    }
}

/// Sparse vectors of the graph for CUDA beside the processor's.
fn sparse_on_cuda(model: &NativeModel, own: SortieOperators) {
    let options = options(None);
    let load = |target| NativeExecutor::load(model, &options, Device::Cpu, target).unwrap();
    let (mut here, mut exact, mut half) =
        (load(Target::Cpu), load(Target::StandIn(Precision::F32, own)), load(Target::StandIn(Precision::F16, own)));
    // One token, a whole chunk, one more, several.
    let items: Vec<WorkItem> = [1usize, 31, 32, 33, 64, 100, 2, 191]
        .iter()
        .map(|&n| {
            let ids = (0..n as u32).map(|i| 4 + (i * 37 + n as u32) % 290).collect();
            WorkItem { sequence: Sequence { ids, ..Sequence::default() }, want: Want::Sparse }
        })
        .collect();
    let items: Vec<&WorkItem> = items.iter().collect();
    let dense = |answers: Vec<Result<Output, ItemFault>>| -> Vec<Vec<f32>> {
        let spread = |answer: Result<Output, ItemFault>| {
            let Ok(Output::Sparse(entries)) = answer else { panic!("{answer:?}") };
            let mut row = vec![0.0; 300];
            entries.iter().for_each(|&(id, w)| row[id as usize] = w);
            row
        };
        answers.into_iter().map(spread).collect()
    };
    let want = dense(run(&mut here, &items));
    assert!(want.iter().all(|row| row.iter().filter(|w| **w > 0.0).count() > 20), "the head gives nothing");
    let (exact, half) = (dense(run(&mut exact, &items)), dense(run(&mut half, &items)));
    for (i, want) in want.iter().enumerate() {
        close(&exact[i], want, 1e-5, &format!("item {i}"));
        close(&half[i], want, HALF, &format!("item {i} in f16"));
    }
}

#[test]
fn sessions_side_by_side_share_the_weights_and_the_last_one_frees_them() {
    let options = options(None);
    let model = open("bert-rerank", &options);
    let load = |target| load(native(&model), &options, Device::Cpu, target).unwrap();
    let (one, two) = (load(Target::Cpu), load(Target::Cpu));
    assert!(Arc::ptr_eq(&one.graph, &two.graph));
    drop(one);
    assert!(Arc::ptr_eq(&two.graph, &load(Target::Cpu).graph), "one that is made anew");
    let another = load(Target::StandIn(Precision::F32, SortieOperators::default()));
    assert!(!Arc::ptr_eq(&two.graph, &another.graph), "another graph");
    let freed = Arc::downgrade(&two.graph);
    drop(two);
    assert!(freed.upgrade().is_none());
}
