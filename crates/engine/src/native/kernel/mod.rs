//! Operators of ours, registered with ONNX Runtime under the domain `sortie`: attention and reductions for the processor,
//! products whose weights stay in them, products of cublasLt for CUDA, and stand-ins for the latter in tests.

mod attention;
mod bias_gelu;
mod gpu;
mod kept;
mod kept_layer;
mod lstm;
mod on_cuda;
mod operator;
mod packed_attention;
mod query_key_value;
mod reserve;
mod segments;
mod span_scores;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod stand_in_cuda;
#[cfg(test)]
mod stand_in_experts;
#[cfg(test)]
mod stand_in_product;

use std::sync::Arc;

use ort::{Result, operator::OperatorDomain};

pub(super) use self::{
    attention::WIDEST_PASS,
    bias_gelu::BIAS_GELU,
    gpu::takes as takes_product,
    kept::{KEPT, KEPT_PRODUCT, LAYER_REST},
    kept_layer::{KEPT_LAYER, attention_unit, place as layer_place},
    lstm::{LSTM_STEP, PACKED_LSTM},
    on_cuda::{
        DEVICE_ATTENTION, EXPERTS, FINISHED_HEADS, GATE, PRODUCT, ROUTED, WIDE_PRODUCT, add_norm,
        attribute as cuda_attribute, norm_code, norm_place,
    },
    operator::NUM_HEADS,
    packed_attention::{ATTENTION, attribute, place},
    query_key_value::{QUERY_KEY_VALUE, takes as takes_query_key_value},
    reserve::{GAPS, RESERVE},
    segments::{SEGMENT_MAX, SEGMENT_MEAN, SEGMENT_SUM, TWICE},
    span_scores::{LONGEST, SPAN_SCORES},
};
use self::{
    bias_gelu::BiasGelu,
    gpu::CUDA_PROVIDER,
    lstm::PackedLstm,
    packed_attention::PackedAttention,
    query_key_value::QueryKeyValue,
    reserve::Reserve,
    segments::{SegmentMax, SegmentMean, SegmentSum},
    span_scores::ScoreSpans,
};
use crate::{
    cuda::{Kernels, Products},
    onnx::{KeptWeights, SORTIE},
};

/// Name of ONNX Runtime's packed attention, which it has on CUDA alone.
pub(super) const PACKED_ATTENTION: &str = "PackedMultiHeadAttention";

/// The operators of a session on the processor, `threads` of which share their work. `weights` are those that live in them.
pub(super) fn cpu_domain(weights: &Arc<KeptWeights>, threads: usize) -> Result<OperatorDomain> {
    let domain = OperatorDomain::new(SORTIE)?
        .add(PackedAttention)?
        .add(SegmentMax)?
        .add(SegmentSum)?
        .add(SegmentMean)?
        .add(PackedLstm)?
        .add(ScoreSpans)?;
    let domain = kept::add(domain, &kept::Holder { weights: Arc::clone(weights), threads, buffers: Arc::default() })?;
    #[cfg(test)]
    let domain = stand_in::add(domain)?;
    Ok(domain)
}

/// The operators of a session on CUDA, running on `products` and, where they are loaded, on our own kernels.
pub(super) fn cuda_domain(products: Products, kernels: Option<Kernels>) -> Result<OperatorDomain> {
    let products = Arc::new(products);
    let domain = OperatorDomain::new(SORTIE)?
        .add(BiasGelu { products: Arc::clone(&products) })?
        .add(QueryKeyValue { products: Arc::clone(&products) })?
        .add(Reserve { provider: Some(CUDA_PROVIDER) })?;
    match kernels {
        Some(kernels) => on_cuda::add(domain, &Arc::new(on_cuda::OperatorGpu { products, kernels })),
        None => Ok(domain),
    }
}
