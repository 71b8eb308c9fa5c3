//! Parts that encoders and heads are written of: products, norms, activations, and the tensors behind them.

use super::{
    super::family::{Linear, Norm, NormKind, Pointwise, Taken, TensorRows},
    on_cuda,
};
use crate::{
    error::LoadError,
    folder::weights::{Matrix, Weights},
    onnx::{Attr, Builder, Edge, Elem, MICROSOFT, ONNX},
};

/// A product's weight, turned round to (from × to).
pub(crate) fn matrix(w: &Weights, product: &Linear) -> Result<Matrix, LoadError> {
    Ok(stored(w, product)?.transposed())
}

/// A product's weight as it is stored: (to × from).
pub(crate) fn stored(w: &Weights, product: &Linear) -> Result<Matrix, LoadError> {
    let TensorRows { name, stored, taken: rows } = &product.weight;
    let shape = [*stored, product.from];
    let data = match rows {
        Taken::From { first, rows } => w.get_rows(name, shape, *first..first + rows)?,
        Taken::All | Taken::Each(_) => taken(&product.weight, w.get(name, &shape)?.data, product.from),
    };
    Ok(Matrix { shape: vec![product.to(), product.from], data })
}

/// A product's bias; empty where it has none.
pub(crate) fn vector(w: &Weights, product: &Linear) -> Result<Vec<f32>, LoadError> {
    let Some(bias) = &product.bias else { return Ok(Vec::new()) };
    Ok(taken(bias, w.get(&bias.name, &[bias.stored])?.data, 1))
}

/// The rows that are taken of a tensor whose rows are `width` wide.
fn taken(rows: &TensorRows, data: Vec<f32>, width: usize) -> Vec<f32> {
    match &rows.taken {
        Taken::All => data,
        Taken::From { first, rows } => data[first * width..][..rows * width].to_vec(),
        Taken::Each(each) => each.iter().flat_map(|row| &data[row * width..][..width]).copied().collect(),
    }
}

/// Adds a norm's weights: what it multiplies by, and what it adds where it adds anything.
pub(crate) fn norm_weights(
    b: &mut Builder,
    w: &Weights,
    norm: &Norm,
    width: usize,
) -> Result<(Edge, Option<Edge>), LoadError> {
    let mut gamma = w.get(&norm.weight, &[width])?.data;
    if norm.kind == NormKind::RmsOnePlus {
        gamma.iter_mut().for_each(|x| *x += 1.0);
    }
    let beta = norm.bias.as_ref().map(|name| w.get(name, &[width])).transpose()?;
    let gamma = b.weight_once(&norm.weight, &[width], || gamma);
    let beta = norm.bias.as_ref().zip(beta).map(|(name, beta)| b.weight_once(name, &[width], || beta.data));
    Ok((gamma, beta))
}

/// The norm of `x`.
pub(crate) fn normed(
    b: &mut Builder,
    w: &Weights,
    edge: &str,
    norm: &Norm,
    width: usize,
    x: &str,
) -> Result<Edge, LoadError> {
    let (gamma, beta) = norm_weights(b, w, norm, width)?;
    let eps = [Attr::Float("epsilon", norm.eps)];
    let operator = match norm.kind {
        NormKind::Layer => "LayerNormalization",
        NormKind::Rms | NormKind::RmsOnePlus => "SimplifiedLayerNormalization",
    };
    let mut inputs = vec![x, gamma.as_str()];
    inputs.extend(beta.as_deref());
    Ok(b.node(ONNX, operator, edge, &inputs, &eps))
}

/// `x·Wᵀ + b`.
pub(crate) fn linear(b: &mut Builder, w: &Weights, edge: &str, product: &Linear, x: &str) -> Result<Edge, LoadError> {
    let (weight, bias) = (matrix(w, product)?, vector(w, product)?);
    let weight = b.weight(format!("{edge}_weight"), &weight.shape, weight.data);
    if bias.is_empty() {
        return Ok(match b.own().kernels {
            true => on_cuda::product(b, edge, x, &weight, ""),
            false => b.node(ONNX, "MatMul", edge, &[x, &weight], &[]),
        });
    }
    let bias = b.weight(format!("{edge}_bias"), &[product.to()], bias);
    if b.own().kernels {
        return Ok(on_cuda::product(b, edge, x, &weight, &bias));
    }
    Ok(b.node(ONNX, "Gemm", edge, &[x, &weight, &bias], &[]))
}

/// `act(x + bias)`.
pub(crate) fn biased(b: &mut Builder, edge: &str, act: Pointwise, x: &str, bias: &str) -> Edge {
    match act {
        // The fused operator is not known to have a bf16 kernel on CUDA; Gelu has one.
        Pointwise::Gelu if b.elem() != Elem::BF16 => b.node(MICROSOFT, "BiasGelu", edge, &[x, bias], &[]),
        Pointwise::GeluTanh => b.node(MICROSOFT, "FastGelu", edge, &[x, bias], &[]),
        _ => {
            let sum = b.node(ONNX, "Add", &format!("{edge}_sum"), &[x, bias], &[]);
            activated(b, edge, act, &sum)
        }
    }
}

/// `act(x)`.
pub(crate) fn activated(b: &mut Builder, edge: &str, act: Pointwise, x: &str) -> Edge {
    match act {
        Pointwise::Gelu => b.node(MICROSOFT, "Gelu", edge, &[x], &[]),
        Pointwise::GeluTanh => b.node(MICROSOFT, "FastGelu", edge, &[x], &[]),
        Pointwise::Relu => b.node(ONNX, "Relu", edge, &[x], &[]),
        Pointwise::Tanh => b.node(ONNX, "Tanh", edge, &[x], &[]),
        // x·σ(αx), which is SiLU for α = 1.
        Pointwise::Silu => b.node(MICROSOFT, "QuickGelu", edge, &[x], &[Attr::Float("alpha", 1.0)]),
    }
}
