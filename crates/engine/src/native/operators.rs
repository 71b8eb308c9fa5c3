//! Operators of our own, registered with ONNX Runtime under the domain `sortie`.
//!
//! A body that unwinds into ONNX Runtime's threads would abort the process, so
//! every body runs in `catch_unwind`; a panic becomes an error of that run.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
};

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};

use super::{
    attention::{Head, attend},
    builder::SORTIE,
};

/// Name of the attention operator.
pub(crate) const ATTENTION: &str = "PackedAttention";
/// Its attribute: how many heads.
pub(crate) const NUM_HEADS: &str = "num_heads";
/// Name of the operator that takes the largest row value by sequence.
pub(crate) const SEGMENT_MAX: &str = "SegmentMax";

/// Columns that one task of [`SegmentMax`] covers: 16 KiB of sums, half a first-level cache.
const MAX_COLUMNS: usize = 4096;

/// The domain with all operators.
pub(crate) fn domain() -> Result<OperatorDomain> {
    let domain = OperatorDomain::new(SORTIE)?.add(PackedAttention)?.add(SegmentMax)?;
    #[cfg(test)]
    let domain = super::stand_in::add(domain)?;
    Ok(domain)
}

/// (tokens × heads·3·size) f32, bias (heads·3·size) f32, cumulative (sequences + 1)
/// i32 → (tokens × heads·size) f32. See [`super::attention`].
struct PackedAttention;

impl Operator for PackedAttention {
    type Kernel<'attr> = AttentionKernel;

    fn name(&self) -> &str {
        ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Float32), OperatorInput::required(Int32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let heads: i64 = context.get(NUM_HEADS).ok_or_else(|| Error::new("PackedAttention has no num_heads"))?;
        let heads =
            usize::try_from(heads).ok().filter(|&h| h > 0).ok_or_else(|| Error::new("num_heads is not above 0"))?;
        Ok(AttentionKernel { heads })
    }
}

struct AttentionKernel {
    heads: usize,
}

impl Kernel for AttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let heads = self.heads;
        let (qkv, bias, cumulative) = (input(context, 0)?, input(context, 1)?, input(context, 2)?);
        let (shape, qkv) = qkv.try_extract_tensor::<f32>()?;
        let (_, bias) = bias.try_extract_tensor::<f32>()?;
        let (_, cumulative) = cumulative.try_extract_tensor::<i32>()?;
        let [tokens, width] = two(shape)?;
        let size = width / (3 * heads);
        if size * 3 * heads != width || bias.len() != width {
            return Err(Error::new("PackedAttention: width is not heads x 3 x size"));
        }
        let bounds = boundaries(cumulative, tokens)?;
        let hidden = heads * size;
        let mut out = context.output(0, [tokens, hidden])?.ok_or_else(|| Error::new("PackedAttention: no output"))?;
        let (_, out) = out.try_extract_tensor_mut::<f32>()?;
        let out = Rows { at: out.as_mut_ptr(), len: out.len() };
        guarded(context, (bounds.len() - 1) * heads, |task| {
            let (sequence, head) = (task / heads, task % heads);
            let head =
                Head { start: bounds[sequence], len: bounds[sequence + 1] - bounds[sequence], head, heads, size };
            // SAFETY: each task writes the rows of its own sequence and the columns of its own head, and no other's.
            #[expect(unsafe_code, reason = "tasks write disjoint parts of one tensor")]
            attend(head, qkv, bias, &mut |token, numbers| unsafe {
                out.write(token * hidden + head.head * size, numbers);
            });
        })
    }
}

/// (tokens × columns) f32, cumulative (sequences + 1) i32 → (sequences × columns)
/// f32: the largest value of each column among a sequence's tokens; NaN if any is.
struct SegmentMax;

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

struct SegmentMaxKernel;

impl Kernel for SegmentMaxKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let (rows, cumulative) = (input(context, 0)?, input(context, 1)?);
        let (shape, rows) = rows.try_extract_tensor::<f32>()?;
        let (_, cumulative) = cumulative.try_extract_tensor::<i32>()?;
        let [tokens, columns] = two(shape)?;
        let bounds = boundaries(cumulative, tokens)?;
        let sequences = bounds.len() - 1;
        let mut out = context.output(0, [sequences, columns])?.ok_or_else(|| Error::new("SegmentMax: no output"))?;
        let (_, out) = out.try_extract_tensor_mut::<f32>()?;
        let out = Rows { at: out.as_mut_ptr(), len: out.len() };
        let blocks = columns.div_ceil(MAX_COLUMNS);
        guarded(context, sequences * blocks, |task| {
            let (sequence, block) = (task / blocks, task % blocks);
            let c0 = block * MAX_COLUMNS;
            let width = MAX_COLUMNS.min(columns - c0);
            let mut most = vec![f32::NEG_INFINITY; width];
            for t in bounds[sequence]..bounds[sequence + 1] {
                for (m, &x) in most.iter_mut().zip(&rows[t * columns + c0..][..width]) {
                    *m = if x > *m || x.is_nan() { x } else { *m };
                }
            }
            // SAFETY: each task writes the columns of its own block of its own sequence, and no other's.
            #[expect(unsafe_code, reason = "tasks write disjoint parts of one tensor")]
            unsafe {
                out.write(sequence * columns + c0, &most);
            }
        })
    }
}

/// An output tensor that several tasks fill, each its own part.
struct Rows {
    at: *mut f32,
    len: usize,
}

// SAFETY: tasks write disjoint parts (see `write`), and the tensor outlives the loop that runs them.
#[expect(unsafe_code, reason = "tasks on ONNX Runtime's threads share the output")]
unsafe impl Sync for Rows {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "tasks on ONNX Runtime's threads share the output")]
unsafe impl Send for Rows {}

impl Rows {
    /// Copies `numbers` to place `start`.
    ///
    /// # Safety
    /// No other task may write or read that part.
    #[expect(unsafe_code, reason = "see the contract")]
    unsafe fn write(&self, start: usize, numbers: &[f32]) {
        assert!(start <= self.len && numbers.len() <= self.len - start, "a write past the output");
        // SAFETY: within bounds by the line above; disjoint by the contract.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), self.at.add(start), numbers.len()) }
    }
}

pub(super) fn input(context: &ComputeContext, i: usize) -> Result<ort::value::ValueRef<'_>> {
    context.input(i)?.ok_or_else(|| Error::new(format!("input {i} is missing")))
}

fn two(shape: &[i64]) -> Result<[usize; 2]> {
    match shape {
        &[a, b] if a >= 0 && b > 0 => Ok([a as usize, b as usize]),
        other => Err(Error::new(format!("expected a matrix, got shape {other:?}"))),
    }
}

/// Checks that sequence boundaries rise from 0 to the number of tokens.
pub(super) fn boundaries(cumulative: &[i32], tokens: usize) -> Result<Vec<usize>> {
    let bounds: Option<Vec<usize>> = cumulative.iter().map(|&c| usize::try_from(c).ok()).collect();
    match bounds {
        Some(b) if b.first() == Some(&0) && b.last() == Some(&tokens) && b.windows(2).all(|w| w[0] <= w[1]) => Ok(b),
        _ => Err(Error::new(format!("sequence boundaries do not cover {tokens} tokens"))),
    }
}

/// Runs `tasks` on ONNX Runtime's threads; a panic in one becomes an error.
fn guarded(context: &ComputeContext, tasks: usize, body: impl Fn(usize) + Send + Sync) -> Result<()> {
    let panicked = AtomicBool::new(false);
    context.par_for(tasks, 0, |task| {
        if catch_unwind(AssertUnwindSafe(|| body(task))).is_err() {
            panicked.store(true, Ordering::Relaxed);
        }
    })?;
    if panicked.load(Ordering::Relaxed) { Err(Error::new("an operator panicked")) } else { Ok(()) }
}
