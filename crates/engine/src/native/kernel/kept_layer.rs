//! A layer as one operator, where its attention is plain and in bf16: nothing of it but what the next layer reads is a tensor.
//!
//! ```text
//! x → queries, keys, values → heads → the rest        each part in a parallel loop: by rows, by sequences and heads, by rows
//!      bf16, in tiles         bf16, row by row
//! ```

use std::{ops::Range, sync::Arc};

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};
use parking_lot::Mutex;
use sortie_gemm::{Attended, HeadShape, LayerOutput, ProjectedHead, Unit, WeightFormat, attend_projected};

use super::{
    attention::HeadQueries,
    kept::{Holder, number, task_rows},
    operator::{OutputRows, boundaries, guarded, input, two},
    packed_attention::{seen, tasks},
};
use crate::onnx::KeptLayer;

/// Name of the operator.
pub(crate) const KEPT_LAYER: &str = "KeptLayer";

/// Places of its inputs; those from [`KEYS`](place::KEYS) on may be left out. Its outputs are those of
/// [`LAYER_REST`](super::LAYER_REST), for the wanted rows.
pub(crate) mod place {
    /// (tokens × hidden) f32: what queries, keys and values are made of.
    pub(crate) const READ: usize = 0;
    /// (tokens × hidden) f32: the stream.
    pub(crate) const STREAM: usize = 1;
    /// (sequences + 1) i32.
    pub(crate) const CUMULATIVE: usize = 2;
    /// (sequences) i32: how many tokens of each are seen.
    pub(crate) const KEYS: usize = 3;
    /// (rows) i32: the tokens whose results are wanted; all where it is missing.
    pub(crate) const ROWS: usize = 4;
    /// How many there are.
    pub(crate) const ALL: usize = 5;
}

/// The unit that makes attention in bf16 here, where it is faster than f32. Tests take whatever there is.
pub(crate) fn attention_unit() -> Option<Unit> {
    let unit = Unit::of(WeightFormat::Bf16);
    (cfg!(test) || unit.is_fast(WeightFormat::Bf16)).then_some(unit)
}

/// What a layer writes between its parts.
#[derive(Default)]
pub(super) struct LayerBuffers {
    projected: Vec<u16>,
    attended: Vec<u16>,
    /// Rows of the stream that are wanted.
    stream: Vec<f32>,
}

/// Bytes of a line of the cache, at which vectors are read without crossing two.
const LINE: usize = 64;

/// The first `count` numbers of a buffer that lie in whole lines.
fn lines(buffer: &mut Vec<u16>, count: usize) -> &mut [u16] {
    let spare = LINE / size_of::<u16>();
    if buffer.len() < count + spare {
        buffer.resize(count + spare, 0);
    }
    let first = buffer.as_ptr().align_offset(LINE).min(spare);
    &mut buffer[first..first + count]
}

pub(super) struct WholeLayer(pub(super) Holder);

impl Operator for WholeLayer {
    type Kernel<'attr> = WholeKernel;

    fn name(&self) -> &str {
        KEPT_LAYER
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        (0..place::ALL).map(|i| match i {
            place::READ | place::STREAM => OperatorInput::required(Float32),
            place::CUMULATIVE => OperatorInput::required(Int32),
            _ => OperatorInput::optional(Int32),
        })
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32), OperatorOutput::optional(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let unit = attention_unit().ok_or_else(|| Error::new("no unit makes attention in bf16 here"))?;
        Ok(WholeKernel { number: number(context, self.0.weights.wholes.len())?, holder: self.0.clone(), unit })
    }
}

pub(super) struct WholeKernel {
    holder: Holder,
    number: usize,
    unit: Unit,
}

impl Kernel for WholeKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let weights = Arc::clone(&self.holder.weights);
        let layer = &weights.wholes[self.number];
        let (read, stream, cumulative) =
            (input(context, place::READ)?, input(context, place::STREAM)?, input(context, place::CUMULATIVE)?);
        let (shape, read) = read.try_extract_tensor::<f32>()?;
        let (other, stream) = stream.try_extract_tensor::<f32>()?;
        let (_, cumulative) = cumulative.try_extract_tensor::<i32>()?;
        let ([tokens, width], hidden) = (two(shape)?, layer.rest.widths()[1]);
        if width != layer.projection.weight().shape()[0] || two(other)? != [tokens, hidden] {
            return Err(Error::new(format!("{KEPT_LAYER}: rows are not those of its weights")));
        }
        let bounds = boundaries(cumulative, tokens)?;
        let keys = match context.input(place::KEYS)? {
            Some(keys) => Some(seen(keys.try_extract_tensor::<i32>()?.1, &bounds)?),
            None => None,
        };
        let rows = match context.input(place::ROWS)? {
            Some(rows) => Some(wanted(rows.try_extract_tensor::<i32>()?.1, tokens)?),
            None => None,
        };
        let mut buffers = self.holder.buffers.lock().pop().unwrap_or_default();
        let LayerBuffers { projected, attended, stream: few } = &mut buffers;
        let projected = lines(projected, layer.projection.tiled(tokens));
        self.project(context, layer, read, projected)?;
        let count = rows.as_ref().map_or(tokens, Vec::len);
        let attended = lines(attended, count * layer.attended());
        let tasks = match &rows {
            Some(rows) => tasks_of(rows, &bounds, keys.as_deref(), layer.heads),
            None => tasks(&bounds, keys.as_deref(), layer.heads).into_iter().map(|task| (None, task)).collect(),
        };
        self.attend(context, layer, projected, &tasks, attended)?;
        let stream = match &rows {
            Some(rows) => {
                few.clear();
                rows.iter().for_each(|row| few.extend_from_slice(&stream[row * hidden..][..hidden]));
                few
            }
            None => stream,
        };
        self.finish(context, layer, attended, stream)?;
        self.holder.buffers.lock().push(buffers);
        Ok(())
    }
}

impl WholeKernel {
    /// Queries, keys and values of all rows.
    fn project(&self, context: &ComputeContext, layer: &KeptLayer, x: &[f32], to: &mut [u16]) -> Result<()> {
        let width = layer.projection.weight().shape()[0];
        let rows = x.len() / width;
        let each = task_rows(rows, self.holder.threads);
        let parts: Vec<_> = to.chunks_mut(layer.projection.tiled(each)).map(Mutex::new).collect();
        guarded(context, parts.len(), |task| {
            let (first, count) = (task * each, each.min(rows - task * each));
            layer.projection.run_tiled(&x[first * width..][..count * width], &mut parts[task].lock());
        })
    }

    /// What the heads give, each task into the rows of its queries, or into the one that it names.
    fn attend(
        &self,
        context: &ComputeContext,
        layer: &KeptLayer,
        tokens: &[u16],
        tasks: &[(Option<usize>, HeadQueries)],
        to: &mut [u16],
    ) -> Result<()> {
        let (size, width, strips) = (layer.size, layer.attended(), layer.strips());
        let to = OutputRows { at: to.as_mut_ptr(), len: to.len() };
        guarded(context, tasks.len(), |task| {
            let (row, task) = &tasks[task];
            let shape = HeadShape { size, queries: task.queries.len(), keys: task.keys };
            let head = ProjectedHead {
                tokens,
                strips,
                at: layer.strips_of(task.head),
                start: task.start,
                first: task.queries.start,
                shape,
            };
            let begin = row.unwrap_or(task.start + task.queries.start) * width + task.head * size;
            // SAFETY: each task writes the rows of its own queries and the columns of its own head, and no other's.
            #[expect(unsafe_code, reason = "tasks write disjoint parts of one buffer")]
            let mut write =
                |query: usize, at: usize, halves: &[u16]| unsafe { to.write(begin + query * width + at, halves) };
            attend_projected(self.unit, &head, &mut write);
        })
    }

    /// All that is left, into the outputs.
    fn finish(&self, context: &ComputeContext, layer: &KeptLayer, attended: &[u16], stream: &[f32]) -> Result<()> {
        let [from, hidden] = layer.rest.widths();
        let rows = stream.len() / hidden;
        let none = || Error::new("no output");
        let mut read = context.output(0, [rows, hidden])?.ok_or_else(none)?;
        let (_, read) = read.try_extract_tensor_mut::<f32>()?;
        let each = task_rows(rows, self.holder.threads);
        let mut sum = match layer.rest.gives_sum() {
            true => Some(context.output(1, [rows, hidden])?.ok_or_else(none)?),
            false => None,
        };
        let sums = match &mut sum {
            Some(sum) => sum.try_extract_tensor_mut::<f32>()?.1.chunks_mut(each * hidden).map(Some).collect(),
            None => Vec::new(),
        };
        let sums = sums.into_iter().chain(std::iter::repeat_with(|| None));
        let parts: Vec<_> = read.chunks_mut(each * hidden).zip(sums).map(Mutex::new).collect();
        guarded(context, parts.len(), |task| {
            let (first, count) = (task * each, each.min(rows - task * each));
            let (read, sum) = &mut *parts[task].lock();
            let attended = Attended::Halves(&attended[first * from..][..count * from]);
            let to = LayerOutput { read, sum: sum.as_deref_mut() };
            layer.rest.run(attended, &stream[first * hidden..][..count * hidden], to);
        })
    }
}

/// Checks that the wanted rows are some.
fn wanted(rows: &[i32], tokens: usize) -> Result<Vec<usize>> {
    let rows: Option<Vec<usize>> =
        rows.iter().map(|&row| usize::try_from(row).ok().filter(|&row| row < tokens)).collect();
    rows.ok_or_else(|| Error::new(format!("{KEPT_LAYER}: a wanted row is none of {tokens}")))
}

/// One task a wanted row and head, with the row's place among them.
fn tasks_of(
    rows: &[usize],
    bounds: &[usize],
    keys: Option<&[usize]>,
    heads: usize,
) -> Vec<(Option<usize>, HeadQueries)> {
    let task = |(place, &row): (usize, &usize)| {
        let sequence = bounds.partition_point(|&bound| bound <= row) - 1;
        let (start, end) = (bounds[sequence], bounds[sequence + 1]);
        let keys = keys.map_or(end - start, |keys| keys[sequence]);
        let queries: Range<usize> = row - start..row - start + 1;
        (0..heads).map(move |head| (Some(place), HeadQueries { start, queries: queries.clone(), keys, head }))
    };
    rows.iter().enumerate().flat_map(task).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_rows_ask_their_own_sequences() {
        let tasks = tasks_of(&[0, 6], &[0, 4, 4, 9], Some(&[3, 0, 5]), 2);
        let said: Vec<_> =
            tasks.iter().map(|(row, task)| (*row, task.start, task.queries.clone(), task.keys, task.head)).collect();
        let want =
            [(Some(0), 0, 0..1, 3, 0), (Some(0), 0, 0..1, 3, 1), (Some(1), 4, 2..3, 5, 0), (Some(1), 4, 2..3, 5, 1)];
        assert_eq!(said, want);
        assert!(wanted(&[0, 9], 9).is_err() && wanted(&[-1], 9).is_err());
    }

    #[test]
    fn buffers_begin_with_a_line() {
        let mut buffer = Vec::new();
        for count in [5, 700, 33] {
            let numbers = lines(&mut buffer, count);
            assert_eq!((numbers.len(), numbers.as_ptr().addr() % LINE), (count, 0));
        }
    }
}
