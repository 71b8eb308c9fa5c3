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
        family::{Embedding, Encoder, FeedForward, Layer, Linear, Norm, NormKind, Norms, Pointwise},
        kernel::{BIAS_GELU, takes_product},
    },
    experts::experts,
    kept::KeptWriter,
    names::input,
    on_cuda::{self, Addition, INNER, WideProduct},
    parts::{activated, biased, linear, matrix, norm_weights, normed, stored, vector},
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
    /// The last token's of each.
    Last,
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
    let x = embeddings(b, e, w)?;
    b.input(input::CUMULATIVE, Elem::I32, &[Size::Named("sequences_and_one")]);
    let mut stream = match e.layers.first().map(|layer| &layer.norms) {
        Some(Norms::Pre { attention, .. }) if b.own().kernels => {
            let sum = b.node(ONNX, "Cast", "layer0/stream", &[&x], &[Attr::Int("to", Elem::F32 as i64)]);
            match attention {
                None => ResidualStream { sum, read: x },
                Some(norm) => {
                    let read = Addition { w, width: e.hidden, given: None, given_norm: None, next: Some(norm) };
                    read.write(b, "layer0/attention", &sum)?
                }
            }
        }
        Some(Norms::Pre { attention: Some(norm), .. }) => {
            let read = normed(b, w, "layer0/attention_read", norm, e.hidden, &x)?;
            ResidualStream { sum: x, read }
        }
        _ => ResidualStream { read: x.clone(), sum: x },
    };
    for (i, layer) in e.layers.iter().enumerate() {
        let next = e.layers.get(i + 1);
        let wanted = if next.is_some() { Wanted::All } else { wanted };
        let after = match next.map(|next| &next.norms) {
            Some(Norms::Pre { attention, .. }) => attention.as_ref(),
            Some(Norms::Post { .. }) => None,
            None => e.last_norm.as_ref(),
        };
        let writer = LayerWriter { e, w, i, layer, after, facts: facts.and_then(|f| f.layers.get(i)) };
        stream = writer.write(b, stream, wanted)?;
    }
    Ok(stream.read)
}

/// What runs through the layers.
pub(super) struct ResidualStream {
    /// The sum of all that was given so far; where sums are normed, what became of it.
    pub(super) sum: Edge,
    /// What the next part reads: the sum, normed where layers norm what they read.
    pub(super) read: Edge,
}

/// Name of the word embedding table; a masked-LM head multiplies by it again.
pub(crate) const WORDS: &str = "embeddings/words";

fn embeddings(b: &mut Builder, e: &Encoder, w: &Weights) -> Result<Edge, LoadError> {
    let Embedding { words, width, scale, positions, segments, norm, projection } = &e.embedding;
    let width = *width;
    let mut table = w.get(words, &[e.vocab, width])?;
    if let Some(scale) = scale {
        table.data.iter_mut().for_each(|x| *x *= scale);
    }
    let positions = positions.as_ref().map(|p| w.get(&p.name, &[p.rows, width])).transpose()?;
    let segments = segments.as_ref().map(|s| w.get(&s.name, &[s.rows, width])).transpose()?;

    let ids = b.input(input::IDS, Elem::I32, &[Size::Named("tokens")]);
    let places = match (positions, segments) {
        (Some(positions), Some(segments)) => Some(sums(&positions.data, &segments.data, width)),
        (Some(positions), None) => Some(positions.data),
        (None, Some(segments)) => Some(segments.data),
        (None, None) => None,
    };
    let at = places.is_some().then(|| b.input(input::PLACES, Elem::I32, &[Size::Named("tokens")]));
    let words = b.weight(WORDS, &table.shape, table.data);
    let x = b.node(ONNX, "Gather", "embeddings/word", &[&words, &ids], &[]);
    let x = match (places, at, norm) {
        (Some(places), Some(at), norm) => {
            let table = b.weight("embeddings/places", &[places.len() / width, width], places);
            let p = b.node(ONNX, "Gather", "embeddings/place", &[&table, &at], &[]);
            match norm {
                Some(norm) if norm.kind == NormKind::Layer && norm.bias.is_some() => {
                    let (gamma, beta) = norm_weights(b, w, norm, width)?;
                    let eps = Attr::Float("epsilon", norm.eps);
                    let inputs = [x.as_str(), &p, &gamma, beta.as_deref().unwrap_or_default()];
                    b.node(MICROSOFT, "SkipLayerNormalization", "embeddings/normed", &inputs, &[eps])
                }
                norm => {
                    let x = b.node(ONNX, "Add", "embeddings/sum", &[&x, &p], &[]);
                    norm.as_ref().map_or(Ok(x.clone()), |norm| normed(b, w, "embeddings/normed", norm, width, &x))?
                }
            }
        }
        (_, _, Some(norm)) => normed(b, w, "embeddings/normed", norm, width, &x)?,
        (_, _, None) => x,
    };
    match projection {
        Some(projection) => linear(b, w, "embeddings/projected", projection, &x),
        None => Ok(x),
    }
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

/// A layer that is being written.
struct LayerWriter<'a> {
    e: &'a Encoder,
    w: &'a Weights,
    i: usize,
    layer: &'a Layer,
    /// What norms the stream behind it, where layers norm what they read.
    after: Option<&'a Norm>,
    facts: Option<&'a LayerFacts>,
}

impl LayerWriter<'_> {
    fn at(&self, part: &str) -> String {
        format!("layer{}/{part}", self.i)
    }

    fn write(&self, b: &mut Builder, stream: ResidualStream, wanted: Wanted) -> Result<ResidualStream, LoadError> {
        let Self { e, w, layer, .. } = self;
        let rows = match wanted {
            Wanted::All => None,
            Wanted::First => Some(input::FIRST),
            Wanted::Last => Some(input::FINAL),
        };
        if let Some(format) = b.kept_format() {
            let (kept, edge) = (KeptWriter { format, w }, self.at("whole"));
            if let Some(stream) = kept.layer(b, e, (layer, &edge), self.after, &stream, rows)? {
                return Ok(stream);
            }
        }
        let mut attended = self_attention(b, e, w, self.i, &stream.read)?;
        let mut sum = stream.sum;
        if let Some(rows) = rows {
            let rows = b.input(rows, Elem::I32, &[Size::Named("sequences")]);
            attended = b.node(ONNX, "Gather", &self.at("attended_first"), &[&attended, &rows], &[]);
            sum = b.node(ONNX, "Gather", &self.at("first"), &[&sum, &rows], &[]);
        }
        if let Some(format) = b.kept_format() {
            let (kept, edge) = (KeptWriter { format, w }, self.at("rest"));
            if let Some(stream) = kept.layer_rest(b, e, (layer, &edge), self.after, &attended, &sum)? {
                return Ok(stream);
            }
        }
        let out = &layer.attention.out;
        let weight = matrix(w, out)?;
        let mut bias = vector(w, out)?;
        put_back(b, e, w, &layer.attention, &weight.data, &mut bias)?;
        let given = self.product(b, "attended_out", &attended, (out, weight.data), bias, 1.0)?;
        let stream = match &layer.norms {
            Norms::Post { attention, .. } => self.norm_sum(b, "attended_normed", given, sum, attention)?,
            Norms::Pre { feed_forward, given: norms, .. } => {
                let norm = norms.as_ref().map(|n| &n.attention);
                self.add(b, "attended", given, sum, norm, Some(feed_forward))?
            }
        };
        let (given, sum) = (self.feed_forward(b, &stream.read)?, stream.sum);
        match &layer.norms {
            Norms::Post { feed_forward, .. } => self.norm_sum(b, "normed", given, sum, feed_forward),
            Norms::Pre { given: norms, .. } => {
                let norm = norms.as_ref().map(|n| &n.feed_forward);
                self.add(b, "down", given, sum, norm, self.after)
            }
        }
    }

    /// `x·W`, and the bias that is to be added to it, where there is any.
    fn product(
        &self,
        b: &mut Builder,
        part: &str,
        x: &str,
        (product, weight): (&Linear, Vec<f32>),
        bias: Vec<f32>,
        factor: f32,
    ) -> Result<PartOutput, LoadError> {
        if self.is_wide(b) {
            let product = WideProduct { shape: [product.from, product.to()], weight, bias, factor };
            return Ok(PartOutput { x: product.write(b, &self.at(part), x), bias: None });
        }
        let shape = [product.from, product.to()];
        let x = match b.kept_format() {
            Some(format) => {
                let kept = KeptWriter { format, w: self.w };
                kept.product(b, &self.at(part), x, &product.weight.name, shape, &weight)?
            }
            None => {
                let weight = b.weight(self.at(&format!("{part}_weight")), &shape, weight);
                multiplied(b, &self.at(part), x, &weight)
            }
        };
        let bias = match bias.is_empty() {
            true => None,
            false => Some(b.weight(self.at(&format!("{part}_bias")), &[product.to()], bias)),
        };
        Ok(PartOutput { x, bias })
    }

    /// Whether the stream is f32, and so what is added to it.
    fn is_wide(&self, b: &Builder) -> bool {
        b.own().kernels && matches!(self.layer.norms, Norms::Pre { .. })
    }

    /// The norm of the sum, which is the stream from there on.
    fn norm_sum(
        &self,
        b: &mut Builder,
        part: &str,
        given: PartOutput,
        sum: Edge,
        norm: &Norm,
    ) -> Result<ResidualStream, LoadError> {
        let (gamma, beta) = norm_weights(b, self.w, norm, self.e.hidden)?;
        let eps = [Attr::Float("epsilon", norm.eps)];
        let beta = beta.unwrap_or_default();
        let bias = given.bias.unwrap_or_default();
        let mut inputs = vec![given.x.as_str(), &sum, &gamma, &beta, &bias];
        while inputs.last().is_some_and(|name| name.is_empty()) {
            inputs.pop();
        }
        let x = b.node(MICROSOFT, "SkipLayerNormalization", &self.at(part), &inputs, &eps);
        Ok(ResidualStream { sum: x.clone(), read: x })
    }

    /// The sum, and what `next` makes of it for the part behind. `norm` is over what is given.
    fn add(
        &self,
        b: &mut Builder,
        part: &str,
        given: PartOutput,
        sum: Edge,
        norm: Option<&Norm>,
        next: Option<&Norm>,
    ) -> Result<ResidualStream, LoadError> {
        if self.is_wide(b) {
            let addition = Addition { w: self.w, width: self.e.hidden, given: Some(&given.x), given_norm: norm, next };
            return addition.write(b, &self.at(part), &sum);
        }
        let PartOutput { mut x, mut bias } = given;
        if let Some(norm) = norm {
            if let Some(bias) = bias.take() {
                x = b.node(ONNX, "Add", &self.at(&format!("{part}_biased")), &[&x, &bias], &[]);
            }
            x = normed(b, self.w, &self.at(&format!("{part}_given")), norm, self.e.hidden, &x)?;
        }
        let (added, read) = (self.at(&format!("{part}_added")), self.at(&format!("{part}_read")));
        let Some(next) = next else {
            if let Some(bias) = bias {
                x = b.node(ONNX, "Add", &self.at(&format!("{part}_biased")), &[&x, &bias], &[]);
            }
            let sum = b.node(ONNX, "Add", &added, &[&x, &sum], &[]);
            return Ok(ResidualStream { read: sum.clone(), sum });
        };
        let (gamma, beta) = norm_weights(b, self.w, next, self.e.hidden)?;
        let eps = [Attr::Float("epsilon", next.eps)];
        let (beta, bias) = (beta.unwrap_or_default(), bias.unwrap_or_default());
        let (operator, mut inputs) = match next.kind {
            NormKind::Layer => ("SkipLayerNormalization", vec![x.as_str(), &sum, &gamma, &beta, &bias]),
            NormKind::Rms | NormKind::RmsOnePlus => {
                ("SkipSimplifiedLayerNormalization", vec![x.as_str(), &sum, &gamma, &bias])
            }
        };
        while inputs.last().is_some_and(|name| name.is_empty()) {
            inputs.pop();
        }
        b.nodes(MICROSOFT, operator, &[&read, "", "", &added], &inputs, &eps);
        Ok(ResidualStream { sum: added, read })
    }

    fn feed_forward(&self, b: &mut Builder, x: &str) -> Result<PartOutput, LoadError> {
        let w = self.w;
        // Only what is added to a stream of f32 may be loud.
        let scale = if self.is_wide(b) && b.elem() == Elem::F16 { INNER } else { 1.0 };
        let (inner, down, fused) = match &self.layer.feed_forward {
            FeedForward::Plain { up, act, down } => {
                let (inner, fused) = self.plain(b, x, up, *act, scale)?;
                (inner, down, fused)
            }
            FeedForward::Experts(parts) => {
                let bias = parts.bias.as_ref().map(|name| w.get(name, &[self.e.hidden])).transpose()?;
                let bias = bias.map(|bias| b.weight(self.at("experts_bias"), &bias.shape, bias.data));
                return Ok(PartOutput { x: experts(b, w, &self.at("experts"), parts, x)?, bias });
            }
            FeedForward::Gated { gate, up, act, down } if b.own().kernels => {
                (self.gated(b, x, [gate, up], *act, scale)?, down, false)
            }
            FeedForward::Gated { gate, up, act, down } => {
                let gate = self.halves(b, "gate", x, gate)?;
                let gate = activated(b, &self.at("gate_activated"), *act, &gate);
                let up = self.halves(b, "up", x, up)?;
                (b.node(ONNX, "Mul", &self.at("gated"), &[&gate, &up], &[]), down, false)
            }
        };
        let weight = matrix(w, down)?;
        let mut bias = vector(w, down)?;
        if let Some(facts) = self.facts.filter(|_| fused) {
            facts.put_back(&weight.data, &mut bias);
        }
        self.product(b, "down", &inner, (down, weight.data), bias, scale)
    }

    /// What a gated part has between its products, both halves of the first made by one.
    fn gated(
        &self,
        b: &mut Builder,
        x: &str,
        halves: [&Linear; 2],
        act: Pointwise,
        scale: f32,
    ) -> Result<Edge, LoadError> {
        let (mut rows, mut bias) = (Matrix { shape: vec![0, halves[0].from], data: Vec::new() }, Vec::new());
        for half in halves {
            rows.data.extend(stored(self.w, half)?.data);
            rows.shape[0] += half.to();
            if half.bias.is_some() {
                bias.resize(rows.shape[0] - half.to(), 0.0);
                bias.extend(vector(self.w, half)?);
            }
        }
        let (columns, weight) = (rows.shape[0], rows.transposed());
        let weight = b.weight(self.at("gates_weight"), &weight.shape, weight.data);
        if !bias.is_empty() {
            bias.resize(columns, 0.0);
        }
        let bias = if bias.is_empty() { Edge::new() } else { b.weight(self.at("gates_bias"), &[columns], bias) };
        let gates = on_cuda::product(b, &self.at("gates"), x, &weight, &bias);
        Ok(on_cuda::gate(b, &self.at("gated"), &gates, act, true, scale))
    }

    /// The activated first product, and whether one kernel did both.
    fn plain(
        &self,
        b: &mut Builder,
        x: &str,
        up: &Linear,
        act: Pointwise,
        scale: f32,
    ) -> Result<(Edge, bool), LoadError> {
        let mut weight = matrix(self.w, up)?;
        let bias = vector(self.w, up)?;
        if let Some(facts) = self.facts {
            facts.up.round(&mut weight.data, up.to());
        }
        let weight = b.weight(self.at("up_weight"), &weight.shape, weight.data);
        let has = matches!(act, Pointwise::Gelu | Pointwise::GeluTanh) && takes_product(up.from, up.to());
        let fuses = b.own().gelu && has && scale == 1.0 && !bias.is_empty();
        if b.own().kernels && !fuses {
            let bias = if bias.is_empty() { Edge::new() } else { b.weight(self.at("up_bias"), &[up.to()], bias) };
            let up = on_cuda::product(b, &self.at("up"), x, &weight, &bias);
            return Ok((on_cuda::gate(b, &self.at("up_activated"), &up, act, false, scale), false));
        }
        if bias.is_empty() {
            let up = b.node(ONNX, "MatMul", &self.at("up"), &[x, &weight], &[]);
            return Ok((activated(b, &self.at("up_activated"), act, &up), false));
        }
        let bias = b.weight(self.at("up_bias"), &[up.to()], bias);
        if fuses {
            return Ok((b.node(SORTIE, BIAS_GELU, &self.at("up_activated"), &[x, &weight, &bias], &[]), true));
        }
        let up = b.node(ONNX, "MatMul", &self.at("up"), &[x, &weight], &[]);
        Ok((biased(b, &self.at("up_activated"), act, &up, &bias), false))
    }

    /// One of the two products of a gated part.
    fn halves(&self, b: &mut Builder, part: &str, x: &str, product: &Linear) -> Result<Edge, LoadError> {
        let (weight, bias) = (matrix(self.w, product)?, vector(self.w, product)?);
        let given = self.product(b, part, x, (product, weight.data), bias, 1.0)?;
        Ok(match given.bias {
            Some(bias) => b.node(ONNX, "Add", &self.at(&format!("{part}_biased")), &[&given.x, &bias], &[]),
            None => given.x,
        })
    }
}

/// `x·weight`.
fn multiplied(b: &mut Builder, edge: &str, x: &str, weight: &str) -> Edge {
    if b.own().kernels {
        return on_cuda::product(b, edge, x, weight, "");
    }
    b.node(ONNX, "MatMul", edge, &[x, weight], &[])
}

/// What a part gives, before its bias.
struct PartOutput {
    x: Edge,
    bias: Option<Edge>,
}
