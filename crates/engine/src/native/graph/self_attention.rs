//! Writes self-attention: queries, keys and values, and the attention node over them.
//!
//! | | projection | attention |
//! | --- | --- | --- |
//! | CPU | one product, columns (head, q·k·v, size) | ours, bias in the same order |
//! | CUDA, f16 with cublasLt | our operator: three matrices, the first with its bias | ONNX Runtime's PackedMultiHeadAttention |
//! | CUDA else | one product, columns (head, q·k·v, size) | the same, bias in the order (q·k·v, head, size) |
//!
//! CUDA's wants `token_offset[B, longest]` besides: see [`names`](super::names).
//!
//! Keys need no bias: `q·(k + b)` is `q·k` and a number that is the same for every key, which softmax
//! does not see. Nor do values: their weights sum to one, so the bias comes out as it went in, and through
//! the next product into that one's bias ([`put_back`]).

use super::{
    super::{
        calibration::add_through,
        family::{Encoder, LayerNames},
        kernel::{
            ATTENTION, GAPS, HAS_KEYS, NUM_HEADS, PACKED_ATTENTION, QUERY_KEY_VALUE, RESERVE, takes_query_key_value,
        },
    },
    names::input,
};
use crate::{
    cuda::TOGETHER,
    error::LoadError,
    folder::weights::{Matrix, Weights},
    onnx::{Attr, Builder, Edge, Elem, ONNX, SORTIE, Size},
};

/// Writes it for layer `i` over the states `x` (T × H), and returns what it gives (T × H).
pub(crate) fn self_attention(b: &mut Builder, e: &Encoder, w: &Weights, i: usize, x: &str) -> Result<Edge, LoadError> {
    let names = e.layer(i);
    let at = |part: &str| format!("layer{i}/{part}");
    let heads = [Attr::Int(NUM_HEADS, e.heads as i64)];
    if are_apart(b, e) {
        let (weight, bias) = apart(e, w, &names)?;
        let weight = b.weight(at("qkv_weight"), &[TOGETHER, e.hidden, e.hidden], weight);
        let bias = b.weight(at("qkv_bias"), &[TOGETHER, e.hidden], bias);
        let parts = ["query", "key", "value"].map(at);
        let [query, key, value] = parts.each_ref().map(String::as_str);
        let gaps: Vec<String> = (0..GAPS).map(|i| at(&format!("gap{i}"))).collect();
        let gaps: Vec<&str> = gaps.iter().map(String::as_str).collect();
        b.nodes(SORTIE, RESERVE, &gaps, &[x], &[]);
        let inputs = [&[x, &weight, &bias], &gaps[..]].concat();
        b.nodes(SORTIE, QUERY_KEY_VALUE, &[query, key, value], &inputs, &[]);
        let inputs = [query, key, value, "", &token_offset(b), input::CUMULATIVE];
        return Ok(b.node(b.target().attention_domain(), PACKED_ATTENTION, &at("attended"), &inputs, &heads));
    }
    let (weight, bias) = projection(e, w, &names, b.target().is_cpu())?;
    let weight = b.weight(at("qkv_weight"), &weight.shape, weight.data);
    let qkv = b.node(ONNX, "MatMul", &at("qkv"), &[x, &weight], &[]);
    Ok(attention(b, e, &at("attended"), &at("qkv"), &qkv, bias))
}

fn are_apart(b: &Builder, e: &Encoder) -> bool {
    b.own().apart && takes_query_key_value(e)
}

/// Adds to `bias`, that of the product behind the attention, what its `weight` (H × H) makes of the values' bias where
/// values go without.
pub(crate) fn put_back(
    b: &Builder,
    e: &Encoder,
    w: &Weights,
    names: &LayerNames,
    weight: &[f32],
    bias: &mut [f32],
) -> Result<(), LoadError> {
    if are_apart(b, e) {
        add_through(&w.get(&format!("{}.bias", names.value), &[e.hidden])?.data, weight, bias);
    }
    Ok(())
}

/// Declares the input that CUDA's attention takes besides.
fn token_offset(b: &mut Builder) -> Edge {
    b.input(input::TOKEN_OFFSET, Elem::I32, &[Size::Named("sequences"), Size::Named("longest")])
}

/// The attention node over a projection `qkv` (T × 3H) of this name.
fn attention(b: &mut Builder, e: &Encoder, edge: &str, name: &str, qkv: &str, bias: Vec<f32>) -> Edge {
    let domain = b.target().attention_domain();
    let heads = [Attr::Int(NUM_HEADS, e.heads as i64)];
    let bias_name = format!("{name}_bias");
    if b.target().is_cpu() {
        let bias = b.weight(bias_name, &[3 * e.hidden], bias);
        if !e.unseen {
            return b.node(domain, ATTENTION, edge, &[qkv, &bias, input::CUMULATIVE], &heads);
        }
        let keys = b.input(input::KEYS, Elem::I32, &[Size::Named("sequences")]);
        let [heads] = heads;
        return b.node(
            domain,
            ATTENTION,
            edge,
            &[qkv, &bias, input::CUMULATIVE, &keys],
            &[heads, Attr::Int(HAS_KEYS, 1)],
        );
    }
    let offset = token_offset(b);
    // The operator has no bf16 kernel; what goes in has been through a norm and a product, and fits f16.
    let elem = if b.elem() == Elem::BF16 { Elem::F16 } else { b.elem() };
    let qkv = b.cast(elem, &format!("{name}_{elem:?}"), qkv);
    let bias = b.weight_in(elem, bias_name, &[3 * e.hidden], bias);
    let shape = b.integers("attention/shape", &[-1, e.heads as i64, 3, (e.hidden / e.heads) as i64]);
    let packed = b.node(ONNX, "Reshape", &format!("{name}_packed"), &[&qkv, &shape], &[]);
    let inputs = [packed.as_str(), "", "", bias.as_str(), offset.as_str(), input::CUMULATIVE];
    if elem == b.elem() {
        return b.node(domain, PACKED_ATTENTION, edge, &inputs, &heads);
    }
    let narrow = b.node(domain, PACKED_ATTENTION, &format!("{edge}_{elem:?}"), &inputs, &heads);
    let back = Attr::Int("to", b.elem() as i64);
    b.node(ONNX, "Cast", edge, &[&narrow], &[back])
}

/// Weights of queries, keys and values end to end, each turned round to (H × H), and the queries' bias before zeros.
fn apart(e: &Encoder, w: &Weights, names: &LayerNames) -> Result<(Vec<f32>, Vec<f32>), LoadError> {
    let h = e.hidden;
    let mut weights = Vec::with_capacity(TOGETHER * h * h);
    for name in [&names.query, &names.key, &names.value] {
        weights.extend(w.get(&format!("{name}.weight"), &[h, h])?.transposed().data);
    }
    let mut biases = w.get(&format!("{}.bias", names.query), &[h])?.data;
    biases.resize(TOGETHER * h, 0.0);
    Ok((weights, biases))
}

/// Query, key and value weights as one (H × 3H) matrix, columns ordered (head, q·k·v,
/// size), and their biases: in the same order where `bias_by_head`, else (q·k·v, head, size).
fn projection(
    e: &Encoder,
    w: &Weights,
    names: &LayerNames,
    bias_by_head: bool,
) -> Result<(Matrix, Vec<f32>), LoadError> {
    let (h, size) = (e.hidden, e.hidden / e.heads);
    let mut weight = Matrix { shape: vec![3 * h, h], data: vec![0.0; 3 * h * h] };
    let mut bias = vec![0.0; 3 * h];
    for (part, name) in [&names.query, &names.key, &names.value].into_iter().enumerate() {
        let m = w.get(&format!("{name}.weight"), &[h, h])?;
        let v = w.get(&format!("{name}.bias"), &[h])?;
        for row in 0..h {
            let to = (row / size) * 3 * size + part * size + row % size;
            weight.data[to * h..][..h].copy_from_slice(&m.data[row * h..][..h]);
            bias[if bias_by_head { to } else { part * h + row }] = v.data[row];
        }
    }
    Ok((weight.transposed(), bias))
}
