//! What an ONNX graph takes and gives, known without running it.
//!
//! From the file's own header; only where that leaves the shape of an output open
//! is a short-lived session asked, whose shape inference may know.

use std::{collections::HashMap, path::Path};

use ort::session::{Session, builder::GraphOptimizationLevel};

use super::{
    header,
    port::{InputRole, Port},
};
use crate::{
    error::LoadError,
    onnx::{GraphProto, NodeProto},
    options::LoadOptions,
};

/// Steps taken back from an output or a table through nodes that change no number.
const MAX_STEPS: usize = 8;

/// What a graph takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// Inputs that must be given, weights left out.
    pub(crate) inputs: Vec<Port>,
    /// Outputs, in the graph's order.
    pub(crate) outputs: Vec<Port>,
    /// Rows of the table that the ids look up: the vocabulary.
    pub(crate) vocab: Option<usize>,
    /// Rows of the table of learned positions.
    pub(crate) positions: Option<usize>,
    /// Activations are quantised by one scale a run: an answer depends on what else is in the run.
    pub(crate) scales_by_run: bool,
}

impl Signature {
    /// Reads the signature of the ONNX file at `path`. ONNX Runtime is only asked where
    /// the file leaves the shape of an output open.
    ///
    /// # Errors
    /// When the file or its external data is missing, cut short or no ONNX model.
    pub(crate) fn read(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let mut signature = Self::of_header(&header::read(path)?);
        if signature.outputs.iter().any(|o| o.dims.is_none()) {
            signature.ask_session(path, options)?;
        }
        Ok(signature)
    }

    fn of_header(graph: &GraphProto) -> Self {
        let tables: HashMap<&str, &[i64]> =
            graph.initializer.iter().map(|t| (t.name.as_str(), t.dims.as_slice())).collect();
        let makers: HashMap<&str, &NodeProto> =
            graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
        let inputs: Vec<Port> =
            graph.input.iter().filter(|v| !tables.contains_key(v.name.as_str())).map(|v| Port::of(v, "")).collect();
        let outputs = graph.output.iter().map(|v| Port::of(v, maker(&makers, &v.name))).collect();
        let ids = inputs.iter().find(|p| p.role() == Some(InputRole::Ids));
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
        let dynamic = ["DynamicQuantizeLinear", "DynamicQuantizeMatMul"];
        let scales_by_run = graph.node.iter().any(|n| dynamic.contains(&n.op_type.as_str()));
        Self { inputs, outputs, vocab, positions, scales_by_run }
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
