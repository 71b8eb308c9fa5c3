//! Writes an encoder as a flat, padding-free graph.
//!
//! ```text
//! input_ids[T] position_ids[T] token_type_ids[T] cumulative[B+1] first[B]
//!   → hidden[T, H] → head → output
//! ```
//!
//! `T` tokens of `B` sequences lie end to end; `cumulative` says where each
//! starts, `first` is the row of each sequence's first token. Only the attention
//! node knows of sequences. Its projection is one product whose columns are
//! ordered (head, q·k·v, size), the order of ONNX Runtime's
//! PackedMultiHeadAttention. CUDA's takes its bias in another order, (q·k·v, head,
//! size), and wants `token_offset[B, longest]` besides: see [`super::target`].

use super::{
    arch::{Encoder, LayerNames, Pointwise},
    builder::{Attr, Builder, Edge, MICROSOFT, ONNX, SORTIE, Size},
    calibrate::{Calibration, LayerFacts},
    operators::{ATTENTION, NUM_HEADS},
    product::{self, BIAS_GELU},
};
use crate::{
    error::LoadError,
    folder::weights::{Matrix, Weights},
    onnx::Elem,
};

/// Names of the graph's inputs.
pub(crate) mod input {
    pub(crate) const IDS: &str = "input_ids";
    pub(crate) const POSITIONS: &str = "position_ids";
    pub(crate) const SEGMENTS: &str = "token_type_ids";
    pub(crate) const CUMULATIVE: &str = "cumulative";
    pub(crate) const FIRST: &str = "first";
    /// CUDA only: (sequences × longest) i32, places of a padded batch, those of tokens first.
    pub(crate) const TOKEN_OFFSET: &str = "token_offset";
}

/// Name of ONNX Runtime's packed attention, on CUDA alone.
pub(crate) const PACKED_ATTENTION: &str = "PackedMultiHeadAttention";

/// Which rows of the last hidden states are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One a token.
    All,
    /// The first token's of each sequence: past its attention the last layer is written for these alone.
    First,
}

/// Writes the encoder and returns the edge of its last hidden states (T × H, or B × H).
/// `facts` are what is known of its activations, for rounding in f16.
pub(crate) fn encoder(
    b: &mut Builder,
    e: &Encoder,
    w: &Weights,
    wanted: Wanted,
    facts: Option<&Calibration>,
) -> Result<Edge, LoadError> {
    let mut x = embeddings(b, e, w)?;
    b.input(input::CUMULATIVE, Elem::I32, &[Size::Named("sequences_and_one")]);
    for i in 0..e.layers {
        let wanted = if i + 1 == e.layers { wanted } else { Wanted::All };
        x = layer(b, e, w, i, &x, (wanted, facts.and_then(|f| f.layers.get(i))))?;
    }
    Ok(x)
}

/// Name of the word embedding table; a masked-LM head multiplies by it again.
pub(crate) const WORDS: &str = "embeddings/words";

fn embeddings(b: &mut Builder, e: &Encoder, w: &Weights) -> Result<Edge, LoadError> {
    let table = |name: &str, rows: usize| w.get(&e.tensor(&format!("embeddings.{name}.weight")), &[rows, e.narrow]);
    let words = table("word_embeddings", e.vocab)?;
    let mut positions = table("position_embeddings", e.positions)?;
    let segments = if e.segments > 0 { Some(table("token_type_embeddings", e.segments)?) } else { None };

    let ids = b.input(input::IDS, Elem::I32, &[Size::Named("tokens")]);
    let at = b.input(input::POSITIONS, Elem::I32, &[Size::Named("tokens")]);
    let words = b.weight(WORDS, &words.shape, words.data);
    let mut x = b.node(ONNX, "Gather", "embeddings/word", &[&words, &ids], &[]);
    match segments {
        // One segment is the same for every token: it joins the positions.
        Some(one) if e.segments == 1 => {
            for row in positions.data.chunks_exact_mut(e.narrow) {
                row.iter_mut().zip(&one.data).for_each(|(p, s)| *p += s);
            }
        }
        Some(many) => {
            let which = b.input(input::SEGMENTS, Elem::I32, &[Size::Named("tokens")]);
            let table = b.weight("embeddings/segments", &many.shape, many.data);
            let s = b.node(ONNX, "Gather", "embeddings/segment", &[&table, &which], &[]);
            x = b.node(ONNX, "Add", "embeddings/word_segment", &[&x, &s], &[]);
        }
        None => {}
    }
    let table = b.weight("embeddings/positions", &positions.shape, positions.data);
    let p = b.node(ONNX, "Gather", "embeddings/position", &[&table, &at], &[]);
    let (gamma, beta) = norm(b, w, &e.tensor("embeddings.LayerNorm"), e.narrow)?;
    let x = b.node(
        MICROSOFT,
        "SkipLayerNormalization",
        "embeddings/normed",
        &[&x, &p, &gamma, &beta],
        &[Attr::Float("epsilon", e.eps)],
    );
    if e.narrow == e.hidden && !w.has(&e.tensor("embeddings_project.weight")) {
        return Ok(x);
    }
    linear(b, w, "embeddings/projected", &e.tensor("embeddings_project"), e.narrow, e.hidden, &x)
}

fn layer(
    b: &mut Builder,
    e: &Encoder,
    w: &Weights,
    i: usize,
    x: &str,
    (wanted, facts): (Wanted, Option<&LayerFacts>),
) -> Result<Edge, LoadError> {
    let names = e.layer(i);
    let at = |part: &str| format!("layer{i}/{part}");
    let eps = [Attr::Float("epsilon", e.eps)];

    let (weight, bias) = projection(e, w, &names, b.target().is_cpu())?;
    let weight = b.weight(at("qkv_weight"), &weight.shape, weight.data);
    let qkv = b.node(ONNX, "MatMul", &at("qkv"), &[x, &weight], &[]);
    let mut attended = attention(b, e, &at("attended"), &at("qkv"), &qkv, bias);
    let mut x = x.to_owned();
    if wanted == Wanted::First {
        let first = b.input(input::FIRST, Elem::I32, &[Size::Named("sequences")]);
        attended = b.node(ONNX, "Gather", &at("attended_first"), &[&attended, &first], &[]);
        x = b.node(ONNX, "Gather", &at("first"), &[&x, &first], &[]);
    }

    let (weight, bias) = weight_and_bias(b, w, &at("attended_out"), &names.attended, e.hidden, e.hidden)?;
    let out = b.node(ONNX, "MatMul", &at("attended_out"), &[&attended, &weight], &[]);
    let (gamma, beta) = norm(b, w, &names.attended_norm, e.hidden)?;
    let y =
        b.node(MICROSOFT, "SkipLayerNormalization", &at("attended_normed"), &[&out, &x, &gamma, &beta, &bias], &eps);

    let (mut weight, bias) = matrix_and_bias(w, &names.up, e.hidden, e.inner)?;
    if let Some(facts) = facts {
        facts.up.round(&mut weight.data, e.inner);
    }
    let weight = b.weight(at("up_weight"), &weight.shape, weight.data);
    let bias = b.weight(at("up_bias"), &[e.inner], bias);
    let fused =
        b.fused() && matches!(e.act, Pointwise::Gelu | Pointwise::GeluTanh) && product::takes(e.hidden, e.inner);
    let up = if fused {
        b.node(SORTIE, BIAS_GELU, &at("up_activated"), &[&y, &weight, &bias], &[])
    } else {
        let up = b.node(ONNX, "MatMul", &at("up"), &[&y, &weight], &[]);
        biased(b, &at("up_activated"), e.act, &up, &bias)
    };
    let (weight, mut bias) = matrix_and_bias(w, &names.down, e.inner, e.hidden)?;
    if let Some(facts) = facts.filter(|_| fused) {
        facts.put_back(&weight.data, &mut bias);
    }
    let weight = b.weight(at("down_weight"), &weight.shape, weight.data);
    let bias = b.weight(at("down_bias"), &[e.hidden], bias);
    let down = b.node(ONNX, "MatMul", &at("down"), &[&up, &weight], &[]);
    let (gamma, beta) = norm(b, w, &names.down_norm, e.hidden)?;
    Ok(b.node(MICROSOFT, "SkipLayerNormalization", &at("normed"), &[&down, &y, &gamma, &beta, &bias], &eps))
}

/// The attention node over a projection `qkv` (T × 3H) of this name.
fn attention(b: &mut Builder, e: &Encoder, edge: &str, name: &str, qkv: &str, bias: Vec<f32>) -> Edge {
    let domain = b.target().attention_domain();
    let heads = [Attr::Int(NUM_HEADS, e.heads as i64)];
    let bias_name = format!("{name}_bias");
    if b.target().is_cpu() {
        let bias = b.weight(bias_name, &[3 * e.hidden], bias);
        return b.node(domain, ATTENTION, edge, &[qkv, &bias, input::CUMULATIVE], &heads);
    }
    let offset = b.input(input::TOKEN_OFFSET, Elem::I32, &[Size::Named("sequences"), Size::Named("longest")]);
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

/// Adds a layer norm's two weights.
pub(crate) fn norm(b: &mut Builder, w: &Weights, name: &str, width: usize) -> Result<(Edge, Edge), LoadError> {
    // Checkpoints converted from TensorFlow call them gamma and beta.
    let [gamma, beta] = if w.has(&format!("{name}.gamma")) { ["gamma", "beta"] } else { ["weight", "bias"] };
    let (gamma, beta) = (format!("{name}.{gamma}"), format!("{name}.{beta}"));
    let g = w.get(&gamma, &[width])?;
    let s = w.get(&beta, &[width])?;
    Ok((b.weight(gamma, &[width], g.data), b.weight(beta, &[width], s.data)))
}

/// A linear layer's weight, turned round to (from × to), and its bias.
fn matrix_and_bias(w: &Weights, name: &str, from: usize, to: usize) -> Result<(Matrix, Vec<f32>), LoadError> {
    let weight = w.get(&format!("{name}.weight"), &[to, from])?.transposed();
    let bias = w.get(&format!("{name}.bias"), &[to])?;
    Ok((weight, bias.data))
}

fn weight_and_bias(
    b: &mut Builder,
    w: &Weights,
    edge: &str,
    name: &str,
    from: usize,
    to: usize,
) -> Result<(Edge, Edge), LoadError> {
    let (weight, bias) = matrix_and_bias(w, name, from, to)?;
    Ok((b.weight(format!("{edge}_weight"), &[from, to], weight.data), b.weight(format!("{edge}_bias"), &[to], bias)))
}

/// `x·Wᵀ + b`.
pub(crate) fn linear(
    b: &mut Builder,
    w: &Weights,
    edge: &str,
    name: &str,
    from: usize,
    to: usize,
    x: &str,
) -> Result<Edge, LoadError> {
    let (weight, bias) = weight_and_bias(b, w, edge, name, from, to)?;
    Ok(b.node(ONNX, "Gemm", edge, &[x, &weight, &bias], &[]))
}

/// `act(x + bias)`.
fn biased(b: &mut Builder, edge: &str, act: Pointwise, x: &str, bias: &str) -> Edge {
    match act {
        // The fused operator is not known to have a bf16 kernel on CUDA; Gelu has one.
        Pointwise::Gelu if b.elem() != Elem::BF16 => b.node(MICROSOFT, "BiasGelu", edge, &[x, bias], &[]),
        Pointwise::GeluTanh => b.node(MICROSOFT, "FastGelu", edge, &[x, bias], &[]),
        _ => {
            let sum = b.node(ONNX, "Add", &format!("{edge}_sum"), &[x, bias], &[]);
            pointwise(b, edge, act, &sum)
        }
    }
}

/// `act(x)`.
pub(crate) fn pointwise(b: &mut Builder, edge: &str, act: Pointwise, x: &str) -> Edge {
    match act {
        Pointwise::Gelu => b.node(MICROSOFT, "Gelu", edge, &[x], &[]),
        Pointwise::GeluTanh => b.node(MICROSOFT, "FastGelu", edge, &[x], &[]),
        Pointwise::Relu => b.node(ONNX, "Relu", edge, &[x], &[]),
        Pointwise::Tanh => b.node(ONNX, "Tanh", edge, &[x], &[]),
        Pointwise::Silu => {
            let s = b.node(ONNX, "Sigmoid", &format!("{edge}_sigmoid"), &[x], &[]);
            b.node(ONNX, "Mul", edge, &[x, &s], &[])
        }
    }
}
