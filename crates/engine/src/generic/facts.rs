//! What an ONNX graph takes and gives, known without running it.
//!
//! From the file's own header; only where that leaves the shape of an output open
//! is a short-lived session asked, whose shape inference may know.

use std::{collections::HashMap, path::Path};

use ort::{
    session::{Session, builder::GraphOptimizationLevel},
    value::{Outlet, TensorElementType},
};

use super::header;
use crate::onnx::{GraphProto, NodeProto, ValueInfo};
use crate::{error::LoadError, model::LoadOptions};

/// Steps taken back from an output or a table through nodes that change no number.
const MAX_STEPS: usize = 8;

/// Element type of a graph's input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elem {
    F32,
    F16,
    Bf16,
    I32,
    I64,
    /// Anything else.
    Other,
}

impl Elem {
    /// By its number in onnx.proto.
    fn of_onnx(number: i32) -> Self {
        match number {
            1 => Elem::F32,
            6 => Elem::I32,
            7 => Elem::I64,
            10 => Elem::F16,
            16 => Elem::Bf16,
            _ => Elem::Other,
        }
    }

    pub(super) fn of_ort(ty: Option<TensorElementType>) -> Self {
        match ty {
            Some(TensorElementType::Float32) => Elem::F32,
            Some(TensorElementType::Int32) => Elem::I32,
            Some(TensorElementType::Int64) => Elem::I64,
            Some(TensorElementType::Float16) => Elem::F16,
            Some(TensorElementType::Bfloat16) => Elem::Bf16,
            _ => Elem::Other,
        }
    }

    /// Whether scores and states come in it.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Elem::F32 | Elem::F16 | Elem::Bf16)
    }
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its name, as a session wants it.
    pub(crate) name: String,
    /// Type of its elements.
    pub(crate) elem: Elem,
    /// Its dimensions, `None` where one is free; `None` altogether where the rank is unknown.
    pub(crate) dims: Option<Vec<Option<usize>>>,
    /// Operator that makes it; "" for inputs and where unknown.
    pub(crate) made_by: String,
}

impl Port {
    /// Number of dimensions, where known.
    pub(crate) fn rank(&self) -> Option<usize> {
        self.dims.as_ref().map(Vec::len)
    }

    /// Dimension `at`, where known.
    pub(crate) fn dim(&self, at: usize) -> Option<usize> {
        self.dims.as_ref().and_then(|d| d.get(at).copied().flatten())
    }

    /// Last dimension, where known.
    pub(crate) fn width(&self) -> Option<usize> {
        self.dims.as_ref().and_then(|d| d.last().copied().flatten())
    }

    /// Its name in lower case, less the decorations exporters add (`serving_default_x:0`, `block/x`).
    pub(crate) fn plain_name(&self) -> String {
        let name = self.name.to_ascii_lowercase();
        let name = name.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(":0").unwrap_or(name);
        name.strip_prefix("serving_default_").unwrap_or(name).to_owned()
    }
}

/// What a graph takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GraphFacts {
    /// Inputs that must be given, weights left out.
    pub(crate) inputs: Vec<Port>,
    /// Outputs, in the graph's order.
    pub(crate) outputs: Vec<Port>,
    /// Rows of the table that the ids look up: the vocabulary.
    pub(crate) vocab: Option<usize>,
    /// Rows of the table of learned positions.
    pub(crate) positions: Option<usize>,
}

impl GraphFacts {
    /// Reads the facts of the ONNX file at `path`. ONNX Runtime is only asked where
    /// the file leaves the shape of an output open.
    ///
    /// # Errors
    /// When the file or its external data is missing, cut short or no ONNX model.
    pub(crate) fn read(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let mut facts = Self::of_header(&header::read(path)?);
        if facts.outputs.iter().any(|o| o.dims.is_none()) {
            facts.ask_session(path, options)?;
        }
        Ok(facts)
    }

    fn of_header(graph: &GraphProto) -> Self {
        let tables: HashMap<&str, &[i64]> =
            graph.initializer.iter().map(|t| (t.name.as_str(), t.dims.as_slice())).collect();
        let makers: HashMap<&str, &NodeProto> =
            graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
        let inputs: Vec<Port> =
            graph.input.iter().filter(|v| !tables.contains_key(v.name.as_str())).map(|v| port(v, "")).collect();
        let outputs = graph.output.iter().map(|v| port(v, maker(&makers, &v.name))).collect();
        let ids = inputs.iter().find(|p| super::inputs::Role::of(p) == Some(super::inputs::Role::Ids));
        let vocab = ids.and_then(|ids| {
            let lookups = graph.node.iter().filter(|n| n.op_type.contains("Gather"));
            lookups
                .filter(|n| n.input.get(1).is_some_and(|i| origin(&makers, i) == ids.name))
                .find_map(|n| rows(&tables, origin(&makers, n.input.first()?)))
        });
        let positions = graph
            .initializer
            .iter()
            .filter(|t| t.name.contains("position_embeddings") && t.dims.len() == 2)
            .find_map(|t| rows(&tables, &t.name));
        Self { inputs, outputs, vocab, positions }
    }

    fn ask_session(&mut self, path: &Path, options: &LoadOptions) -> Result<(), LoadError> {
        let runtime = options.runtime()?;
        let session = (|| {
            Session::builder(runtime.environment())?
                .with_optimization_level(GraphOptimizationLevel::Disable)?
                .commit_from_file(path)
        })()
        .map_err(LoadError::session(path))?;
        for output in &mut self.outputs {
            if let Some(outlet) = session.outputs().iter().find(|o| o.name() == output.name) {
                output.learn(outlet);
            }
        }
        Ok(())
    }
}

impl Port {
    /// Takes over what a session inferred. It reports rank 0 for "unknown" too.
    fn learn(&mut self, outlet: &Outlet) {
        self.elem = Elem::of_ort(outlet.dtype().tensor_type());
        if let Some(shape) = outlet.dtype().tensor_shape().filter(|s| !s.is_empty()) {
            self.dims = Some(shape.iter().map(|&d| usize::try_from(d).ok().filter(|&d| d > 0)).collect());
        }
    }
}

fn port(value: &ValueInfo, made_by: &str) -> Port {
    let tensor = value.kind.as_ref().and_then(|k| k.tensor.as_ref());
    let size = |v: Option<i64>| v.and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0);
    Port {
        name: value.name.clone(),
        elem: tensor.map_or(Elem::Other, |t| Elem::of_onnx(t.elem_type)),
        dims: tensor.and_then(|t| t.shape.as_ref()).map(|s| s.dim.iter().map(|d| size(d.value)).collect()),
        made_by: made_by.to_owned(),
    }
}

/// Operator that makes `name`, nodes that only pass it on left out.
fn maker<'a>(makers: &HashMap<&str, &'a NodeProto>, name: &str) -> &'a str {
    let mut name = name;
    let mut op = "";
    for _ in 0..MAX_STEPS {
        let Some(node) = makers.get(name) else { break };
        op = &node.op_type;
        match node.input.first() {
            Some(first) if matches!(op, "Identity" | "Cast" | "Squeeze") => name = first,
            _ => break,
        }
    }
    op
}

/// Where `name` comes from, before casts and dequantising.
fn origin<'a>(makers: &HashMap<&str, &'a NodeProto>, name: &'a str) -> &'a str {
    let mut name = name;
    for _ in 0..MAX_STEPS {
        let Some(node) = makers.get(name) else { break };
        match node.input.first() {
            Some(first) if matches!(node.op_type.as_str(), "Identity" | "Cast" | "DequantizeLinear" | "Mul") => {
                name = first
            }
            _ => break,
        }
    }
    name
}

fn rows(tables: &HashMap<&str, &[i64]>, name: &str) -> Option<usize> {
    let dims = tables.get(name).filter(|d| d.len() == 2)?;
    dims.first().and_then(|&r| usize::try_from(r).ok()).filter(|&r| r > 0)
}
