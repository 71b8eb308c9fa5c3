//! What every session's builder has set, by device.
//!
//! On CUDA: the device's memory arena grows by what is asked and no more, is capped (at
//! a share of what is free where no limit is set), and TF32 is off, so that f32 means f32. A CUDA session that
//! cannot be had is an error; nothing of a graph of ours may fall back to the CPU.

use std::path::Path;

use ort::{
    ep::{self, ArenaExtendStrategy, cuda::AttentionBackend},
    session::{RunOptions, Session, builder::SessionBuilder},
};

use super::arena::default_limit;
use crate::{
    cuda::{self, Cuda, Memory},
    device::Device,
    error::LoadError,
    options::LoadOptions,
};

/// Run option that names the CUDA graph to replay or capture; −1 runs kernel by kernel.
pub(crate) const GRAPH_ID: &str = "gpu_graph_id";

/// A session's builder with its device set, and what goes with it.
pub(crate) struct Ready {
    pub(crate) builder: SessionBuilder,
    /// Whether CUDA graphs may be captured.
    pub(crate) graphs: bool,
    /// CUDA and the device's number, where it is a GPU.
    pub(crate) gpu: Option<(Cuda, u32)>,
    /// The stream the session runs on and the way to its memory, where either is used.
    pub(crate) memory: Option<Memory>,
}

impl Ready {
    /// A builder for `device`. `ours` says that the graph was written here: then all of
    /// it must run on the device, and its small batches may be captured.
    pub(crate) fn new(options: &LoadOptions, device: Device, path: &Path, ours: bool) -> Result<Self, LoadError> {
        let runtime = options.runtime()?;
        let bad = refused(path);
        let mut builder = Session::builder(runtime.environment()).map_err(&bad)?;
        if let Some(prefix) = &options.profile {
            builder = builder.with_profiling(prefix).map_err(|e| bad(e.into()))?;
        }
        let Device::Cuda(number) = device else {
            return Ok(Self { builder, graphs: false, gpu: None, memory: None });
        };
        let lost = |source| LoadError::Device { device, source };
        let cuda = runtime.cuda().map_err(lost)?;
        let facts = cuda::device(&cuda, number).map_err(lost)?;
        let graphs = ours && options.cuda.graphs;
        let memory = if ours && (graphs || options.cuda.pinned) {
            Some(Memory::cuda(cuda.clone(), number).map_err(lost)?)
        } else {
            None
        };
        let share = || default_limit(facts.free, options.cuda.sessions_on(device));
        let limit = options.cuda.memory_limit.unwrap_or_else(share);
        let mut provider = ep::CUDA::default()
            .with_device_id(i32::try_from(number).unwrap_or(i32::MAX))
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .with_tf32(false)
            .with_memory_limit(usize::try_from(limit).unwrap_or(usize::MAX))
            .with_cuda_graph(graphs);
        if ours {
            provider = provider.with_attention_backend(attention(options.cuda.attention));
        }
        if let Some(memory) = &memory {
            // SAFETY: the stream lives in `memory`, which is dropped after the session that runs on it.
            #[expect(unsafe_code, reason = "the stream is a raw pointer to ONNX Runtime")]
            let on_stream = unsafe { provider.with_compute_stream(memory.stream()) };
            provider = on_stream;
        }
        let mut builder =
            builder.with_execution_providers([provider.build().error_on_failure()]).map_err(|e| bad(e.into()))?;
        if ours {
            builder = builder.with_disable_cpu_fallback().map_err(|e| bad(e.into()))?;
        }
        Ok(Self { builder, graphs, gpu: Some((cuda, number)), memory })
    }
}

/// ONNX Runtime's attention kernels, as the bits of its `sdpa_kernel` option.
fn attention(bits: u32) -> AttentionBackend {
    [
        AttentionBackend::FLASH_ATTENTION,
        AttentionBackend::EFFICIENT_ATTENTION,
        AttentionBackend::TRT_FUSED_ATTENTION,
        AttentionBackend::CUDNN_FLASH_ATTENTION,
        AttentionBackend::MATH,
        AttentionBackend::TRT_FLASH_ATTENTION,
    ]
    .into_iter()
    .enumerate()
    .filter(|(bit, _)| bits >> bit & 1 == 1)
    .fold(AttentionBackend::none(), |all, (_, one)| all | one)
}

/// An error of ONNX Runtime about the model at `path`.
pub(crate) fn refused(path: &Path) -> impl Fn(ort::Error) -> LoadError + '_ {
    move |source| LoadError::Session { path: path.to_owned(), source }
}

/// Makes runs under `options` go kernel by kernel in a session that captures graphs.
pub(crate) fn run_eagerly<T: ort::session::SelectedOutputMarker>(options: &mut RunOptions<T>) -> ort::Result<()> {
    options.set(GRAPH_ID, "-1")
}
