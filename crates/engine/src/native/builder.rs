//! Builds a graph node by node. Weights go in as *external* initializers: the protobuf names and shapes them, the session is
//! handed the memory, since a serialised protobuf ends at 2 GB.

use crate::onnx::{
    AttributeKind, AttributeProto, Dim, EXTERNAL, Elem, Entry, GraphProto, ModelProto, NodeProto, OperatorSetId,
    ShapeProto, TensorProto, TensorType, TypeProto, ValueInfo,
};

/// The standard operator domain.
pub(crate) const ONNX: &str = "";
/// ONNX Runtime's own operators.
pub(crate) const MICROSOFT: &str = "com.microsoft";
/// Operators of this crate.
pub(crate) const SORTIE: &str = "sortie";

/// Opset 17 is the least with LayerNormalization; every ONNX Runtime we load has it.
const OPSET: i64 = 17;
/// IR version that goes with opset 17.
const IR_VERSION: i64 = 8;

/// An attribute of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attr {
    Int(&'static str, i64),
    Float(&'static str, f32),
}

/// A dimension of a graph input or output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    Named(&'static str),
    Of(usize),
}

/// Name of a value that flows between nodes.
pub(crate) type Edge = String;

/// A weight as f32 in the layout the graph wants.
#[derive(Debug)]
pub(crate) struct Initializer {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

/// Collects nodes in order, and weights beside them.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    graph: GraphProto,
    weights: Vec<Initializer>,
}

impl Builder {
    /// Declares an input of the graph.
    pub(crate) fn input(&mut self, name: &str, elem: Elem, shape: &[Size]) -> Edge {
        self.graph.input.push(value_info(name, elem, shape));
        name.to_owned()
    }

    /// Declares an output of the graph; a node must produce an edge of that name.
    pub(crate) fn output(&mut self, name: &str, elem: Elem, shape: &[Size]) {
        self.graph.output.push(value_info(name, elem, shape));
    }

    /// Adds a weight.
    pub(crate) fn weight(&mut self, name: impl Into<String>, shape: &[usize], data: Vec<f32>) -> Edge {
        let name = name.into();
        debug_assert_eq!(shape.iter().product::<usize>(), data.len(), "{name}");
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&d| d as i64).collect(),
            data_type: Elem::F32 as i32,
            name: name.clone(),
            // ONNX Runtime wants a location even where the session supplies the memory.
            external_data: vec![Entry { key: "location".into(), value: "in-memory".into() }],
            data_location: EXTERNAL,
        });
        self.weights.push(Initializer { name: name.clone(), shape: shape.to_vec(), data });
        name
    }

    /// Adds a node with one output and names that output.
    pub(crate) fn node(&mut self, domain: &str, op: &str, output: &str, inputs: &[&str], attrs: &[Attr]) -> Edge {
        let attribute = attrs
            .iter()
            .map(|a| match *a {
                Attr::Int(name, i) => AttributeProto { name: name.into(), i, f: 0.0, kind: AttributeKind::Int as i32 },
                Attr::Float(name, f) => {
                    AttributeProto { name: name.into(), i: 0, f, kind: AttributeKind::Float as i32 }
                }
            })
            .collect();
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("node/{output}"),
            op_type: op.to_owned(),
            attribute,
            domain: domain.to_owned(),
        });
        output.to_owned()
    }

    /// The finished model, and its weights apart.
    pub(crate) fn finish(mut self) -> (ModelProto, Vec<Initializer>) {
        self.graph.name = "sortie".into();
        let opset = |domain: &str, version| OperatorSetId { domain: domain.into(), version };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "sortie".into(),
            graph: Some(self.graph),
            opset_import: vec![opset(ONNX, OPSET), opset(MICROSOFT, 1), opset(SORTIE, 1)],
        };
        (model, self.weights)
    }
}

fn value_info(name: &str, elem: Elem, shape: &[Size]) -> ValueInfo {
    let dim = shape
        .iter()
        .map(|s| match *s {
            Size::Named(n) => Dim { value: None, param: Some(n.to_owned()) },
            Size::Of(n) => Dim { value: Some(n as i64), param: None },
        })
        .collect();
    let tensor = TensorType { elem_type: elem as i32, shape: Some(ShapeProto { dim }) };
    ValueInfo { name: name.to_owned(), kind: Some(TypeProto { tensor: Some(tensor) }) }
}
