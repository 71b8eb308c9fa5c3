//! Writes products whose weights live in operators of ours, for the processor, in every format that is faster there than ONNX
//! Runtime's f32 ([`kernel::kept`](super::super::kernel)).
//!
//! A layer is one node where its attention is plain and in bf16; else what it does behind its attention is. Layers of experts have
//! no such node: their products before and behind the attention are nodes by themselves, and the experts stay in f32, as do
//! embeddings, heads and poolings.

use sortie_gemm::{
    Act, KeptProduct, KeptWeight, LayerNorms, LayerRest, PackError, RowNorm, Unit, WeightFormat, Widening,
};

use super::{
    super::{
        family::{Attention, Encoder, FeedForward, Layer, Linear, Norm, NormKind, Norms, Pointwise, Sight},
        kernel::{KEPT, KEPT_LAYER, KEPT_PRODUCT, LAYER_REST, attention_unit, layer_place},
    },
    encoder::ResidualStream,
    names::input,
    on_cuda,
    parts::{matrix, vector},
    self_attention::projection,
};
use crate::{
    error::LoadError,
    folder::weights::Weights,
    onnx::{Attr, Builder, Edge, Elem, KeptLayer, SORTIE, Size},
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

    /// Writes products that read what a norm or an activation gave. A few of those numbers are far larger than the rest, which a
    /// scale a token leaves few steps of int8 for: beside int8 they are in bf16, where one unit makes both.
    pub(super) fn of_norms(&self) -> Self {
        let is_one = Unit::of(WeightFormat::Int8) == Unit::of(WeightFormat::Bf16);
        let format = if self.format == WeightFormat::Int8 && is_one { WeightFormat::Bf16 } else { self.format };
        Self { format, w: self.w }
    }

    /// A product with its bias.
    fn linear(&self, product: &Linear) -> Result<KeptWeight, LoadError> {
        let (weight, bias) = (matrix(self.w, product)?, vector(self.w, product)?);
        self.packed(&product.weight.name, [product.from, product.to()], &weight.data, &bias)
    }

    /// What a layer does behind its attention, where it can be one; `next` norms the stream behind it.
    fn rest(&self, e: &Encoder, layer: &Layer, next: Option<&Norm>) -> Result<Option<LayerRest>, LoadError> {
        let of_norms = self.of_norms();
        let (widening, down) = match &layer.feed_forward {
            FeedForward::Plain { up, act, down } => {
                (Widening::Plain { up: of_norms.linear(up)?, act: kind(*act) }, down)
            }
            FeedForward::Gated { gate, up, act, down } => {
                (Widening::Gated { gate: of_norms.linear(gate)?, up: of_norms.linear(up)?, act: kind(*act) }, down)
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
        let rest = LayerRest::new(self.linear(out)?, widening, of_norms.linear(down)?, norms);
        rest.map(Some).map_err(|why| self.refused(&out.weight.name, &why))
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
        let Some(rest) = self.rest(e, layer, next)? else { return Ok(None) };
        let (number, gives_sum) = (b.kept().layers.len(), rest.gives_sum());
        b.kept().layers.push(rest);
        Ok(Some(node(b, LAYER_REST, edge, &[attended, sum], number, gives_sum)))
    }

    /// All of a layer as one node, where its attention is plain, in bf16, and faster so. `rows` are those that are wanted.
    pub(super) fn layer(
        &self,
        b: &mut Builder,
        e: &Encoder,
        (layer, edge): (&Layer, &str),
        next: Option<&Norm>,
        stream: &ResidualStream,
        rows: Option<&'static str>,
    ) -> Result<Option<ResidualStream>, LoadError> {
        let a = &layer.attention;
        let is_plain = a.sight == Sight::All && a.query_key_norm.is_none() && a.rope.is_none() && a.distances.is_none();
        // In these attention is in bf16.
        let is_narrow = matches!(self.format, WeightFormat::Bf16 | WeightFormat::Int8);
        if !is_narrow || !is_plain || attention_unit().is_none() {
            return Ok(None);
        }
        let Some(rest) = self.rest(e, layer, next)? else { return Ok(None) };
        let projection = KeptProduct::new(self.of_norms().projection(a)?);
        let gives_sum = rest.gives_sum();
        let whole = KeptLayer { projection, heads: a.heads, kv_heads: a.kv_heads, size: a.size, rest };
        let number = b.kept().wholes.len();
        b.kept().wholes.push(whole);
        let mut inputs: [Edge; layer_place::ALL] = Default::default();
        stream.read.clone_into(&mut inputs[layer_place::READ]);
        stream.sum.clone_into(&mut inputs[layer_place::STREAM]);
        input::CUMULATIVE.clone_into(&mut inputs[layer_place::CUMULATIVE]);
        if e.unseen {
            inputs[layer_place::KEYS] = b.input(input::KEYS, Elem::I32, &[Size::Named("sequences")]);
        }
        if let Some(rows) = rows {
            inputs[layer_place::ROWS] = b.input(rows, Elem::I32, &[Size::Named("sequences")]);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(Some(node(b, KEPT_LAYER, edge, on_cuda::given(&inputs), number, gives_sum)))
    }

    /// Queries, keys and values as [`KeptLayer`] has them.
    fn projection(&self, a: &Attention) -> Result<KeptWeight, LoadError> {
        let (plain, bias) = projection(self.w, a, true)?;
        let (size, each) = (a.size, a.heads / a.kv_heads);
        let (filled, parts) = (size.next_multiple_of(KeptLayer::STRIP), a.heads + 2 * a.kv_heads);
        let columns = parts * filled;
        let scaled = |from: &[f32], to: &mut [f32]| {
            for (part, (from, to)) in from.chunks_exact(size).zip(to.chunks_exact_mut(filled)).enumerate() {
                let factor = if part % (each + 2) < each { a.scale * std::f32::consts::LOG2_E } else { 1.0 };
                to.iter_mut().zip(from).for_each(|(to, x)| *to = x * factor);
            }
        };
        let (mut weight, mut biases) = (vec![0.0; a.query.from * columns], vec![0.0; columns]);
        scaled(&bias, &mut biases);
        for (from, to) in plain.data.chunks_exact(parts * size).zip(weight.chunks_exact_mut(columns)) {
            scaled(from, to);
        }
        self.packed(&a.query.weight.name, [a.query.from, columns], &weight, &biases)
    }
}

/// Writes a node that gives what is read next and, where that is another, the stream.
fn node(
    b: &mut Builder,
    operator: &'static str,
    edge: &str,
    inputs: &[&str],
    number: usize,
    gives_sum: bool,
) -> ResidualStream {
    let (read, added) = (format!("{edge}_read"), format!("{edge}_added"));
    let outputs = if gives_sum { vec![read.as_str(), added.as_str()] } else { vec![read.as_str()] };
    b.nodes(SORTIE, operator, &outputs, inputs, &[Attr::Int(KEPT, number as i64)]);
    ResidualStream { sum: if gives_sum { added } else { read.clone() }, read }
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
