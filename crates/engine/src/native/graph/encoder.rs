//! Writes an encoder as a flat, padding-free graph.
//!
//! ```text
//! input_ids[T] place_ids[T] cumulative[B+1] first[B]
//!   → hidden[T, H] → head → output
//! ```
//!
//! `T` tokens of `B` sequences lie end to end; `cumulative` says where each
//! starts, `first` is the row of each sequence's first token. A place is a position and a
//! segment: [`packing`](super::super::run::packing). Only the attention node knows of sequences:
//! [`super::self_attention`].

use super::{
    super::{
        calibration::{Calibration, LayerFacts},
        family::{Encoder, Pointwise},
        kernel::{BIAS_GELU, takes_product},
    },
    names::input,
    self_attention::{put_back, self_attention},
};
use crate::{
    error::LoadError,
    folder::weights::{Matrix, Weights},
    onnx::{Attr, Builder, Edge, Elem, MICROSOFT, ONNX, SORTIE, Size},
};

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
    let positions = table("position_embeddings", e.positions)?;
    let segments = if e.segments > 0 { Some(table("token_type_embeddings", e.segments)?) } else { None };

    let ids = b.input(input::IDS, Elem::I32, &[Size::Named("tokens")]);
    let at = b.input(input::PLACES, Elem::I32, &[Size::Named("tokens")]);
    let words = b.weight(WORDS, &words.shape, words.data);
    let x = b.node(ONNX, "Gather", "embeddings/word", &[&words, &ids], &[]);
    let places = match segments {
        Some(segments) => sums(&positions.data, &segments.data, e.narrow),
        None => positions.data,
    };
    let table = b.weight("embeddings/places", &[e.positions * e.segments.max(1), e.narrow], places);
    let p = b.node(ONNX, "Gather", "embeddings/place", &[&table, &at], &[]);
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

/// Every row of `positions` with every row of `segments` added, the segments of a position side by side.
fn sums(positions: &[f32], segments: &[f32], width: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity(positions.len() * (segments.len() / width.max(1)));
    for p in positions.chunks_exact(width) {
        for s in segments.chunks_exact(width) {
            all.extend(p.iter().zip(s).map(|(p, s)| p + s));
        }
    }
    all
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

    let mut attended = self_attention(b, e, w, i, x)?;
    let mut x = x.to_owned();
    if wanted == Wanted::First {
        let first = b.input(input::FIRST, Elem::I32, &[Size::Named("sequences")]);
        attended = b.node(ONNX, "Gather", &at("attended_first"), &[&attended, &first], &[]);
        x = b.node(ONNX, "Gather", &at("first"), &[&x, &first], &[]);
    }

    let (weight, mut bias) = matrix_and_bias(w, &names.attended, e.hidden, e.hidden)?;
    put_back(b, e, w, &names, &weight.data, &mut bias)?;
    let weight = b.weight(at("attended_out_weight"), &weight.shape, weight.data);
    let bias = b.weight(at("attended_out_bias"), &[e.hidden], bias);
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
        b.own().gelu && matches!(e.act, Pointwise::Gelu | Pointwise::GeluTanh) && takes_product(e.hidden, e.inner);
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
