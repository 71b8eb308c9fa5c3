//! The operators whose weights stay in them, on a processor's matrix units (`sortie-gemm`):
//!
//! | operator | inputs | outputs |
//! | --- | --- | --- |
//! | [`KEPT_PRODUCT`] | x (rows × inner) | `x·W + b` (rows × columns) |
//! | [`LAYER_REST`] | what attention gave (rows × heads·size), the stream (rows × hidden) | what the next layer reads, and the stream where that is another (rows × hidden each) |
//!
//! Where attention is plain and in bf16, a layer is one node of another operator: [`super::kept_layer`].
//!
//! All f32. The attribute [`KEPT`] says which of the graph's weights a node has. Rows are shared among ONNX Runtime's own threads; how they
//! are shared changes no bit.

use std::sync::Arc;

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput},
    value::TensorElementType::Float32,
};
use parking_lot::Mutex;
use sortie_gemm::{Attended, LayerOutput};

use super::{
    kept_layer::{LayerBuffers, WholeLayer},
    operator::{OutputRows, guarded, input, two},
};
use crate::onnx::KeptWeights;

/// Name of the product.
pub(crate) const KEPT_PRODUCT: &str = "KeptProduct";
/// Name of a layer's part behind its attention.
pub(crate) const LAYER_REST: &str = "LayerRest";
/// Attribute: which of the graph's weights.
pub(crate) const KEPT: &str = "kept";

/// Most rows of a task: weights are read once for all of them.
const MOST_ROWS: usize = 128;
/// Rows are shared out by this many, which the widest unit takes at once.
const ROWS: usize = 32;

/// What the operators share.
#[derive(Clone)]
pub(super) struct Holder {
    pub(super) weights: Arc<KeptWeights>,
    /// Threads of the session.
    pub(super) threads: usize,
    /// What layers write between their parts, used by one after the other so that it stays in the caches.
    pub(super) buffers: Arc<Mutex<Vec<LayerBuffers>>>,
}

/// Adds all to a domain.
pub(super) fn add(domain: OperatorDomain, holder: &Holder) -> Result<OperatorDomain> {
    domain.add(ProductOfKept(holder.clone()))?.add(RestOfLayer(holder.clone()))?.add(WholeLayer(holder.clone()))
}

/// Rows of each task: as many tasks for each thread, none larger than [`MOST_ROWS`].
pub(super) fn task_rows(rows: usize, threads: usize) -> usize {
    let rounds = rows.div_ceil(MOST_ROWS * threads.max(1)).max(1);
    rows.div_ceil(rounds * threads.max(1)).next_multiple_of(ROWS).max(ROWS)
}

pub(super) fn number(context: &KernelContext<'_>, count: usize) -> Result<usize> {
    let number = context.get::<i64>(KEPT).and_then(|n| usize::try_from(n).ok()).filter(|&n| n < count);
    number.ok_or_else(|| Error::new("a node names no weight that its operator has"))
}

struct ProductOfKept(Holder);

impl Operator for ProductOfKept {
    type Kernel<'attr> = ProductKernel;

    fn name(&self) -> &str {
        KEPT_PRODUCT
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(ProductKernel { number: number(context, self.0.weights.products.len())?, holder: self.0.clone() })
    }
}

struct ProductKernel {
    holder: Holder,
    number: usize,
}

impl Kernel for ProductKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let product = &self.holder.weights.products[self.number];
        let [width, columns] = product.weight().shape();
        let x = input(context, 0)?;
        let (shape, x) = x.try_extract_tensor::<f32>()?;
        let rows = two(shape).map(|[rows, given]| (given == width).then_some(rows))?;
        let rows = rows.ok_or_else(|| Error::new(format!("{KEPT_PRODUCT}: rows are not {width} wide")))?;
        let mut to = context.output(0, [rows, columns])?.ok_or_else(|| Error::new("no output"))?;
        let (_, to) = to.try_extract_tensor_mut::<f32>()?;
        let to = OutputRows { at: to.as_mut_ptr(), len: to.len() };
        let each = task_rows(rows, self.holder.threads);
        guarded(context, rows.div_ceil(each), |task| {
            let (first, count) = (task * each, each.min(rows - task * each));
            // SAFETY: each task has rows of its own.
            #[expect(unsafe_code, reason = "tasks write disjoint rows of one tensor")]
            let to = unsafe { to.part(first * columns, count * columns) };
            product.run(&x[first * width..][..count * width], to);
        })
    }
}

struct RestOfLayer(Holder);

impl Operator for RestOfLayer {
    type Kernel<'attr> = RestKernel;

    fn name(&self) -> &str {
        LAYER_REST
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32), OperatorOutput::optional(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(RestKernel { number: number(context, self.0.weights.layers.len())?, holder: self.0.clone() })
    }
}

struct RestKernel {
    holder: Holder,
    number: usize,
}

impl Kernel for RestKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let layer = &self.holder.weights.layers[self.number];
        let [from, hidden] = layer.widths();
        let (attended, stream) = (input(context, 0)?, input(context, 1)?);
        let (given, attended) = attended.try_extract_tensor::<f32>()?;
        let (shape, stream) = stream.try_extract_tensor::<f32>()?;
        let [rows, width] = two(shape)?;
        if width != hidden || two(given)? != [rows, from] {
            return Err(Error::new(format!("{LAYER_REST}: rows are not {from} and {hidden} wide, as many of each")));
        }
        let none = || Error::new("no output");
        let mut read = context.output(0, [rows, hidden])?.ok_or_else(none)?;
        let mut sum = match layer.gives_sum() {
            true => Some(context.output(1, [rows, hidden])?.ok_or_else(none)?),
            false => None,
        };
        let (_, read) = read.try_extract_tensor_mut::<f32>()?;
        let read = OutputRows { at: read.as_mut_ptr(), len: read.len() };
        let sum = match &mut sum {
            Some(sum) => {
                let (_, sum) = sum.try_extract_tensor_mut::<f32>()?;
                Some(OutputRows { at: sum.as_mut_ptr(), len: sum.len() })
            }
            None => None,
        };
        let each = task_rows(rows, self.holder.threads);
        guarded(context, rows.div_ceil(each), |task| {
            let (first, count) = (task * each, each.min(rows - task * each));
            let (at, len) = (first * hidden, count * hidden);
            // SAFETY: each task has rows of its own.
            #[expect(unsafe_code, reason = "tasks write disjoint rows of two tensors")]
            let to =
                unsafe { LayerOutput { read: read.part(at, len), sum: sum.as_ref().map(|sum| sum.part(at, len)) } };
            layer.run(Attended::Numbers(&attended[first * from..][..count * from]), &stream[at..][..len], to);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_shared_evenly_among_threads() {
        // (rows, threads) → rows of a task
        for ((rows, threads), each) in [
            ((1, 2), 32),
            ((128, 2), 64),
            ((128, 16), 32),
            ((256, 2), 128),
            ((1_024, 2), 128),
            ((1_100, 2), 128),
            ((300, 2), 96),
            ((1_024, 1), 128),
        ] {
            assert_eq!(task_rows(rows, threads), each, "{rows} rows, {threads} threads");
        }
        assert!((1..5_000).all(|rows| task_rows(rows, 3) <= MOST_ROWS));
    }
}
