//! What a model's activations are like, so that rounding to f16 costs its answers least: what is known of them (here), the
//! run that finds it out ([`measure`]), and how a weight is rounded by it ([`rounding`]).

mod measure;
mod rounding;

pub(super) use measure::calibrate;

use self::rounding::RoundingPlan;

/// What is known of a model's activations.
#[derive(Debug, Default)]
pub(crate) struct Calibration {
    /// By layer.
    pub(crate) layers: Vec<LayerFacts>,
}

/// What is known of one layer's.
#[derive(Debug)]
pub(crate) struct LayerFacts {
    /// How its first feed-forward weight is rounded.
    pub(crate) up: RoundingPlan,
    /// Mean of exact GELU less its tanh form, by column of that product; empty where the model's is the tanh form.
    drift: Vec<f32>,
}

impl LayerFacts {
    /// Adds the mean drift through `weight` (inner × hidden) to the bias behind it.
    pub(crate) fn put_back(&self, weight: &[f32], bias: &mut [f32]) {
        add_through(&self.drift, weight, bias);
    }
}

/// `sum += x·weight`, weight of (from × to).
pub(crate) fn add_through(x: &[f32], weight: &[f32], sum: &mut [f32]) {
    for (x, row) in x.iter().zip(weight.chunks_exact(sum.len().max(1))) {
        sum.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
    }
}
