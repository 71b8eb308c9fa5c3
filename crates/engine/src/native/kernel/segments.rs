//! Operators that reduce the tokens of each sequence, column by column: to the largest value, to the mean, or to the sum of
//! what SPLADE makes of each.

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};

use super::operator::{OutputRows, boundaries, guarded, input, two};
use crate::post::SparseTransform;

/// Name of the operator.
pub(crate) const SEGMENT_MAX: &str = "SegmentMax";

/// Name of the one that takes the mean.
pub(crate) const SEGMENT_MEAN: &str = "SegmentMean";
/// Name of the one that sums `ln(1 + max(0, x))`.
pub(crate) const SEGMENT_SUM: &str = "SegmentLogSum";
/// Its attribute: 1 takes `ln(1 + ·)` twice.
pub(crate) const TWICE: &str = "twice";

/// Columns that one task covers: 16 KiB of sums, half a first-level cache.
const MAX_COLUMNS: usize = 4096;

/// (tokens × columns) f32, cumulative (sequences + 1) i32 → (sequences × columns)
/// f32: the largest value of each column among a sequence's tokens; NaN if any is.
pub(super) struct SegmentMax;

impl Operator for SegmentMax {
    type Kernel<'attr> = SegmentMaxKernel;

    fn name(&self) -> &str {
        SEGMENT_MAX
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Int32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(SegmentMaxKernel)
    }
}

pub(super) struct SegmentMaxKernel;

impl Kernel for SegmentMaxKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        reduce(context, f32::NEG_INFINITY, |m, x| if x > m || x.is_nan() { x } else { m }, |m, _| m)
    }
}

/// (tokens × columns) f32, cumulative (sequences + 1) i32 → (sequences × columns) f32: the mean over a sequence's tokens.
pub(super) struct SegmentMean;

impl Operator for SegmentMean {
    type Kernel<'attr> = SegmentMeanKernel;

    fn name(&self) -> &str {
        SEGMENT_MEAN
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Int32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(SegmentMeanKernel)
    }
}

pub(super) struct SegmentMeanKernel;

impl Kernel for SegmentMeanKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        reduce(context, 0.0, |sum, x| sum + x, |sum, tokens| sum / tokens as f32)
    }
}

/// (tokens × columns) f32, cumulative (sequences + 1) i32 → (sequences × columns) f32: the sum over a sequence's tokens
/// of the transformed values; NaN if any is.
pub(super) struct SegmentSum;

impl Operator for SegmentSum {
    type Kernel<'attr> = SegmentSumKernel;

    fn name(&self) -> &str {
        SEGMENT_SUM
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Int32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let twice: i64 = context.get(TWICE).ok_or_else(|| Error::new("SegmentLogSum has no attribute twice"))?;
        Ok(SegmentSumKernel(if twice == 1 { SparseTransform::LogLog } else { SparseTransform::Log }))
    }
}

pub(super) struct SegmentSumKernel(SparseTransform);

impl Kernel for SegmentSumKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let transform = self.0;
        reduce(context, 0.0, |sum, x| sum + transform.of(x), |sum, _| sum)
    }
}

/// Folds each column of each sequence from `start` by `step`, and makes its answer of that and of the number of tokens.
fn reduce(
    context: &ComputeContext,
    start: f32,
    step: impl Fn(f32, f32) -> f32 + Send + Sync,
    end: impl Fn(f32, usize) -> f32 + Send + Sync,
) -> Result<()> {
    let (rows, cumulative) = (input(context, 0)?, input(context, 1)?);
    let (shape, rows) = rows.try_extract_tensor::<f32>()?;
    let (_, cumulative) = cumulative.try_extract_tensor::<i32>()?;
    let [tokens, columns] = two(shape)?;
    let bounds = boundaries(cumulative, tokens)?;
    let sequences = bounds.len() - 1;
    let mut out = context.output(0, [sequences, columns])?.ok_or_else(|| Error::new("no output"))?;
    let (_, out) = out.try_extract_tensor_mut::<f32>()?;
    let out = OutputRows { at: out.as_mut_ptr(), len: out.len() };
    let blocks = columns.div_ceil(MAX_COLUMNS);
    guarded(context, sequences * blocks, |task| {
        let (sequence, block) = (task / blocks, task % blocks);
        let c0 = block * MAX_COLUMNS;
        let width = MAX_COLUMNS.min(columns - c0);
        let mut reduced = vec![start; width];
        for t in bounds[sequence]..bounds[sequence + 1] {
            for (r, &x) in reduced.iter_mut().zip(&rows[t * columns + c0..][..width]) {
                *r = step(*r, x);
            }
        }
        let tokens = bounds[sequence + 1] - bounds[sequence];
        reduced.iter_mut().for_each(|r| *r = end(*r, tokens));
        // SAFETY: each task writes the columns of its own block of its own sequence, and no other's.
        #[expect(unsafe_code, reason = "tasks write disjoint parts of one tensor")]
        unsafe {
            out.write(sequence * columns + c0, &reduced);
        }
    })
}
