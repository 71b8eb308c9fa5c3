//! Writes self-attention: queries, keys and values, and the attention node over them.
//!
//! | | projection | attention |
//! | --- | --- | --- |
//! | CPU | one product, columns by group: its queries, key, value | ours, bias in the same order |
//! | CUDA, f16 with cublasLt | our operator: three matrices, the first with its bias | ONNX Runtime's PackedMultiHeadAttention |
//! | CUDA else | one product, columns (head, q·k·v, size) | the same, bias in the order (q·k·v, head, size) |
//! | CUDA, our own kernels | the processor's, its bias inside | the processor's, heads normed and rotated before |
//!
//! CUDA's wants `token_offset[B, longest]` besides: see [`names`](super::names).
//!
//! Ours does whatever a layer's [`Attention`] says. ONNX Runtime's takes BERT's attention alone ([`Attention::beyond_plain`]).
//!
//! Keys need no bias in BERT's attention: `q·(k + b)` is `q·k` and a number that is the same for every key, which softmax
//! does not see. Nor do values: their weights sum to one, so the bias comes out as it went in, and through
//! the next product into that one's bias ([`put_back`]).

use sortie_gemm::WeightFormat;

use super::{
    super::{
        calibration::add_through,
        distances,
        family::{Attention, Distances, Encoder, NormKind, Sight, plain_scale},
        kernel::{
            ATTENTION, DEVICE_ATTENTION, FINISHED_HEADS, GAPS, NUM_HEADS, PACKED_ATTENTION, QUERY_KEY_VALUE, RESERVE,
            attribute, place, takes_query_key_value,
        },
    },
    kept::KeptWriter,
    names::input,
    on_cuda,
    parts::{stored, vector},
};
use crate::{
    cuda::TOGETHER,
    error::LoadError,
    folder::weights::{Matrix, Weights},
    onnx::{Attr, Builder, Edge, Elem, ONNX, SORTIE, Size},
};

/// Writes it for layer `i` over the states `x` (T × H), and returns what it gives (T × heads·size).
pub(crate) fn self_attention(b: &mut Builder, e: &Encoder, w: &Weights, i: usize, x: &str) -> Result<Edge, LoadError> {
    let attention = &e.layers[i].attention;
    let at = |part: &str| format!("layer{i}/{part}");
    if are_apart(b, e) {
        let heads = [Attr::Int(NUM_HEADS, attention.heads as i64)];
        let (weight, bias) = apart(e, w, attention)?;
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
    let ours = b.target().is_cpu() || b.own().kernels;
    let (weight, bias) = projection(w, attention, ours)?;
    if let Some(format) = b.kept_format() {
        let (kept, shape) = (KeptWriter { format, w }.of_norms(), [attention.query.from, attention.projected()]);
        let qkv = kept.product(b, &at("qkv"), x, &attention.query.weight.name, shape, &weight.data)?;
        return by_our_operator(b, e, w, i, &qkv, Some(bias));
    }
    let weight = b.weight(at("qkv_weight"), &weight.shape, weight.data);
    if b.own().kernels {
        let none = bias.iter().all(|&x| x == 0.0);
        let bias = if none { Edge::new() } else { b.weight(at("qkv_bias"), &[bias.len()], bias) };
        let qkv = on_cuda::product(b, &at("qkv"), x, &weight, &bias);
        return by_our_operator(b, e, w, i, &qkv, None);
    }
    let qkv = b.node(ONNX, "MatMul", &at("qkv"), &[x, &weight], &[]);
    if b.target().is_cpu() {
        return by_our_operator(b, e, w, i, &qkv, Some(bias));
    }
    Ok(on_cuda(b, e, attention.heads, &at("attended"), &at("qkv"), &qkv, bias))
}

fn are_apart(b: &Builder, e: &Encoder) -> bool {
    b.own().apart && !b.own().kernels && takes_query_key_value(e)
}

/// Adds to `bias`, that of the product behind the attention, what its `weight` (H × H) makes of the values' bias where
/// values go without.
pub(crate) fn put_back(
    b: &Builder,
    e: &Encoder,
    w: &Weights,
    attention: &Attention,
    weight: &[f32],
    bias: &mut Vec<f32>,
) -> Result<(), LoadError> {
    if are_apart(b, e) {
        let values = vector(w, &attention.value)?;
        bias.resize(e.hidden, 0.0);
        add_through(&values, weight, bias);
    }
    Ok(())
}

/// Our operator over a projection `qkv`. On the processor it adds the bias, norms and rotates; on CUDA another one does that
/// before, and the product has the bias.
fn by_our_operator(
    b: &mut Builder,
    e: &Encoder,
    w: &Weights,
    i: usize,
    qkv: &str,
    bias: Option<Vec<f32>>,
) -> Result<Edge, LoadError> {
    let a = &e.layers[i].attention;
    let at = |part: &str| format!("layer{i}/{part}");
    let mut attributes = vec![Attr::Int(NUM_HEADS, a.heads as i64)];
    let mut inputs: [Edge; place::ALL] = Default::default();
    qkv.clone_into(&mut inputs[place::QKV]);
    if let Some(bias) = bias {
        inputs[place::BIAS] = b.weight(at("qkv_bias"), &[a.projected()], bias);
    }
    input::CUMULATIVE.clone_into(&mut inputs[place::CUMULATIVE]);
    if a.kv_heads != a.heads {
        attributes.push(Attr::Int(attribute::KV_HEADS, a.kv_heads as i64));
    }
    if a.scale != plain_scale(a.size) {
        attributes.push(Attr::Float(attribute::SCALE, a.scale));
    }
    match a.sight {
        Sight::All => {}
        Sight::Causal => attributes.push(Attr::Int(attribute::CAUSAL, 1)),
        Sight::Window(radius) => attributes.push(Attr::Int(attribute::WINDOW, radius as i64)),
    }
    if matches!(b.kept_format(), Some(WeightFormat::Bf16 | WeightFormat::Int8)) {
        attributes.push(Attr::Int(attribute::NARROW, 1));
    }
    if e.unseen {
        inputs[place::KEYS] = b.input(input::KEYS, Elem::I32, &[Size::Named("sequences")]);
    }
    if let Some(rope) = &a.rope {
        let earlier = e.layers.iter().position(|layer| layer.attention.rope.as_ref() == Some(rope)).unwrap_or(i);
        inputs[place::ROTATION] = b.in_format(Elem::F32, |b| {
            let shape = [2, e.longest, rope.frequencies.len()];
            b.weight_once(&format!("attention/rotation{earlier}"), &shape, || rope.table(e.longest))
        });
    }
    if let Some(norms) = &a.query_key_norm {
        let mut weights = Vec::with_capacity(2 * a.size);
        for norm in [&norms.query, &norms.key] {
            let one = if norm.kind == NormKind::RmsOnePlus { 1.0 } else { 0.0 };
            weights.extend(w.get(&norm.weight, &[a.size])?.data.into_iter().map(|x| x + one));
        }
        inputs[place::NORMS] = b.weight_in(Elem::F32, at("head_norms"), &[2, a.size], weights);
        attributes.push(Attr::Float(attribute::NORM_EPS, norms.query.eps));
    }
    match &a.distances {
        None => {}
        Some(Distances::Vectors(vectors)) => {
            let mut tables = distances::vectors(w, a, vectors, e.hidden, b.target().is_cpu())?;
            if !b.target().is_cpu() {
                tables = tables.by_column(a)?;
            }
            for (place, part, table) in [
                (place::MET_BY_QUERIES, "met_by_queries", tables.met_by_queries),
                (place::MET_BY_KEYS, "met_by_keys", tables.met_by_keys),
            ] {
                if let Some(table) = table {
                    inputs[place] = b.weight(at(part), &[table.len()], table);
                }
            }
            inputs[place::COLUMNS] = b.small_i32s("attention/distance_columns", &tables.columns);
        }
        Some(numbers) => {
            let (name, table) = distances::numbers(w, a, numbers, e.longest)?;
            let columns = table.len() / a.heads;
            inputs[place::BY_DISTANCE] =
                b.in_format(Elem::F32, |b| b.weight_once(&name, &[a.heads, columns], || table));
        }
    }
    if !b.target().is_cpu() {
        finish_heads(b, &at("finished"), &mut inputs, &attributes);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let operator = if b.target().is_cpu() { ATTENTION } else { DEVICE_ATTENTION };
    Ok(b.node(SORTIE, operator, &at("attended"), on_cuda::given(&inputs), &attributes))
}

/// Norms and rotates heads by an operator of their own, whose result attention then takes.
fn finish_heads(b: &mut Builder, edge: &str, inputs: &mut [Edge; place::ALL], attributes: &[Attr]) {
    let (rotation, norms) = (std::mem::take(&mut inputs[place::ROTATION]), std::mem::take(&mut inputs[place::NORMS]));
    if rotation.is_empty() && norms.is_empty() {
        return;
    }
    let taken = [inputs[place::QKV].as_str(), &inputs[place::CUMULATIVE], &rotation, &norms];
    inputs[place::QKV] = b.node(SORTIE, FINISHED_HEADS, edge, on_cuda::given(&taken), attributes);
}

/// Declares the input that CUDA's attention takes besides.
fn token_offset(b: &mut Builder) -> Edge {
    b.input(input::TOKEN_OFFSET, Elem::I32, &[Size::Named("sequences"), Size::Named("longest")])
}

/// CUDA's attention node over a projection `qkv` (T × 3H) of this name.
fn on_cuda(b: &mut Builder, e: &Encoder, heads: usize, edge: &str, name: &str, qkv: &str, bias: Vec<f32>) -> Edge {
    let domain = b.target().attention_domain();
    let size = e.hidden / heads.max(1);
    let attributes = [Attr::Int(NUM_HEADS, heads as i64)];
    let bias_name = format!("{name}_bias");
    let offset = token_offset(b);
    // The operator has no bf16 kernel; what goes in has been through a norm and a product, and fits f16.
    let elem = if b.elem() == Elem::BF16 { Elem::F16 } else { b.elem() };
    let qkv = b.cast(elem, &format!("{name}_{elem:?}"), qkv);
    let bias = b.weight_in(elem, bias_name, &[3 * e.hidden], bias);
    let shape = b.integers("attention/shape", &[-1, heads as i64, 3, size as i64]);
    let packed = b.node(ONNX, "Reshape", &format!("{name}_packed"), &[&qkv, &shape], &[]);
    let inputs = [packed.as_str(), "", "", bias.as_str(), offset.as_str(), input::CUMULATIVE];
    if elem == b.elem() {
        return b.node(domain, PACKED_ATTENTION, edge, &inputs, &attributes);
    }
    let narrow = b.node(domain, PACKED_ATTENTION, &format!("{edge}_{elem:?}"), &inputs, &attributes);
    let back = Attr::Int("to", b.elem() as i64);
    b.node(ONNX, "Cast", edge, &[&narrow], &[back])
}

/// Weights of queries, keys and values end to end, each turned round to (H × H), and the queries' bias before zeros.
fn apart(e: &Encoder, w: &Weights, a: &Attention) -> Result<(Vec<f32>, Vec<f32>), LoadError> {
    let h = e.hidden;
    let mut weights = Vec::with_capacity(TOGETHER * h * h);
    for part in [&a.query, &a.key, &a.value] {
        weights.extend(stored(w, part)?.transposed().data);
    }
    let mut biases = vector(w, &a.query)?;
    biases.resize(TOGETHER * h, 0.0);
    Ok((weights, biases))
}

/// Query, key and value weights as one matrix (H × columns), columns ordered by group: the queries of the heads that share
/// a key, that key, that value. Their biases are in the same order where `bias_by_head`, else (q·k·v, head, size); zeros where
/// a product has none.
pub(crate) fn projection(w: &Weights, a: &Attention, bias_by_head: bool) -> Result<(Matrix, Vec<f32>), LoadError> {
    let (size, each) = (a.size, a.heads / a.kv_heads);
    let (width, from) = (a.projected(), a.query.from);
    // Read first: what a configuration says of their sizes is then known to be so.
    let parts = [(&a.query, each), (&a.key, 1), (&a.value, 1)];
    let read =
        parts.map(|(product, shared)| Ok::<_, LoadError>((product, shared, stored(w, product)?, vector(w, product)?)));
    let mut weight = Matrix { shape: vec![width, from], data: Vec::new() };
    let mut bias = vec![0.0; width];
    let mut before = 0;
    for (part, read) in read.into_iter().enumerate() {
        let (product, shared, m, v) = read?;
        weight.data.resize(width * from, 0.0);
        // Where this part begins in a group: behind the queries, then behind the key.
        let begins = [0, each * size, (each + 1) * size][part];
        for row in 0..product.to() {
            let (group, within) = (row / (shared * size), row % (shared * size));
            let to = group * (each + 2) * size + begins + within;
            weight.data[to * from..][..from].copy_from_slice(&m.data[row * from..][..from]);
            if let Some(&number) = v.get(row) {
                bias[if bias_by_head { to } else { before + row }] = number;
            }
        }
        before += product.to();
    }
    Ok((weight.transposed(), bias))
}
