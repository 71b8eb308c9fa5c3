//! Runs with tensors in the device's own memory.
//!
//! *Small batches* by CUDA graphs: one captured graph a bucket, replayed with new
//! numbers in the same memory. Launching a hundred kernels one by one costs more
//! than a small batch takes to compute.
//!
//! A graph is captured by running its bucket's shape a few times at warm-up; from then on
//! a run under its number replays it. Inputs and outputs are tensors that stay where
//! they are. What was not captured (no memory left for it, or it failed) runs eagerly,
//! brought to the bucket's shape all the same.
//!
//! *Any batch*, where it is asked for: inputs go up through page-locked memory on the
//! session's own stream, instead of by ONNX Runtime from pageable memory, one by one.

use std::collections::HashMap;

use ort::{
    logging::LogLevel,
    memory::Allocator,
    session::{IoBinding, RunOptions, Session},
    value::Tensor,
};

use super::{
    super::graph::{
        Head,
        names::{OUTPUT, PICKED, POOLED},
    },
    buckets::{Bucket, Grid},
    host::{DeviceNumbers, Group, NativeHost, Outputs},
    inputs::{self, HostTensor, Values},
    packing::PackedInputs,
};
use crate::{
    cuda::{self, DeviceBuffer, Memory, RunFault},
    runtime::session::GRAPH_ID,
};

/// Device memory that all captured graphs of a session may take together. Each needs
/// its kernels' parameters and its tensors, a few megabytes; activations are shared.
const MAX_GRAPH_BYTES: u64 = 1 << 30;

/// Runs of a bucket before it counts as captured: ONNX Runtime takes up to two to reserve
/// memory, then one that captures; the last replays. None may be left for later, when
/// other threads use the device and would spoil the capture.
const CAPTURE_RUNS: usize = 4;

/// What became of the grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapturedGraphs {
    /// Buckets that are captured.
    pub captured: usize,
    /// Buckets that are not: no memory left for them, or their capture failed.
    pub left_out: usize,
    /// Device memory they took, in bytes, where the device counts it.
    pub bytes: u64,
}

/// The captured graphs of a session, and its device's memory.
pub(crate) struct Graphs {
    // Dropped before the stream and the memory that they use.
    captured: HashMap<usize, CapturedShape>,
    memory: Memory,
    /// Whether batches without a graph are bound too.
    pinned: bool,
    facts: CapturedGraphs,
}

/// Tensors of one shape in the device's memory, bound to the session.
struct CapturedShape {
    binding: IoBinding,
    options: RunOptions,
    inputs: Vec<(&'static str, DeviceBuffer)>,
    outputs: Vec<(&'static str, DeviceBuffer)>,
}

impl Graphs {
    /// No graph yet, in `memory`. `pinned`: batches without a graph go through page-locked memory too.
    pub(crate) fn new(memory: Memory, pinned: bool) -> Self {
        Self { captured: HashMap::new(), memory, pinned, facts: CapturedGraphs::default() }
    }

    /// What became of the grid.
    pub(crate) fn facts(&self) -> CapturedGraphs {
        self.facts
    }

    /// Captures every bucket of the grid, smallest first, as far as memory goes.
    pub(crate) fn capture(&mut self, session: &mut Session, host: &NativeHost, grid: &Grid) {
        let before = self.memory.free();
        for (number, bucket) in grid.iter() {
            let used = before.zip(self.memory.free()).map_or(0, |(b, now)| b.saturating_sub(now));
            if used > MAX_GRAPH_BYTES {
                self.facts.left_out += 1;
                continue;
            }
            match self.capture_one(session, host, number, bucket) {
                Ok(()) => self.facts.captured += 1,
                Err(fault) => {
                    tracing::warn!(?bucket, error = %fault, "no CUDA graph for a bucket; it runs eagerly");
                    self.facts.left_out += 1;
                    self.captured.remove(&number);
                    if matches!(fault, RunFault::DeviceLost(_)) {
                        return;
                    }
                }
            }
        }
        self.facts.bytes = before.zip(self.memory.free()).map_or(0, |(b, now)| b.saturating_sub(now));
    }

    fn capture_one(
        &mut self,
        session: &mut Session,
        host: &NativeHost,
        number: usize,
        bucket: Bucket,
    ) -> Result<(), RunFault> {
        let _alone = cuda::capturing();
        let failed = |e: ort::Error| RunFault::of(e.to_string());
        let inputs = idle(host, bucket);
        let rows = RowCounts { tokens: bucket.tokens, sequences: bucket.sequences };
        let id = i64::try_from(number + 1).unwrap_or(EAGER);
        let captured =
            CapturedShape::new(session, host, &self.memory, id, rows, outputs(host), &inputs).map_err(failed)?;
        let captured = self.captured.entry(number).insert_entry(captured).into_mut();
        for _ in 0..CAPTURE_RUNS {
            captured.run(session, &mut self.memory, &inputs)?;
        }
        Ok(())
    }

    /// Runs a group by its bucket's graph, or bound where that is asked for; `None` where it is neither.
    pub(crate) fn run(
        &mut self,
        session: &mut Session,
        host: &NativeHost,
        group: &Group,
    ) -> Result<Option<DeviceNumbers>, RunFault> {
        let captured = group.bucket.and_then(|(number, _)| self.captured.get_mut(&number));
        if let Some(captured) = captured.filter(|c| c.gives(group.outputs)) {
            return captured.run(session, &mut self.memory, &group.inputs).map(Some);
        }
        if !self.pinned {
            return Ok(None);
        }
        let rows = RowCounts { tokens: group.tokens(), sequences: group.sequences() };
        let bound = CapturedShape::new(session, host, &self.memory, EAGER, rows, group.outputs, &group.inputs);
        let mut bound = bound.map_err(|e| RunFault::of(e.to_string()))?;
        bound.run(session, &mut self.memory, &group.inputs).map(Some)
    }
}

/// ONNX Runtime's number for a run without a graph.
const EAGER: i64 = -1;

/// Rows that outputs of each kind have.
#[derive(Clone, Copy)]
struct RowCounts {
    tokens: usize,
    sequences: usize,
}

/// Which outputs a graph computes for: rows of sequences where the head has them.
fn outputs(host: &NativeHost) -> Outputs {
    match host.head {
        Head::States if host.has.picked => Outputs { whole: false, ..host.has },
        _ => Outputs { whole: true, picked: false, pooled: false },
    }
}

/// Inputs of a bucket's shape that mean nothing.
fn idle(host: &NativeHost, bucket: Bucket) -> Vec<HostTensor> {
    let mut flat = PackedInputs::pack([], host.numbering);
    for i in 0..bucket.sequences {
        let more = usize::from(i < bucket.tokens % bucket.sequences);
        flat.fill(bucket.tokens / bucket.sequences + more, host.numbering);
    }
    inputs::tensors(flat, &host.inputs, bucket.longest, &[], inputs::Rows::Tokens)
}

impl CapturedShape {
    fn new(
        session: &Session,
        host: &NativeHost,
        memory: &Memory,
        id: i64,
        rows: RowCounts,
        wanted: Outputs,
        shapes: &[HostTensor],
    ) -> ort::Result<Self> {
        let allocator = memory.allocator(session)?;
        let mut binding = session.create_binding()?;
        let mut inputs = Vec::with_capacity(shapes.len());
        for input in shapes {
            let shape: Vec<i64> = input.shape.iter().map(|&d| d as i64).collect();
            let piece = match &input.values {
                Values::I32(_) => bind_input::<i32>(&mut binding, &allocator, input.name, &shape)?,
                Values::F32(_) => bind_input::<f32>(&mut binding, &allocator, input.name, &shape)?,
            };
            inputs.push((input.name, piece));
        }
        let mut given = Vec::new();
        for name in wanted.names() {
            let rows = if name == OUTPUT && host.head.is_per_token() { rows.tokens } else { rows.sequences };
            let mut tensor = Tensor::<f32>::new(&allocator, [rows as i64, host.width as i64])?;
            let piece = DeviceBuffer { address: tensor.data_ptr_mut(), bytes: rows * host.width * size_of::<f32>() };
            binding.bind_output(name, tensor)?;
            given.push((name, piece));
        }
        let mut options = RunOptions::new()?;
        options.set_log_level(LogLevel::Fatal)?;
        options.set(GRAPH_ID, id.to_string())?;
        Ok(Self { binding, options, inputs, outputs: given })
    }

    fn gives(&self, wanted: Outputs) -> bool {
        wanted.names().all(|name| self.outputs.iter().any(|(there, _)| *there == name))
    }

    fn run(
        &mut self,
        session: &mut Session,
        memory: &mut Memory,
        inputs: &[HostTensor],
    ) -> Result<DeviceNumbers, RunFault> {
        let failed = |e: &dyn std::fmt::Display| RunFault::of(e.to_string());
        let mut parts = Vec::with_capacity(inputs.len());
        for input in inputs {
            let piece = self.inputs.iter().find(|(name, _)| *name == input.name).map(|(_, piece)| *piece);
            let bytes = input.values.bytes();
            match piece {
                Some(piece) if piece.bytes == bytes.len() => parts.push((bytes, piece)),
                _ => return Err(RunFault::Failed(format!("input {} is not of its bucket's shape", input.name))),
            }
        }
        // SAFETY: the pieces are this session's own tensors, on its device, and it is not running.
        #[expect(unsafe_code, reason = "copies into device memory")]
        unsafe { memory.upload(&parts) }.map_err(|e| failed(&e))?;
        session.run_binding_with_options(&self.binding, &self.options).map_err(|e| failed(&e))?;
        let pieces: Vec<DeviceBuffer> = self.outputs.iter().map(|(_, piece)| *piece).collect();
        // SAFETY: as above; the run that wrote them went on this memory's stream.
        #[expect(unsafe_code, reason = "copies out of device memory")]
        let given = unsafe { memory.download(&pieces) }.map_err(|e| failed(&e))?;
        let mut numbers = DeviceNumbers::default();
        for ((name, _), given) in self.outputs.iter().zip(given) {
            match *name {
                OUTPUT => numbers.whole = given,
                PICKED => numbers.picked = given,
                POOLED => numbers.pooled = given,
                _ => {}
            }
        }
        Ok(numbers)
    }
}

fn bind_input<T: ort::value::PrimitiveTensorElementType + std::fmt::Debug + 'static>(
    binding: &mut IoBinding,
    allocator: &Allocator,
    name: &str,
    shape: &[i64],
) -> ort::Result<DeviceBuffer> {
    let mut tensor = Tensor::<T>::new(allocator, shape.to_vec())?;
    let numbers: usize = shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).product();
    let piece = DeviceBuffer { address: tensor.data_ptr_mut(), bytes: numbers * size_of::<T>() };
    // The binding keeps the tensor itself: both are on the session's device, and the tensor owns its memory.
    binding.bind_input(name, &tensor)?;
    Ok(piece)
}
