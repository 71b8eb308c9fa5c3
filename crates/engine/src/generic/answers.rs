//! The output tensor of one run to one answer an item. Only rows of real tokens
//! are read; what padding gave is never looked at.

use half::{bf16, f16};
use ort::value::{DynValue, TensorElementType};

use super::{model::GenericModel, tensors::RunShape};
use crate::{
    item::{EmbedSpec, ItemFault, Output, Want, WorkItem},
    post::all_finite,
};

/// A float tensor as f32, with its shape.
#[derive(Debug)]
pub(crate) struct RunOutput {
    dims: Vec<usize>,
    data: Vec<f32>,
    holds: Contents,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    /// What the graph gave: token states, or rows.
    Given,
    /// Rows that the device pooled from the graph's token states.
    DevicePooled,
    /// Nothing but the shape, which is not one to pool.
    Refused,
}

impl RunOutput {
    /// Copies a tensor out; f16 and bf16 are cast up.
    pub(super) fn of(value: &DynValue) -> ort::Result<Self> {
        let (shape, data) = match value.dtype().tensor_type() {
            Some(TensorElementType::Float16) => {
                let (shape, data) = value.try_extract_tensor::<f16>()?;
                (shape, data.iter().map(|x| x.to_f32()).collect())
            }
            Some(TensorElementType::Bfloat16) => {
                let (shape, data) = value.try_extract_tensor::<bf16>()?;
                (shape, data.iter().map(|x| x.to_f32()).collect())
            }
            _ => {
                let (shape, data) = value.try_extract_tensor::<f32>()?;
                (shape, data.to_vec())
            }
        };
        Ok(Self { dims: dims(shape), data, holds: Contents::Given })
    }

    /// The same, told to be rows that the device has pooled.
    pub(super) fn pooled(self) -> Self {
        Self { holds: Contents::DevicePooled, ..self }
    }

    /// Token states of a shape that cannot be pooled on the device: their items fail, as where such states are read.
    pub(super) fn refused(shape: &[i64]) -> Self {
        Self { dims: dims(shape), data: Vec::new(), holds: Contents::Refused }
    }

    /// The answer of each item, in order. The graph may have promised another shape than it gave.
    pub(super) fn answers(
        &self,
        model: &GenericModel,
        items: &[&WorkItem],
        run: RunShape,
    ) -> Vec<Result<Output, ItemFault>> {
        let per_token = match (self.holds, &self.dims[..]) {
            (Contents::DevicePooled, &[rows, 1, _]) if rows == run.rows => false,
            (Contents::Given, &([rows] | [rows, _])) if rows == run.rows => false,
            (Contents::Given, &[rows, length, _]) if rows == run.rows && length == run.length => true,
            _ => return self.misshapen(model, items, run),
        };
        let width = if let [_] = self.dims[..] { 1 } else { self.dims.last().copied().unwrap_or(0) };
        let stride = if per_token { width * run.length } else { width };
        items
            .iter()
            .enumerate()
            .map(|(row, item)| {
                let real = if per_token { width * item.sequence.len() } else { width };
                let values = self.data.get(row * stride..row * stride + real).unwrap_or(&[]);
                answer(model, item, values, width, per_token, self.holds == Contents::DevicePooled)
            })
            .collect()
    }

    fn misshapen(&self, model: &GenericModel, items: &[&WorkItem], run: RunShape) -> Vec<Result<Output, ItemFault>> {
        let fault = format!("output {:?} has the shape {:?} for {run:?}", model.output, self.dims);
        items.iter().map(|_| Err(ItemFault::Run(fault.clone()))).collect()
    }
}

fn dims(shape: &[i64]) -> Vec<usize> {
    shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect()
}

/// `values` is row-major: (real tokens × width) where `per_token`, else one row of `width`, which the device has
/// `pooled` or the graph itself.
fn answer(
    model: &GenericModel,
    item: &WorkItem,
    values: &[f32],
    width: usize,
    per_token: bool,
    pooled: bool,
) -> Result<Output, ItemFault> {
    let labels = model.task.labels().len();
    let sequence = &item.sequence;
    let route = model.routes.of(sequence.role).ok_or(ItemFault::WrongWant("texts of this role"))?;
    let chain = &route.chain;
    let misshapen = || Err(ItemFault::Run(format!("output {:?} gives {width} numbers a row", model.output)));
    let plain = EmbedSpec::default();
    match item.want {
        Want::Logits if route.scores && per_token => chain.vector(values, width, sequence, &plain).map(Output::Logits),
        Want::Logits if route.scores && pooled => {
            chain.vector_of_row(values.to_vec(), sequence, &plain).map(Output::Logits)
        }
        Want::Logits if per_token || width != labels => misshapen(),
        Want::TokenLogits if !per_token || width != labels => misshapen(),
        Want::Logits => all_finite(values).map(|()| Output::Logits(values.to_vec())),
        Want::TokenLogits => all_finite(values).map(|()| Output::TokenLogits(values.to_vec())),
        Want::Embedding(spec) if per_token => chain.vector(values, width, sequence, &spec).map(Output::Embedding),
        Want::Embedding(spec) if pooled => chain.vector_of_row(values.to_vec(), sequence, &spec).map(Output::Embedding),
        Want::Embedding(spec) if spec.pooling.is_some_and(|asked| Some(asked) != model.pooling) => {
            Err(ItemFault::WrongWant("another pooling than the one inside its graph"))
        }
        Want::Embedding(spec) => chain.end_of_row(values.to_vec(), sequence, &spec).map(Output::Embedding),
        Want::TokenEmbeddings if per_token => chain.tokens(values, width, sequence).map(Output::TokenEmbeddings),
        Want::TokenEmbeddings => misshapen(),
        Want::SpanScores => Err(ItemFault::WrongWant(item.want.name())),
        Want::Sparse if pooled => route.sparse.unwrap_or_default().of_largest(values).map(Output::Sparse),
        Want::Sparse if per_token => route.sparse.unwrap_or_default().of_tokens(values, width).map(Output::Sparse),
        Want::Sparse => route.sparse.unwrap_or_default().of_weights(values).map(Output::Sparse),
    }
}
