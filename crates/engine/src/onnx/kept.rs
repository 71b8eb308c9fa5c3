//! Weights that live in operators of ours, packed for a processor's matrix units, and not in the graph.

use sortie_gemm::{KeptProduct, LayerRest, WeightFormat};

/// What a graph's operators hold; nodes name theirs by number.
#[derive(Debug, Default)]
pub(crate) struct KeptWeights {
    /// `None`: all products are ONNX Runtime's, in f32.
    pub(crate) format: Option<WeightFormat>,
    /// Products by themselves.
    pub(crate) products: Vec<KeptProduct>,
    /// What layers do behind their attention.
    pub(crate) layers: Vec<LayerRest>,
}

impl KeptWeights {
    /// For products in `format`.
    pub(crate) fn new(format: Option<WeightFormat>) -> Self {
        Self { format, ..Self::default() }
    }
}
