//! Runs laid-out batches of a native model on its device.

use std::{collections::HashMap, fmt, sync::Arc};

use ort::{
    logging::LogLevel,
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::{HasSelectedOutputs, OutputSelector, RunOptions, Session},
    value::Tensor,
};

#[cfg(test)]
use super::buckets::Grid;
use super::{
    super::{
        NativeModel,
        graph::{
            Head,
            names::{OUTPUT, PICKED, POOLED},
        },
    },
    cuda_graphs::{CapturedGraphs, Graphs},
    host::{DeviceNumbers, Group, NativeBatch, NativeHost, NativeRaw, Outputs},
    inputs::HostTensor,
    session::{self, LoadedSession, NativeGraph},
};
use crate::{
    cuda::RunFault, device::Device, error::LoadError, onnx::Target, options::LoadOptions, runtime::session::run_eagerly,
};

/// Halves of the activations' bytes that are reserved: a half more than they are, for the gaps between them.
const RESERVED_HALVES: usize = 3;

/// A session over a graph of ours.
pub(crate) struct NativeExecutor {
    // Dropped first: it runs on the stream that `graphs` holds.
    session: Session,
    host: Arc<NativeHost>,
    /// By what is copied back.
    run_options: HashMap<Outputs, RunOptions<HasSelectedOutputs>>,
    graphs: Option<Graphs>,
    device: Device,
    /// Bytes that activations of one token take at most, at once.
    token_bytes: usize,
    /// Shared with sessions on other devices.
    _graph: Arc<NativeGraph>,
}

impl fmt::Debug for NativeExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RunOptions with selected outputs has no Debug.
        f.debug_struct("NativeExecutor").field("host", &self.host).finish_non_exhaustive()
    }
}

impl NativeExecutor {
    /// Writes the graph, hands the weights over and loads a session on `device`.
    pub(crate) fn new(model: &NativeModel, options: &LoadOptions, device: Device) -> Result<Self, LoadError> {
        if let Some(why) = options.precision_on(device).refused_on(device) {
            return Err(LoadError::unsupported(
                &model.folder,
                format!("precision {}: {why}", options.precision_on(device).name()),
            ));
        }
        let target = match device {
            Device::Cpu => Target::Cpu,
            Device::Cuda(_) => Target::Cuda(options.precision_on(device)),
        };
        let mut options = options.clone();
        // The rows of such a graph are no function of a batch's shape, so none of it could be captured (see `session::load`).
        options.cuda.graphs &= !matches!(model.head, Head::Vocabulary { .. });
        match Self::load(model, &options, device, target) {
            // The device is fine and the model may be: graphs are worth less than serving.
            Err(LoadError::Session { source, .. }) if device != Device::Cpu && options.cuda.graphs => {
                tracing::warn!(%device, error = %source, "no session with CUDA graphs; trying one without");
                options.cuda.graphs = false;
                Self::load(model, &options, device, target)
            }
            done => done,
        }
    }

    /// [`Self::new`] for a given target.
    pub(crate) fn load(
        model: &NativeModel,
        options: &LoadOptions,
        device: Device,
        target: Target,
    ) -> Result<Self, LoadError> {
        let LoadedSession { session, host, memory, graph } = session::load(model, options, device, target)?;
        let graphs = memory.map(|memory| Graphs::new(memory, options.cuda.pinned));
        let (elem, e) = (target.elem().bytes(), &model.encoder);
        // Widest in attention (states, projection twice, result; or states, gaps, three projections) or between the
        // feed-forward products; then the f32 output.
        let attention = 2 * e.hidden + 2 * e.projected();
        let token_bytes = elem * attention.max(2 * e.hidden + 2 * e.inner()) + size_of::<f32>() * e.hidden;
        Ok(Self {
            session,
            host: Arc::new(host),
            run_options: HashMap::new(),
            graphs,
            device,
            token_bytes,
            _graph: graph,
        })
    }

    /// Makes the device's arena as large as batches of up to `tokens` need, in one piece. Grown batch by batch it
    /// comes in pieces, each as large as one tensor once was, and more are added for long as sizes differ.
    pub(crate) fn reserve(&mut self, tokens: usize) -> ort::Result<()> {
        let Device::Cuda(number) = self.device else { return Ok(()) };
        let bytes = tokens.saturating_mul(self.token_bytes) / 2 * RESERVED_HALVES;
        let ordinal = i32::try_from(number).unwrap_or(i32::MAX);
        let info = MemoryInfo::new(AllocationDevice::CUDA, ordinal, AllocatorType::Device, MemoryType::Default)?;
        let allocator = Allocator::new(&self.session, info)?;
        // Given back at once: to the arena, which keeps it.
        Tensor::<u8>::new(&allocator, [i64::try_from(bytes).unwrap_or(i64::MAX)]).map(drop)
    }

    /// Captures the graphs of small batches. Slow; for warm-up.
    pub(crate) fn capture(&mut self) -> CapturedGraphs {
        let (Some(graphs), Some(grid)) = (&mut self.graphs, &self.host.grid) else { return CapturedGraphs::default() };
        graphs.capture(&mut self.session, &self.host, grid);
        graphs.facts()
    }

    /// Brings small batches to the shapes of `grid` and runs them by `graphs`.
    #[cfg(test)]
    pub(crate) fn use_graphs(&mut self, graphs: Graphs, grid: Option<Grid>) {
        self.graphs = Some(graphs);
        if let Some(host) = Arc::get_mut(&mut self.host) {
            host.grid = grid;
        }
    }

    /// The host's side.
    pub(crate) fn host(&self) -> Arc<NativeHost> {
        Arc::clone(&self.host)
    }

    /// The session.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Ends ONNX Runtime's profile and names its file.
    pub(crate) fn end_profile(&mut self) -> ort::Result<String> {
        self.session.end_profiling()
    }

    /// Runs a batch that [`NativeHost::prepare`] laid out.
    pub(crate) fn run(&mut self, batch: NativeBatch) -> Result<NativeRaw, RunFault> {
        let (mut raw, groups) = NativeRaw::of(batch);
        for mut group in groups {
            let numbers = self.run_group(&mut group)?;
            raw.put(group, numbers);
        }
        Ok(raw)
    }

    fn run_group(&mut self, group: &mut Group) -> Result<DeviceNumbers, RunFault> {
        if let Some(graphs) = &mut self.graphs
            && let Some(numbers) = graphs.run(&mut self.session, &self.host, group)?
        {
            return Ok(numbers);
        }
        let inputs = std::mem::take(&mut group.inputs);
        self.forward(inputs, group.outputs).map_err(|e| RunFault::of(e.to_string()))
    }

    fn forward(&mut self, inputs: Vec<HostTensor>, outputs: Outputs) -> ort::Result<DeviceNumbers> {
        let options = match self.run_options.entry(outputs) {
            std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::hash_map::Entry::Vacant(empty) => empty.insert(options_for(outputs, &self.graphs)?),
        };
        let inputs = inputs.into_iter().map(HostTensor::into_value).collect::<ort::Result<Vec<_>>>()?;
        let given = self.session.run_with_options(inputs, options)?;
        let read = |wanted: bool, name: &str| -> ort::Result<Vec<f32>> {
            if !wanted {
                return Ok(Vec::new());
            }
            Ok(given[name].try_extract_tensor::<f32>()?.1.to_vec())
        };
        Ok(DeviceNumbers {
            whole: read(outputs.whole, OUTPUT)?,
            picked: read(outputs.picked, PICKED)?,
            pooled: read(outputs.pooled, POOLED)?,
        })
    }
}

fn options_for(outputs: Outputs, graphs: &Option<Graphs>) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    let selector = outputs.names().fold(OutputSelector::no_default(), OutputSelector::with);
    let mut options = RunOptions::new()?.with_outputs(selector);
    // A failed run comes back as an error and is told from there; ONNX Runtime need not print it too.
    options.set_log_level(LogLevel::Fatal)?;
    if graphs.is_some() {
        run_eagerly(&mut options)?;
    }
    Ok(options)
}
