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
    /// Layers that are one node.
    pub(crate) wholes: Vec<KeptLayer>,
}

/// A layer whose attention is plain, as one operator has it.
#[derive(Debug)]
pub(crate) struct KeptLayer {
    /// Group by group the queries of the heads that share a key, that key, that value, each filled up to whole strips of 32
    /// columns. Queries are scaled as [`ProjectedHead`](sortie_gemm::ProjectedHead) has them.
    pub(crate) projection: KeptProduct,
    /// Heads of queries.
    pub(crate) heads: usize,
    /// Heads of keys and values.
    pub(crate) kv_heads: usize,
    /// Numbers in a head.
    pub(crate) size: usize,
    pub(crate) rest: LayerRest,
}

impl KeptLayer {
    /// Columns of a strip.
    pub(crate) const STRIP: usize = 32;

    /// Numbers of a token that attention gives.
    pub(crate) fn attended(&self) -> usize {
        self.heads * self.size
    }

    /// Strips of a token's queries, keys and values.
    pub(crate) fn strips(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.size.div_ceil(Self::STRIP)
    }

    /// Strips where a head's query, key and value begin.
    pub(crate) fn strips_of(&self, head: usize) -> [usize; 3] {
        let (each, deep) = (self.heads / self.kv_heads, self.size.div_ceil(Self::STRIP));
        let group = head / each * (each + 2);
        [group + head % each, group + each, group + each + 1].map(|part| part * deep)
    }
}

impl KeptWeights {
    /// For products in `format`.
    pub(crate) fn new(format: Option<WeightFormat>) -> Self {
        Self { format, ..Self::default() }
    }
}
