//! Runs of an export whose inputs and output are bound to the device.
//!
//! Inputs go up once, as they are bound; the output stays on the device where it is pooled there ([`super::device_pooling`]),
//! and what comes back is a row a sequence. Other outputs are never copied. States are pooled only where they have the
//! declared format and a state for each token of the run; else the items fail as they do where the host pools.

use ort::{
    logging::LogLevel,
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::{RunOptions, Session},
    value::DynValue,
};

use super::{
    answers::RunOutput,
    device_pooling::{DevicePoolers, DevicePoolingPlan},
    host::GenericRun,
    model::GenericModel,
    port::ElementType,
    tensors::RunShape,
};
use crate::{device::Device, error::LoadError, options::LoadOptions, runtime::session::refused};

/// What bound runs need beside the session.
pub(super) struct BoundRuns {
    device: MemoryInfo<'static>,
    host: MemoryInfo<'static>,
    options: RunOptions,
    poolers: DevicePoolers,
    /// Declared number format of the states.
    elem: ElementType,
}

impl BoundRuns {
    /// Loads what pools on `device`.
    pub(super) fn new(
        model: &GenericModel,
        pools: DevicePoolingPlan,
        options: &LoadOptions,
        device: Device,
    ) -> Result<Self, LoadError> {
        let bad = refused(&model.path);
        let memory = || place(device).and_then(|there| Ok((there, place(Device::Cpu)?, place(Device::Cpu)?)));
        let (there, host, pooled) = memory().map_err(&bad)?;
        let mut run_options = RunOptions::new().map_err(&bad)?;
        // A failed run comes back as an error and is logged where it is handled; ONNX Runtime need not print it too.
        run_options.set_log_level(LogLevel::Fatal).map_err(&bad)?;
        let poolers = DevicePoolers::new(model, pools, options, device, pooled)?;
        Ok(Self { device: there, host, options: run_options, poolers, elem: model.elem })
    }

    /// The sessions that pool.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.poolers.sessions()
    }

    /// Runs one padded batch; `output` is what is read.
    pub(super) fn run(&mut self, session: &mut Session, output: &str, run: &mut GenericRun) -> ort::Result<RunOutput> {
        let pooled = run.pooled.take();
        // Made anew: a binding keeps its tensors, and shapes hardly repeat.
        let mut binding = session.create_binding()?;
        for input in run.inputs.drain(..) {
            let (name, value) = input.into_value()?;
            binding.bind_input(name, &value)?;
        }
        binding.bind_output_to_device(output, if pooled.is_some() { &self.device } else { &self.host })?;
        let given = session.run_binding_with_options(&binding, &self.options)?;
        match pooled {
            Some(pooled) => {
                let states = &given[output];
                match misshapen(states, self.elem, run.shape)? {
                    Some(shape) => Ok(RunOutput::refused(shape)),
                    None => self.poolers.run(states, pooled, run.shape),
                }
            }
            None => RunOutput::of(&given[output]),
        }
    }
}

/// The shape of `states` where it is not (rows × length × any width) of the run.
///
/// # Errors
/// When their numbers are not of the format `elem`.
fn misshapen(states: &DynValue, elem: ElementType, run: RunShape) -> ort::Result<Option<&[i64]>> {
    let kind = states.dtype();
    if ElementType::of_ort(kind.tensor_type()) != elem {
        return Err(ort::Error::new(format!("the token states are {kind}, not {elem:?} as declared")));
    }
    let shape: &[i64] = kind.tensor_shape().map_or(&[], |shape| shape);
    let has = |size: i64, of: usize| usize::try_from(size) == Ok(of);
    let fits = matches!(shape, &[rows, length, _] if has(rows, run.rows) && has(length, run.length));
    Ok((!fits).then_some(shape))
}

/// A device's memory, as ONNX Runtime names it.
fn place(device: Device) -> ort::Result<MemoryInfo<'static>> {
    match device {
        Device::Cpu => MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default),
        Device::Cuda(number) => {
            let ordinal = i32::try_from(number).unwrap_or(i32::MAX);
            MemoryInfo::new(AllocationDevice::CUDA, ordinal, AllocatorType::Device, MemoryType::Default)
        }
    }
}
