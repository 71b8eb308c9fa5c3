//! Every family's graph for CUDA, run on the processor with stand-ins for our kernels, against PyTorch.

use super::{
    archived, native_of,
    numbers::{cases_of, numbers, run},
};
use crate::{
    device::{Device, Precision},
    item::{Want, WorkItem},
    native::NativeExecutor,
    onnx::{SortieOperators, Target},
    options::LoadOptions,
};

/// How far answers may be off in f32, of a row's largest number; and in the narrow formats, where the devices' own errors are
/// measured elsewhere: here a graph that is wrong is looked for.
const EXACT: f32 = 1e-4;
const HALF: f32 = 3e-2;
const BRAIN: f32 = 2e-1;

fn holds(folder: &str, precision: Precision, bound: f32) {
    let model = native_of(&archived(folder));
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    let target = Target::StandIn(precision, SortieOperators::KERNELS);
    let mut executor = NativeExecutor::load(&model, &options, Device::Cpu, target).unwrap();
    let all = cases_of(&archived(folder));
    let items: Vec<&WorkItem> = all.iter().map(|(item, _)| item).collect();
    let together: Vec<Vec<f32>> = run(&mut executor, &items).iter().map(numbers).collect();
    let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    // One logit alone may be next to nothing.
    let logits = all.iter().filter(|(item, _)| item.want == Want::Logits);
    let of_all = logits.map(|(_, row)| largest(row)).fold(0.0_f32, f32::max);
    for (k, ((item, want), got)) in all.iter().zip(&together).enumerate() {
        let scale = largest(want).max(of_all);
        assert_eq!(got.len(), want.len());
        let off = got.iter().zip(want).map(|(g, w)| (g - w).abs() / scale).fold(0.0_f32, f32::max);
        assert!(off <= bound, "{folder} in {}, case {k}: off by {off}", precision.name());
        let alone = numbers(&run(&mut executor, &[item]).remove(0));
        let off = got.iter().zip(&alone).map(|(g, w)| (g - w).abs() / scale).fold(0.0_f32, f32::max);
        assert!(off <= bound, "{folder} in {}, case {k}: {off} between alone and beside others", precision.name());
    }
}

macro_rules! families {
    ($($test:ident $folder:literal)*) => { $(
        #[test]
        fn $test() {
            holds($folder, Precision::F32, EXACT);
            holds($folder, Precision::F16, HALF);
            holds($folder, Precision::Bf16, BRAIN);
        }
    )* };
}

families! {
    deberta_base "families/deberta-v2-base"
    deberta_base_own_keys "families/deberta-v2-base-own-keys"
    deberta_rerank "families/deberta-v2-rerank"
    deberta_tokens "families/deberta-v2-tokens5"
    eurobert_base "families/eurobert-base"
    eurobert_rerank_late "families/eurobert-rerank-late"
    eurobert_rerank_mean "families/eurobert-rerank-mean"
    gemma3_embed "families/gemma3-embed"
    gte_base "families/gte-base"
    gte_rerank "families/gte-rerank"
    llama_embed "families/llama-embed"
    modernbert_base "families/modernbert-base"
    modernbert_rerank_cls "families/modernbert-rerank-cls"
    modernbert_rerank_mean "families/modernbert-rerank-mean"
    modernbert_tokens "families/modernbert-tokens5"
    mpnet_base "families/mpnet-base"
    mpnet_rerank "families/mpnet-rerank"
    nomic_base "families/nomic-base"
    nomic_classify "families/nomic-classify3"
    qwen2_rerank "families/qwen2-rerank-seqcls"
    qwen3_embed "families/qwen3-embed"
    qwen3_rerank "families/qwen3-rerank-seqcls"
    jina_v2_rerank "experimental/jina-v2-rerank"
    neobert_base "experimental/neobert-base"
    nomic_moe_base "experimental/nomic-moe-base"
    nomic_moe_every_3 "experimental/nomic-moe-every-3"
    t5_encoder "families/t5-encoder"
    t5_encoder_gated "families/t5-encoder-gated"
}
