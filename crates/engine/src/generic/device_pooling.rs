//! One row a sequence from padded token states, on the device, so that a run's states, a hundred megabytes of
//! them, never cross to the host. A small graph of standard operators in a session of its own, behind the export's.
//!
//! *Mean, first, last*: `share · states`, where `share[row, token]` is one over the length for a mean, one for the one token
//! that counts, else zero. *Largest*: `x ← max(first half, last half)` until one is left; the halves overlap where a
//! length is odd, and a repeat changes no maximum. Tokens that do not count are replaced before either, padding among them, so
//! that not even a NaN there matters: zero times infinity would be no number.
//! In f32 both. ONNX Runtime's own reductions would need cuDNN, which nothing else here does.

use std::path::Path;

use ort::{
    logging::LogLevel,
    memory::MemoryInfo,
    session::{RunOptions, Session},
    value::{DynValue, Tensor},
};

use super::{answers::RunOutput, model::GenericModel, port::ElementType, tensors::RunShape};
use crate::{
    device::{Device, Precision},
    error::LoadError,
    folder::Routes,
    item::{Want, WorkItem},
    native::{WrittenGraph, commit},
    onnx::{Attr, Builder, Elem, ONNX, Size, Target},
    options::{CudaOptions, LoadOptions},
    runtime::session::{Ready, refused},
    task::{Pooling, Task},
};

/// `TensorProto.DataType.BOOL`.
const BOOL: i64 = 9;

const STATES: &str = "states";
/// (rows × length × 1) i32: 1 on tokens that count: of a row's real ones all, or the one for first and last.
const REAL: &str = "real";
/// (rows × 1 × length) f32.
const SHARE: &str = "share";
const POOLED: &str = "pooled";

/// Which poolings a device does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DevicePoolingPlan {
    /// Mean, first and last token.
    pub(super) shares: bool,
    /// Largest.
    pub(super) largest: bool,
}

/// How the states of a run are pooled on the device, and what that takes beside them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DevicePooled {
    real: Vec<i32>,
    how: DevicePoolingOp,
}

#[derive(Clone, Debug, PartialEq)]
enum DevicePoolingOp {
    Shares(Vec<f32>),
    Largest,
}

impl DevicePoolingPlan {
    /// What pays for `model`: nothing where its graph pools, or gives labels.
    pub(super) fn of(model: &GenericModel) -> Self {
        let none = Self::default();
        match model.task {
            _ if !model.per_token => none,
            Task::Embedding => Self { shares: true, largest: model.pooling == Some(Pooling::Max) },
            Task::SparseEmbedding => Self {
                shares: false,
                largest: model.routes.all().iter().all(|route| !route.sparse.unwrap_or_default().sum),
            },
            _ => none,
        }
    }

    /// How a run of these items is pooled; `None` where its states come back whole.
    pub(super) fn plan(self, routes: &Routes, items: &[&WorkItem], shape: RunShape) -> Option<DevicePooled> {
        let pooling = |item: &WorkItem| match item.want {
            Want::Embedding(spec) => routes.of(item.sequence.role)?.chain.device_pooling(&spec, &item.sequence),
            _ => None,
        };
        let all = |fits: &dyn Fn(&WorkItem) -> bool| items.iter().all(|i| fits(i));
        let largest = |item: &WorkItem| item.want == Want::Sparse || pooling(item) == Some(Pooling::Max);
        let shares = |item: &WorkItem| matches!(pooling(item), Some(Pooling::Mean | Pooling::Cls | Pooling::Last));
        let last = items.last()?;
        let rows = || (0..shape.rows).map(|row| items.get(row).unwrap_or(last));
        if self.shares && all(&shares) {
            let mut share = vec![0.0; shape.rows * shape.length];
            for (item, row) in rows().zip(share.chunks_exact_mut(shape.length.max(1))) {
                let real = row.get_mut(..item.sequence.len())?;
                match pooling(item)? {
                    Pooling::Cls => *real.first_mut()? = 1.0,
                    Pooling::Last => *real.last_mut()? = 1.0,
                    #[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^24")]
                    _ => real.fill(1.0 / real.len() as f32),
                }
            }
            let real = share.iter().map(|&share| i32::from(share > 0.0)).collect();
            Some(DevicePooled { real, how: DevicePoolingOp::Shares(share) })
        } else if self.largest && all(&largest) {
            let real = rows().flat_map(|item| (0..shape.length).map(|t| i32::from(t < item.sequence.len()))).collect();
            Some(DevicePooled { real, how: DevicePoolingOp::Largest })
        } else {
            None
        }
    }
}

/// The sessions that pool.
pub(super) struct DevicePoolers {
    shares: Option<Session>,
    largest: Option<Session>,
    options: RunOptions,
    host: MemoryInfo<'static>,
    /// Halvings of the session that takes the largest.
    steps: usize,
}

impl DevicePoolers {
    /// Loads the sessions for `pools` on `device`.
    pub(super) fn new(
        model: &GenericModel,
        pools: DevicePoolingPlan,
        options: &LoadOptions,
        device: Device,
        host: MemoryInfo<'static>,
    ) -> Result<Self, LoadError> {
        let target = if device == Device::Cpu { Target::Cpu } else { Target::Cuda(Precision::F32) };
        let steps = steps(model.inputs.length.unwrap_or(model.longest()));
        let load =
            |write: &dyn Fn(&mut Builder, &str, &str)| session(model, target, options, device, &model.path, write);
        let shares = |b: &mut Builder, states: &str, real: &str| {
            let zero = b.weight("zero", &[1], vec![0.0]);
            let kept = b.node(ONNX, "Where", "kept", &[real, states, &zero], &[]);
            let share = b.input(SHARE, Elem::F32, &[Size::Named("rows"), Size::Of(1), Size::Named("length")]);
            b.node(ONNX, "MatMul", POOLED, &[&share, &kept], &[]);
        };
        let largest = |b: &mut Builder, states: &str, real: &str| {
            let least = b.weight("least", &[1], vec![f32::NEG_INFINITY]);
            let mut x = b.node(ONNX, "Where", "kept", &[real, states, &least], &[]);
            let (start, end, axis) =
                (b.integers("start", &[0]), b.integers("end", &[i64::MAX]), b.integers("axis", &[1]));
            for k in 0..steps {
                let half = b.input(&half(k), Elem::I64, &[Size::Of(1)]);
                let tail = b.input(&tail(k), Elem::I64, &[Size::Of(1)]);
                let first = b.node(ONNX, "Slice", &format!("first{k}"), &[&x, &start, &half, &axis], &[]);
                let last = b.node(ONNX, "Slice", &format!("last{k}"), &[&x, &tail, &end, &axis], &[]);
                x = b.node(ONNX, "Max", &format!("most{k}"), &[&first, &last], &[]);
            }
            b.node(ONNX, "Identity", POOLED, &[&x], &[]);
        };
        let mut run_options = RunOptions::new().map_err(refused(&model.path))?;
        run_options.set_log_level(LogLevel::Fatal).map_err(refused(&model.path))?;
        Ok(Self {
            shares: pools.shares.then(|| load(&shares)).transpose()?,
            largest: pools.largest.then(|| load(&largest)).transpose()?,
            options: run_options,
            host,
            steps,
        })
    }

    /// All of them.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.shares.iter().chain(&self.largest)
    }

    /// DevicePoolingPlan `states`, (rows × length × width) in the format the export declares, which lie on the device. Of other shapes
    /// ONNX Runtime would make rows too, by repeating what is short: they must not come here.
    pub(super) fn run(&mut self, states: &DynValue, pooled: DevicePooled, shape: RunShape) -> ort::Result<RunOutput> {
        let RunShape { rows, length } = shape;
        let missing = || ort::Error::new("no session for this pooling");
        let (session, beside) = match pooled.how {
            DevicePoolingOp::Shares(share) => {
                let share = Tensor::from_array(([rows, 1, length], share))?.into_dyn();
                (self.shares.as_mut().ok_or_else(missing)?, vec![(SHARE.to_owned(), share)])
            }
            DevicePoolingOp::Largest => (self.largest.as_mut().ok_or_else(missing)?, halves(length, self.steps)?),
        };
        let mut binding = session.create_binding()?;
        binding.bind_input(STATES, states)?;
        binding.bind_input(REAL, &Tensor::from_array(([rows, length, 1], pooled.real))?)?;
        for (name, value) in &beside {
            binding.bind_input(name, value)?;
        }
        binding.bind_output_to_device(POOLED, &self.host)?;
        let given = session.run_binding_with_options(&binding, &self.options)?;
        RunOutput::of(&given[POOLED]).map(RunOutput::pooled)
    }
}

/// Ends of the halves of each step, from a length down to one.
fn halves(length: usize, steps: usize) -> ort::Result<Vec<(String, DynValue)>> {
    let mut left = length;
    let mut all = Vec::with_capacity(2 * steps);
    for k in 0..steps {
        left = left.div_ceil(2);
        let end = i64::try_from(left).unwrap_or(i64::MAX);
        all.push((half(k), Tensor::from_array(([1], vec![end]))?.into_dyn()));
        all.push((tail(k), Tensor::from_array(([1], vec![-end]))?.into_dyn()));
    }
    Ok(all)
}

fn half(step: usize) -> String {
    format!("half{step}")
}

fn tail(step: usize) -> String {
    format!("tail{step}")
}

/// Halvings that bring `length` to one: ⌈log2 length⌉.
fn steps(length: usize) -> usize {
    length.max(1).next_power_of_two().ilog2() as usize
}

/// A session over the states in f32, whose real tokens `write` pools.
fn session(
    model: &GenericModel,
    target: Target,
    options: &LoadOptions,
    device: Device,
    path: &Path,
    write: &dyn Fn(&mut Builder, &str, &str),
) -> Result<Session, LoadError> {
    let mut b = Builder::new(target);
    let elem = match model.elem {
        ElementType::F16 => Elem::F16,
        ElementType::Bf16 => Elem::BF16,
        _ => Elem::F32,
    };
    let mut states = b.input(STATES, elem, &[Size::Named("rows"), Size::Named("length"), Size::Named("width")]);
    if elem != Elem::F32 {
        states = b.node(ONNX, "Cast", "states_f32", &[&states], &[Attr::Int("to", Elem::F32 as i64)]);
    }
    let real = b.input(REAL, Elem::I32, &[Size::Named("rows"), Size::Named("length"), Size::Of(1)]);
    let real = b.node(ONNX, "Cast", "is_real", &[&real], &[Attr::Int("to", BOOL)]);
    write(&mut b, &states, &real);
    b.output(POOLED, Elem::F32, &[Size::Named("rows"), Size::Of(1), Size::Named("width")]);
    let (proto, weights) = b.finish();
    // A profile that is asked for is of the model's own session, and small batches of an export have no graphs.
    let cuda = CudaOptions { graphs: false, pinned: false, ..options.cuda.clone() };
    let options = LoadOptions { profile: None, cuda, ..options.clone() };
    let ready = Ready::new(&options, device, path, true)?;
    let graph = WrittenGraph::new(&proto, weights).map_err(refused(path))?;
    commit(ready.builder, target, options.threads, None, &graph, path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn halving_ends_at_one_and_loses_no_token(length in 1usize..3_000, spare in 0usize..3) {
            let mut left = length;
            for _ in 0..steps(length) + spare {
                let half = left.div_ceil(2);
                prop_assert!(2 * half >= left, "a token lies in neither half");
                left = half;
            }
            prop_assert_eq!(left, 1);
        }
    }
}
