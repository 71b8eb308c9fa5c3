//! Writes products whose weights live in operators of ours, for the processor, in every format that is faster there than ONNX Runtime's f32
//! ([`kernel::kept`](super::super::kernel)).
//!
//! What a layer does behind its attention is one node. Layers of experts have no such node: their products before and behind the
//! attention are nodes by themselves, and the experts stay in f32, as do embeddings, heads and poolings.

use sortie_gemm::{Act, KeptProduct, KeptWeight, LayerNorms, LayerRest, PackError, RowNorm, WeightFormat, Widening};

use super::{
    super::{
        family::{Encoder, FeedForward, Layer, Linear, Norm, NormKind, Norms, Pointwise},
        kernel::{KEPT, KEPT_PRODUCT, LAYER_REST},
    },
    encoder::ResidualStream,
    parts::{matrix, vector},
};
use crate::{
    error::LoadError,
    folder::weights::Weights,
    onnx::{Attr, Builder, Edge, SORTIE},
};

/// Writes layers' products in `format`.
pub(super) struct KeptWriter<'a> {
    pub(super) format: WeightFormat,
    pub(super) w: &'a Weights,
}

impl KeptWriter<'_> {
    /// `x·weight` (inner × columns), of which `tensor` is or is a part.
    pub(super) fn product(
        &self,
        b: &mut Builder,
        edge: &str,
        x: &str,
        tensor: &str,
        shape: [usize; 2],
        weight: &[f32],
    ) -> Result<Edge, LoadError> {
        let weight = self.packed(tensor, shape, weight, &[])?;
        let number = b.kept().products.len();
        b.kept().products.push(KeptProduct::new(weight));
        Ok(b.node(SORTIE, KEPT_PRODUCT, edge, &[x], &[Attr::Int(KEPT, number as i64)]))
    }

    fn packed(&self, tensor: &str, shape: [usize; 2], weight: &[f32], bias: &[f32]) -> Result<KeptWeight, LoadError> {
        KeptWeight::new(self.format, shape, weight, bias).map_err(|why| self.refused(tensor, &why))
    }

    fn refused(&self, tensor: &str, why: &PackError) -> LoadError {
        LoadError::unsupported(self.w.path_of(tensor), format!("{tensor} in {}: {why}", self.format))
    }

    /// A product with its bias.
    fn linear(&self, product: &Linear) -> Result<KeptWeight, LoadError> {
        let (weight, bias) = (matrix(self.w, product)?, vector(self.w, product)?);
        self.packed(&product.weight.name, [product.from, product.to()], &weight.data, &bias)
    }

    /// All of a layer behind its attention as one node, where it can be one. `next` norms the stream behind it.
    pub(super) fn layer_rest(
        &self,
        b: &mut Builder,
        e: &Encoder,
        (layer, edge): (&Layer, &str),
        next: Option<&Norm>,
        attended: &str,
        sum: &str,
    ) -> Result<Option<ResidualStream>, LoadError> {
        let (widening, down) = match &layer.feed_forward {
            FeedForward::Plain { up, act, down } => (Widening::Plain { up: self.linear(up)?, act: kind(*act) }, down),
            FeedForward::Gated { gate, up, act, down } => {
                (Widening::Gated { gate: self.linear(gate)?, up: self.linear(up)?, act: kind(*act) }, down)
            }
            FeedForward::Experts(_) => return Ok(None),
        };
        let norm = |norm: &Norm| row_norm(self.w, norm, e.hidden);
        let norms = match &layer.norms {
            Norms::Post { attention, feed_forward } => {
                LayerNorms::Post { attention: norm(attention)?, feed_forward: norm(feed_forward)? }
            }
            Norms::Pre { feed_forward, given, .. } => {
                let given = match given {
                    Some(given) => Some(Box::new([norm(&given.attention)?, norm(&given.feed_forward)?])),
                    None => None,
                };
                let next = next.map(norm).transpose()?.map(Box::new);
                LayerNorms::Pre { given, feed_forward: Box::new(norm(feed_forward)?), next }
            }
        };
        let out = &layer.attention.out;
        let rest = LayerRest::new(self.linear(out)?, widening, self.linear(down)?, norms);
        let rest = rest.map_err(|why| self.refused(&out.weight.name, &why))?;
        let (number, gives_sum) = (b.kept().layers.len(), rest.gives_sum());
        b.kept().layers.push(rest);
        let (read, added) = (format!("{edge}_read"), format!("{edge}_added"));
        let outputs = if gives_sum { vec![read.as_str(), added.as_str()] } else { vec![read.as_str()] };
        b.nodes(SORTIE, LAYER_REST, &outputs, &[attended, sum], &[Attr::Int(KEPT, number as i64)]);
        let sum = if gives_sum { added } else { read.clone() };
        Ok(Some(ResidualStream { sum, read }))
    }
}

fn row_norm(w: &Weights, norm: &Norm, width: usize) -> Result<RowNorm, LoadError> {
    let mut weight = w.get(&norm.weight, &[width])?.data;
    if norm.kind == NormKind::RmsOnePlus {
        weight.iter_mut().for_each(|x| *x += 1.0);
    }
    let bias = norm.bias.as_ref().map(|name| w.get(name, &[width])).transpose()?.map_or_else(Vec::new, |m| m.data);
    Ok(RowNorm { weight, bias, is_centred: norm.kind == NormKind::Layer, eps: norm.eps })
}

fn kind(act: Pointwise) -> Act {
    match act {
        Pointwise::Gelu => Act::Gelu,
        Pointwise::GeluTanh => Act::GeluTanh,
        Pointwise::Relu => Act::Relu,
        Pointwise::Silu => Act::Silu,
        Pointwise::Tanh => Act::Tanh,
    }
}
