//! The part of onnx.proto that a graph of ours needs, and a builder for it.
//!
//! Field numbers are those of the published onnx.proto3. Weights go in as
//! *external* initializers: the protobuf names and shapes them, the session is
//! handed the memory, since a serialised protobuf ends at 2 GB.

use prost::Message;

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
const EXTERNAL: i32 = 1;

/// Element types of tensors, by their onnx.proto number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Elem {
    F32 = 1,
    I32 = 6,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetId>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetId {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub(crate) node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    pub(crate) op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
    #[prost(string, tag = "7")]
    pub(crate) domain: String,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    f: f32,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(enumeration = "AttributeKind", tag = "20")]
    kind: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum AttributeKind {
    Undefined = 0,
    Float = 1,
    Int = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub(crate) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<Entry>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<ShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct ShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    param: Option<String>,
}

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
    ValueInfo { name: name.to_owned(), kind: Some(TypeProto { tensor_type: Some(tensor) }) }
}
