//! A session over an ONNX export, and the padded batches that go through it.

use std::{collections::HashMap, fmt, sync::Arc};

use ort::{
    logging::LogLevel,
    session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, builder::GraphOptimizationLevel},
};

use super::{
    answers::RunOutput,
    bound_runs::BoundRuns,
    device_pooling::DevicePoolingPlan,
    host::{GenericBatch, GenericHost, GenericRaw, GenericRun},
    model::GenericModel,
};
use crate::{cuda::RunFault, device::Device, error::LoadError, options::LoadOptions, runtime::session::Ready};

/// Runs one ONNX export.
pub(crate) struct GenericExecutor {
    host: Arc<GenericHost>,
    session: Session,
    /// Names the one output that is read, so that no other is copied out.
    only_output: RunOptions<HasSelectedOutputs>,
    /// Where runs are bound to the device.
    bound: Option<BoundRuns>,
}

impl fmt::Debug for GenericExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RunOptions with selected outputs has no Debug.
        f.debug_struct("GenericExecutor").field("host", &self.host).finish_non_exhaustive()
    }
}

impl GenericExecutor {
    /// Loads the export into a session of its own on `device`.
    ///
    /// # Errors
    /// When ONNX Runtime or the device cannot be had, or ONNX Runtime refuses the file.
    pub(crate) fn new(model: &GenericModel, options: &LoadOptions, device: Device) -> Result<Self, LoadError> {
        Self::load(model, options, device, device != Device::Cpu && options.cuda.bind)
    }

    /// [`Self::new`], with runs bound or not.
    pub(super) fn load(
        model: &GenericModel,
        options: &LoadOptions,
        device: Device,
        bind: bool,
    ) -> Result<Self, LoadError> {
        let ready = Ready::new(options, device, &model.path, false)?;
        let load = || -> ort::Result<_> {
            let mut builder = ready
                .builder
                .with_optimization_level(GraphOptimizationLevel::All)?
                // A pattern is kept for every shape ever seen, and shapes here hardly repeat.
                .with_memory_pattern(false)?;
            if let Some(threads) = options.threads {
                builder = builder.with_intra_threads(threads)?;
            }
            let session = builder.commit_from_file(&model.path)?;
            let mut only_output = RunOptions::new()?.with_outputs(OutputSelector::no_default().with(&model.output));
            // A failed run comes back as an error and is logged where it is handled; ONNX Runtime need not print it too.
            only_output.set_log_level(LogLevel::Fatal)?;
            Ok((session, only_output))
        };
        let (session, only_output) = load().map_err(LoadError::session(&model.path))?;
        let pools = if bind { DevicePoolingPlan::of(model) } else { DevicePoolingPlan::default() };
        let bound = bind.then(|| BoundRuns::new(model, pools, options, device)).transpose()?;
        let host = Arc::new(GenericHost::new(model.clone(), device, pools));
        Ok(Self { host, session, only_output, bound })
    }

    /// The host's side.
    pub(crate) fn host(&self) -> Arc<GenericHost> {
        Arc::clone(&self.host)
    }

    /// The session, and those that pool behind it.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(&self.session).chain(self.bound.iter().flat_map(BoundRuns::sessions))
    }

    /// Ends ONNX Runtime's profile and names its file.
    pub(crate) fn end_profile(&mut self) -> ort::Result<String> {
        self.session.end_profiling()
    }

    /// Runs a batch that [`GenericHost::prepare`] laid out.
    pub(crate) fn run(&mut self, batch: GenericBatch) -> Result<GenericRaw, RunFault> {
        let (mut raw, runs) = GenericRaw::of(batch);
        for mut run in runs {
            let read = self.run_once(&mut run).map_err(|e| RunFault::of(e.to_string()))?;
            raw.put(run, read);
        }
        Ok(raw)
    }

    fn run_once(&mut self, run: &mut GenericRun) -> ort::Result<RunOutput> {
        if let Some(bound) = &mut self.bound {
            return bound.run(&mut self.session, self.host.output(), run);
        }
        let values: HashMap<_, _> =
            run.inputs.drain(..).map(super::tensors::Filled::into_value).collect::<ort::Result<_>>()?;
        let outputs = self.session.run_with_options(values, &self.only_output)?;
        RunOutput::of(&outputs[self.host.output()])
    }
}
