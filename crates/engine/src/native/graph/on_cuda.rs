//! What graphs for CUDA are written of where a GPU has our own kernels ([`kernel`](super::super::kernel)).
//!
//! The stream of layers that norm what they read is in f32, and what parts give is added to it in f32: neither rounds, nor
//! overflows f16. What lies between the two products of a feed-forward part there is divided by [`INNER`] in f16, and the
//! second product multiplied by it: numbers of a loud model would overflow. Both are powers of two, so nothing else changes.

use super::{
    super::{
        family::{Norm, NormKind, Pointwise},
        kernel::{GATE, PRODUCT, WIDE_PRODUCT, add_norm, cuda_attribute as attribute, norm_code, norm_place},
    },
    encoder::ResidualStream,
    parts::norm_weights,
};
use crate::{
    error::LoadError,
    folder::weights::Weights,
    onnx::{Attr, Builder, Edge, Elem, SORTIE},
};

/// What the state between the products of a feed-forward part is divided by in f16: then numbers up to four millions fit, and
/// those too small for all of its bits (below 0.004) are rounded by 2e-6 at most.
pub(super) const INNER: f32 = 64.0;

/// `x·weight + bias`, in the format written now. `bias` may be empty.
pub(super) fn product(b: &mut Builder, edge: &str, x: &str, weight: &str, bias: &str) -> Edge {
    b.node(SORTIE, PRODUCT, edge, given(&[x, weight, bias]), &[])
}

/// `x·weightᵀ`.
pub(super) fn product_turned(b: &mut Builder, edge: &str, x: &str, weight: &str) -> Edge {
    b.node(SORTIE, PRODUCT, edge, &[x, weight], &[Attr::Int(attribute::TURNED, 1)])
}

/// `x·weightᵀ + bias`, bias and result in f32.
pub(super) fn wide_product_turned(b: &mut Builder, edge: &str, x: &str, weight: &str, bias: &str) -> Edge {
    b.node(SORTIE, wide(b.elem()), edge, &[x, weight, bias], &[Attr::Int(attribute::TURNED, 1)])
}

/// The operator that gives f32.
fn wide(elem: Elem) -> &'static str {
    if elem == Elem::F32 { PRODUCT } else { WIDE_PRODUCT }
}

/// A product whose bias and result are in f32.
pub(super) struct WideProduct {
    /// Rows and columns of the weight.
    pub(super) shape: [usize; 2],
    pub(super) weight: Vec<f32>,
    /// Empty where there is none.
    pub(super) bias: Vec<f32>,
    pub(super) factor: f32,
}

impl WideProduct {
    /// Writes it over `x`.
    pub(super) fn write(self, b: &mut Builder, edge: &str, x: &str) -> Edge {
        let columns = self.shape[1];
        let weight = b.weight(format!("{edge}_weight"), &self.shape, self.weight);
        let bias = match self.bias.is_empty() {
            true => Edge::new(),
            false => b.weight_in(Elem::F32, format!("{edge}_bias"), &[columns], self.bias),
        };
        let factor = (self.factor != 1.0).then_some(Attr::Float(attribute::FACTOR, self.factor));
        b.node(SORTIE, wide(b.elem()), edge, given(&[x, &weight, &bias]), factor.as_slice())
    }
}

/// `act(x)/scale`, or `act(gates)·rest/scale` where `x` has both halves.
pub(super) fn gate(b: &mut Builder, edge: &str, x: &str, act: Pointwise, gated: bool, scale: f32) -> Edge {
    let mut attributes = vec![Attr::Int(attribute::ACT, code(act))];
    attributes.extend(gated.then_some(Attr::Int(attribute::GATED, 1)));
    attributes.extend((scale != 1.0).then_some(Attr::Float(attribute::FACTOR, 1.0 / scale)));
    b.node(SORTIE, GATE, edge, &[x], &attributes)
}

/// As kernels number them.
pub(super) fn code(act: Pointwise) -> i64 {
    match act {
        Pointwise::Gelu => 0,
        Pointwise::GeluTanh => 1,
        Pointwise::Relu => 2,
        Pointwise::Silu => 3,
        Pointwise::Tanh => 4,
    }
}

/// What is added to the stream, and how both are normed.
pub(super) struct Addition<'a> {
    pub(super) w: &'a Weights,
    pub(super) width: usize,
    /// f32; `None`: nothing is added.
    pub(super) given: Option<&'a str>,
    pub(super) given_norm: Option<&'a Norm>,
    /// Over the sum, for the part that reads it.
    pub(super) next: Option<&'a Norm>,
}

impl Addition<'_> {
    /// Writes it over the stream `sum`, which is f32.
    pub(super) fn write(self, b: &mut Builder, part: &str, sum: &str) -> Result<ResidualStream, LoadError> {
        let mut inputs: [Edge; norm_place::ALL] = Default::default();
        self.given.unwrap_or_default().clone_into(&mut inputs[norm_place::GIVEN]);
        sum.clone_into(&mut inputs[norm_place::SUM]);
        let mut attributes = Vec::new();
        for (norm, gamma_at, beta_at, kind, eps) in [
            (
                self.given_norm,
                norm_place::GIVEN_GAMMA,
                norm_place::GIVEN_BETA,
                attribute::GIVEN_KIND,
                attribute::GIVEN_EPS,
            ),
            (self.next, norm_place::GAMMA, norm_place::BETA, attribute::KIND, attribute::EPS),
        ] {
            let Some(norm) = norm else { continue };
            let (gamma, beta) = b.in_format(Elem::F32, |b| norm_weights(b, self.w, norm, self.width))?;
            inputs[gamma_at] = gamma;
            inputs[beta_at] = beta.unwrap_or_default();
            attributes.push(Attr::Int(kind, norm_number(norm.kind)));
            attributes.push(Attr::Float(eps, norm.eps));
        }
        let (added, read) = (format!("{part}_added"), format!("{part}_read"));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        b.nodes(SORTIE, add_norm(b.elem()), &[&added, &read], given(&inputs), &attributes);
        Ok(ResidualStream { sum: added, read })
    }
}

fn norm_number(kind: NormKind) -> i64 {
    match kind {
        NormKind::Layer => norm_code::LAYER,
        NormKind::Rms | NormKind::RmsOnePlus => norm_code::RMS,
    }
}

/// Inputs without those that are left out at the end.
pub(super) fn given<'a, 'b>(inputs: &'b [&'a str]) -> &'b [&'a str] {
    let count = inputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
    &inputs[..count]
}
