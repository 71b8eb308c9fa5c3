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
    onnx::{Initializer, ModelProto, Numbers, Target},
    runtime::session::refused,
};

/// Held while a session is made. ONNX Runtime keeps the versions of operator
/// domains in one table a process, and looks before it adds without a lock: two
/// sessions with our operators, made at once, can both find the domain missing.
static REGISTERING: Mutex<()> = Mutex::new(());

/// Loads a written graph and its weights into a session. `own` are its operators of ours on a GPU.
pub(crate) fn commit(
    builder: SessionBuilder,
    target: Target,
    own: Option<OperatorDomain>,
    proto: &ModelProto,
    weights: Vec<Initializer>,
    path: &Path,
) -> Result<Session, LoadError> {
    let bad = refused(path);
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
        None if !matches!(target, Target::Cuda(_)) => Some(cpu_domain().map_err(&bad)?),
        own => own,
    };
    if let Some(own) = own {
        builder = builder.with_operators(own).map_err(|e| bad(e.into()))?;
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
    let _one_at_a_time = REGISTERING.lock();
    builder.commit_from_memory(&proto.encode_to_vec()).map_err(&bad)
}
