//! From a model to a loaded session: graph written, weights handed over.

use std::sync::Arc;

use ort::{
    session::{Session, builder::GraphOptimizationLevel},
    value::{DynValue, Tensor},
};
use parking_lot::Mutex;
use prost::Message;

use super::{
    NativeModel,
    batch::Bounds,
    buckets::Grid,
    builder::{Builder, Initializer, Numbers},
    graph, head,
    host::{NativeHost, Outputs},
    layout, operators,
    target::Target,
};
use crate::{
    error::LoadError,
    model::LoadOptions,
    onnx::ModelProto,
    session::{Ready, refused},
};

/// Held while a session is made. ONNX Runtime keeps the versions of operator
/// domains in one table a process, and looks before it adds without a lock: two
/// sessions with our operators, made at once, can both find the domain missing.
static REGISTERING: Mutex<()> = Mutex::new(());

/// Writes the graph of `model` for `target`. Returns it, its weights and the width of an output row.
pub(crate) fn write(model: &NativeModel, target: Target) -> Result<(ModelProto, Vec<Initializer>, usize), LoadError> {
    let mut b = Builder::new(target);
    let hidden = graph::encoder(&mut b, &model.encoder, &model.weights)?;
    let width = head::head(&mut b, &model.encoder, &model.weights, &model.task, model.pooling, &hidden)?;
    let (proto, weights) = b.finish();
    Ok((proto, weights, width))
}

/// Loads `model` into a session for `target`. `ready` is a session's settings for the device.
pub(crate) fn load(
    model: &NativeModel,
    target: Target,
    ready: Ready,
    options: &LoadOptions,
) -> Result<(Session, NativeHost), LoadError> {
    let (proto, weights, width) = write(model, target)?;
    let path = &model.folder;
    let bad = refused(path);
    let mut builder = ready
        .builder
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(|e| bad(e.into()))?
        // Batches differ in size each time: plans made for one size serve no other.
        .with_memory_pattern(false)
        .map_err(|e| bad(e.into()))?
        // Spinning threads take the cores that tokenizing and other servers need.
        .with_intra_op_spinning(false)
        .map_err(|e| bad(e.into()))?;
    if !matches!(target, Target::Cuda(_)) {
        builder = builder.with_operators(operators::domain().map_err(&bad)?).map_err(|e| bad(e.into()))?;
    }
    if let Some(threads) = options.threads {
        builder = builder.with_intra_threads(threads).map_err(|e| bad(e.into()))?;
    }
    for w in weights {
        let value = match w.data {
            Numbers::F32(data) => Tensor::from_array((w.shape, data)).map(Tensor::into_dyn),
            Numbers::F16(data) => Tensor::from_array((w.shape, data)).map(Tensor::into_dyn),
            Numbers::Bf16(data) => Tensor::from_array((w.shape, data)).map(Tensor::into_dyn),
        };
        let value: Arc<DynValue> = Arc::new(value.map_err(&bad)?);
        builder = builder.with_external_initializer(&w.name, value).map_err(|e| bad(e.into()))?;
    }
    let session = {
        let _one_at_a_time = REGISTERING.lock();
        builder.commit_from_memory(&proto.encode_to_vec()).map_err(&bad)?
    };
    let gives = |name: &str| session.outputs().iter().any(|o| o.name() == name);
    let takes = |name: &&str| session.inputs().iter().any(|i| i.name() == *name);
    let host = NativeHost {
        bounds: Bounds {
            vocab: model.encoder.vocab,
            segments: model.encoder.segments,
            longest: model.encoder.longest(),
        },
        first_position: model.encoder.first_position,
        task: model.task.clone(),
        dense: model.dense.clone(),
        width,
        inputs: layout::NAMES.into_iter().filter(takes).collect(),
        has: Outputs { whole: true, picked: gives(head::PICKED), pooled: gives(head::POOLED) },
        pooling: model.pooling,
        // Numbers of chunks differ within a bucket: such a graph has no fixed shape.
        grid: (ready.graphs && !takes(&super::pool::input::CHUNKED)).then(|| Grid::new(model.encoder.longest())),
    };
    Ok((session, host))
}
