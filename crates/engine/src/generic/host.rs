//! The host's side of an ONNX export: items to padded tensors, outputs to answers.

use super::{
    answers::RunOutput,
    batches::plan,
    device_pooling::{DevicePooled, DevicePoolingPlan},
    model::GenericModel,
    tensors::{Filled, RunShape},
};
use crate::{
    device::Device,
    item::{ItemFault, Output, WorkItem},
};

type ItemResult = Result<Output, ItemFault>;

/// On a GPU lengths are rounded up to a multiple of this: fewer shapes to choose
/// kernels for and to hold memory for, and rows that its matrix units divide evenly.
const GPU_LENGTH_STEP: usize = 16;

/// One run, laid out.
#[derive(Debug)]
pub(crate) struct GenericRun {
    /// Places of its items in the batch.
    places: Vec<usize>,
    pub(super) shape: RunShape,
    pub(super) inputs: Vec<Filled>,
    /// DevicePoolingOp its states are pooled on the device; `None` where they come back whole.
    pub(super) pooled: Option<DevicePooled>,
}

/// A batch, laid out.
#[derive(Debug)]
pub(crate) struct GenericBatch {
    faults: Vec<Option<ItemFault>>,
    runs: Vec<GenericRun>,
}

impl GenericBatch {
    /// Tokens that the device is given, padding included.
    pub(crate) fn tokens(&self) -> usize {
        self.runs.iter().map(|run| run.shape.rows * run.shape.length).sum()
    }
}

/// What the device gave for a batch.
#[derive(Debug)]
pub(crate) struct GenericRaw {
    faults: Vec<Option<ItemFault>>,
    runs: Vec<(Vec<usize>, RunShape, RunOutput)>,
}

impl GenericRaw {
    /// Nothing yet; the runs of `batch` come apart.
    pub(super) fn of(batch: GenericBatch) -> (Self, Vec<GenericRun>) {
        (Self { faults: batch.faults, runs: Vec::with_capacity(batch.runs.len()) }, batch.runs)
    }

    /// Adds what one run gave.
    pub(super) fn put(&mut self, run: GenericRun, read: RunOutput) {
        self.runs.push((run.places, run.shape, read));
    }
}

/// What the host knows of a loaded export.
#[derive(Debug)]
pub(crate) struct GenericHost {
    model: GenericModel,
    /// Lengths are rounded up to a multiple of this.
    length_step: usize,
    /// What the device pools.
    pools: DevicePoolingPlan,
}

impl GenericHost {
    pub(super) fn new(model: GenericModel, device: Device, pools: DevicePoolingPlan) -> Self {
        let rounds = device != Device::Cpu && model.inputs.has_mask;
        Self { model, length_step: if rounds { GPU_LENGTH_STEP } else { 1 }, pools }
    }

    /// Name of the output that is read.
    pub(super) fn output(&self) -> &str {
        &self.model.output
    }

    /// Lays a batch out.
    pub(crate) fn prepare(&self, items: &[&WorkItem]) -> GenericBatch {
        let faults: Vec<_> = items.iter().map(|i| self.model.check(i).err()).collect();
        let ready: Vec<usize> = (0..items.len()).filter(|&i| faults[i].is_none()).collect();
        let lengths: Vec<usize> =
            ready.iter().map(|&i| self.model.inputs.length.unwrap_or(items[i].sequence.len())).collect();
        let lay_out = |batch: super::batches::PaddedBatch| {
            let places: Vec<usize> = batch.items.iter().map(|&at| ready[at]).collect();
            let sequences: Vec<_> = places.iter().map(|&p| &items[p].sequence).collect();
            let shape = self.model.shape_of(&sequences, self.length_step);
            let riders: Vec<&WorkItem> = places.iter().map(|&p| items[p]).collect();
            let pooled = self.pools.plan(&self.model.routes, &riders, shape);
            GenericRun { inputs: self.model.fill(&sequences, shape), places, shape, pooled }
        };
        GenericBatch { faults, runs: plan(&lengths, self.model.limits).into_iter().map(lay_out).collect() }
    }

    /// Turns what the device gave into one answer an item, in order.
    pub(crate) fn finish(&self, items: &[&WorkItem], raw: GenericRaw) -> Vec<ItemResult> {
        let missing = || Err(ItemFault::Run("the item was left out of every batch".to_owned()));
        let mut answers: Vec<ItemResult> = raw.faults.into_iter().map(|f| f.map_or_else(missing, Err)).collect();
        for (places, shape, read) in raw.runs {
            let batch: Vec<&WorkItem> = places.iter().filter_map(|&p| items.get(p).copied()).collect();
            for (&place, given) in places.iter().zip(read.answers(&self.model, &batch, shape)) {
                if let Some(answer) = answers.get_mut(place) {
                    *answer = given;
                }
            }
        }
        answers.resize_with(items.len(), missing);
        answers
    }
}
