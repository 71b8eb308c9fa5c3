//! A written graph and its weights to a session.

use std::{path::Path, sync::Arc};

use ort::{
    operator::OperatorDomain,
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{DynValue, Tensor},
};
use parking_lot::Mutex;
use prost::Message;

use super::super::kernel::cpu_domain;
use crate::{
    error::LoadError,
    onnx::{Initializer, KeptWeights, ModelProto, Target, WeightNumbers},
    runtime::session::refused,
};

/// A graph as sessions take it. Those on several devices share the weights, which were read and converted once; ONNX Runtime
/// keeps the host's copy of a weight as long as a session does.
#[derive(Debug)]
pub(crate) struct WrittenGraph {
    /// The serialised model.
    proto: Vec<u8>,
    weights: Vec<(String, Arc<DynValue>)>,
    /// Those that live in operators.
    kept: Arc<KeptWeights>,
}

impl WrittenGraph {
    /// Hands the numbers over; they are not copied. ONNX Runtime's library must be loaded.
    pub(crate) fn new(proto: &ModelProto, weights: Vec<Initializer>) -> ort::Result<Self> {
        let value = |weight: Initializer| {
            let value = match weight.data {
                WeightNumbers::F32(data) => Tensor::from_array((weight.shape, data)).map(Tensor::into_dyn),
                WeightNumbers::F16(data) => Tensor::from_array((weight.shape, data)).map(Tensor::into_dyn),
                WeightNumbers::Bf16(data) => Tensor::from_array((weight.shape, data)).map(Tensor::into_dyn),
            };
            value.map(|value| (weight.name, Arc::new(value)))
        };
        let weights = weights.into_iter().map(value).collect::<ort::Result<_>>()?;
        Ok(Self { proto: proto.encode_to_vec(), weights, kept: Arc::default() })
    }

    /// With weights that live in operators of ours.
    pub(crate) fn with(mut self, kept: KeptWeights) -> Self {
        self.kept = Arc::new(kept);
        self
    }
}

/// Held while a session is made. ONNX Runtime keeps the versions of operator
/// domains in one table a process, and looks before it adds without a lock: two
/// sessions with our operators, made at once, can both find the domain missing.
static REGISTERING: Mutex<()> = Mutex::new(());

/// Threads that ONNX Runtime has for a run where `given` says nothing.
pub(crate) fn threads(given: Option<usize>) -> usize {
    given.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Loads a written graph into a session that runs on so many threads, one a core where nothing is said. `own` are its operators
/// of ours on a GPU.
pub(crate) fn commit(
    mut builder: SessionBuilder,
    target: Target,
    threads: Option<usize>,
    own: Option<OperatorDomain>,
    graph: &WrittenGraph,
    path: &Path,
) -> Result<Session, LoadError> {
    let bad = refused(path);
    if let Some(threads) = threads {
        builder = builder.with_intra_threads(threads).map_err(|e| bad(e.into()))?;
    }
    let mut builder = builder
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(|e| bad(e.into()))?
        // Batches differ in size each time: plans made for one size serve no other.
        .with_memory_pattern(false)
        .map_err(|e| bad(e.into()))?
        // Spinning threads take the cores that tokenizing and other servers need.
        .with_intra_op_spinning(false)
        .map_err(|e| bad(e.into()))?;
    let own = match own {
        None if !matches!(target, Target::Cuda(_)) => {
            Some(cpu_domain(&graph.kept, self::threads(threads)).map_err(&bad)?)
        }
        own => own,
    };
    if let Some(own) = own {
        builder = builder.with_operators(own).map_err(|e| bad(e.into()))?;
    }
    for (name, value) in &graph.weights {
        builder = builder.with_external_initializer(name, Arc::clone(value)).map_err(|e| bad(e.into()))?;
    }
    let _one_at_a_time = REGISTERING.lock();
    builder.commit_from_memory(&graph.proto).map_err(&bad)
}
