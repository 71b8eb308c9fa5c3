//! The graph that is written for CUDA, node by node, one text a model.
//!
//! `SORTIE_BLESS=1 cargo test -p sortie-engine golden` writes the texts anew; the
//! difference is then read like code.

use std::{fmt::Write as _, path::PathBuf};

use super::{masked_lm, native, open};
use crate::{
    device::Precision,
    native::{
        NativeModel,
        kernel::{BIAS_GELU, QUERY_KEY_VALUE, RESERVE},
        run::{SessionShape, write},
    },
    onnx::{ModelProto, NodeProto, SortieOperators, Target, ValueInfo},
    options::LoadOptions,
    task::Pooling,
};

fn elem(number: i32) -> &'static str {
    match number {
        1 => "f32",
        6 => "i32",
        7 => "i64",
        10 => "f16",
        16 => "bf16",
        _ => "?",
    }
}

fn port(v: &ValueInfo) -> String {
    let tensor = v.kind.as_ref().and_then(|k| k.tensor.as_ref()).unwrap();
    let dims: Vec<String> = tensor
        .shape
        .as_ref()
        .map(|s| s.dim.iter().map(|d| d.param.clone().unwrap_or_else(|| d.value.unwrap_or(-1).to_string())).collect())
        .unwrap_or_default();
    format!("{}: {}[{}]", v.name, elem(tensor.elem_type), dims.join(", "))
}

fn node(n: &NodeProto) -> String {
    let attributes: Vec<String> = n
        .attribute
        .iter()
        .map(|a| if a.kind == 1 { format!("{}={:e}", a.name, a.f) } else { format!("{}={}", a.name, a.i) })
        .collect();
    let domain = if n.domain.is_empty() { String::new() } else { format!("{}.", n.domain) };
    let inputs: Vec<&str> = n.input.iter().map(|i| if i.is_empty() { "-" } else { i }).collect();
    let attributes = if attributes.is_empty() { String::new() } else { format!(" {{{}}}", attributes.join(", ")) };
    format!("{} = {domain}{}({}){attributes}", n.output.join(", "), n.op_type, inputs.join(", "))
}

/// The whole graph: inputs, weights with format and shape, nodes, outputs.
fn text(model: &ModelProto) -> String {
    let graph = model.graph.as_ref().unwrap();
    let mut out = String::new();
    for v in &graph.input {
        writeln!(out, "in  {}", port(v)).unwrap();
    }
    for t in &graph.initializer {
        let small = if t.int64_data.is_empty() && t.int32_data.is_empty() {
            String::new()
        } else {
            format!(" = {:?}{:?}", t.int64_data, t.int32_data).replace("[]", "")
        };
        writeln!(out, "weight {}: {}{:?}{small}", t.name, elem(t.data_type), t.dims).unwrap();
    }
    for n in &graph.node {
        writeln!(out, "{}", node(n)).unwrap();
    }
    for v in &graph.output {
        writeln!(out, "out {}", port(v)).unwrap();
    }
    let opsets: Vec<_> = model.opset_import.iter().map(|o| format!("{:?} {}", o.domain, o.version)).collect();
    writeln!(out, "opsets {}", opsets.join(", ")).unwrap();
    out
}

fn holds(file: &str, model: &str, precision: Precision, own: SortieOperators, pooling: Option<Pooling>) {
    let options = LoadOptions { pooling, ..LoadOptions::default() };
    compare(file, native(&open(model, &options)), precision, own);
}

fn compare(file: &str, model: &NativeModel, precision: Precision, own: SortieOperators) {
    let (proto, weights, ..) =
        write(model, Target::Cuda(precision), &SessionShape { own, ..SessionShape::default() }).unwrap();
    let got = text(&proto);
    // Of our operators these alone have a CUDA kernel, and no node may be left to the processor.
    let on_cuda = [BIAS_GELU, QUERY_KEY_VALUE, RESERVE];
    let ours = on_cuda.iter().fold(got.clone(), |text, name| text.replace(&format!("sortie.{name}("), ""));
    assert!(!ours.contains("sortie."), "{file}: an operator of ours has no CUDA kernel");
    assert_eq!(
        own,
        SortieOperators { gelu: got.contains(BIAS_GELU), apart: got.contains(QUERY_KEY_VALUE), kernels: false },
        "{file}"
    );
    assert_eq!(
        weights.len(),
        proto.graph.as_ref().unwrap().initializer.iter().filter(|t| !t.external_data.is_empty()).count()
    );
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/native/tests/golden").join(file);
    if std::env::var_os("SORTIE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for (line, (g, w)) in got.lines().zip(want.lines()).enumerate() {
        assert_eq!(g, w, "{file}, line {}", line + 1);
    }
    assert_eq!(got.lines().count(), want.lines().count(), "{file}: another number of lines");
}

macro_rules! goldens {
    ($($test:ident $file:literal $model:literal $precision:ident $own:ident $pooling:expr;)*) => { $(
        #[test]
        fn $test() {
            holds($file, $model, Precision::$precision, $own, $pooling);
        }
    )* };
}

const NONE: SortieOperators = SortieOperators { gelu: false, apart: false, kernels: false };
const GELU: SortieOperators = SortieOperators { gelu: true, apart: false, kernels: false };
const APART: SortieOperators = SortieOperators { gelu: false, apart: true, kernels: false };
const ALL: SortieOperators = SortieOperators::ALL;

goldens! {
    roberta_rerank_all "roberta-rerank.fused.f16.txt" "roberta-rerank" F16 ALL None;
    electra_rerank_gelu "electra-rerank.gelu.f16.txt" "electra-rerank" F16 GELU None;
    bert_rerank "bert-rerank.f16.txt" "bert-rerank" F16 NONE None;
    bert_rerank_fused "bert-rerank.fused.f16.txt" "bert-rerank" F16 ALL None;
    distilbert_fused "distilbert-classify3.fused.f16.txt" "distilbert-classify3" F16 ALL None;
    bert_mean_fused "bert-base.mean.fused.f16.txt" "bert-base" F16 ALL Some(Pooling::Mean);
    bert_rerank_bf16 "bert-rerank.bf16.txt" "bert-rerank" Bf16 NONE None;
    bert_rerank_f32 "bert-rerank.f32.txt" "bert-rerank" F32 NONE None;
    bert_relu "bert-rerank-relu.apart.f16.txt" "bert-rerank-relu" F16 APART None;
    bert_tokens "bert-tokens5.f16.txt" "bert-tokens5" F16 NONE None;
    bert_mean "bert-base.mean.f16.txt" "bert-base" F16 NONE Some(Pooling::Mean);
    bert_cls "bert-base.cls.f16.txt" "bert-base" F16 NONE Some(Pooling::Cls);
    bert_max "bert-base.max.f16.txt" "bert-base" F16 NONE Some(Pooling::Max);
    roberta_rerank "roberta-rerank.f16.txt" "roberta-rerank" F16 NONE None;
    xlm_roberta_rerank "xlm-roberta-rerank.f16.txt" "xlm-roberta-rerank" F16 NONE None;
    distilbert_classify "distilbert-classify3.f16.txt" "distilbert-classify3" F16 NONE None;
    electra_rerank "electra-rerank.f16.txt" "electra-rerank" F16 NONE None;
}

#[test]
fn bert_masked_lm() {
    let (_dir, model) = masked_lm();
    compare("bert-masked-lm.f16.txt", &model, Precision::F16, SortieOperators::default());
}
