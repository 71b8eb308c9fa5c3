//! Builds a graph node by node. Weights go in as *external* initializers: the protobuf names and shapes them, the session is
//! handed the memory, since a serialised protobuf ends at 2 GB.

use half::{bf16, f16};
use sortie_gemm::WeightFormat;

use super::{
    KeptWeights, MICROSOFT, ONNX, SORTIE,
    proto::{
        AttributeKind, AttributeProto, Dim, EXTERNAL, Elem, Entry, GraphProto, ModelProto, NodeProto, OperatorSetId,
        ShapeProto, TensorProto, TensorType, TypeProto, ValueInfo,
    },
    target::{SortieOperators, Target},
};

/// Opset 17 is the least with LayerNormalization; every ONNX Runtime we load has it.
const OPSET: i64 = 17;
/// IR version that goes with opset 17.
const IR_VERSION: i64 = 8;

/// An attribute of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attr {
    Int(&'static str, i64),
    Float(&'static str, f32),
    Word(&'static str, &'static str),
}

/// A dimension of a graph input or output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    Named(&'static str),
    Of(usize),
}

/// Name of a value that flows between nodes.
pub(crate) type Edge = String;

/// The numbers of a weight, in the format of the graph.
#[derive(Debug)]
pub(crate) enum WeightNumbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

/// A weight in the layout the graph wants.
#[derive(Debug)]
pub(crate) struct Initializer {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: WeightNumbers,
}

/// Collects nodes in order, and weights beside them.
#[derive(Debug)]
pub(crate) struct Builder {
    target: Target,
    /// Format of the activations written now, and of the weights that meet them.
    elem: Elem,
    /// Which operators of ours the device has.
    own: SortieOperators,
    graph: GraphProto,
    weights: Vec<Initializer>,
    /// Weights that live in operators of ours.
    kept: KeptWeights,
}

impl Builder {
    /// An empty graph for `target`, in its format.
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            elem: target.elem(),
            own: SortieOperators::default(),
            graph: GraphProto::default(),
            weights: Vec::new(),
            kept: KeptWeights::default(),
        }
    }

    /// Writes the processor's products in `format`, by operators that keep their weights; `None`: by ONNX Runtime's, in f32.
    pub(crate) fn keeping(mut self, format: Option<WeightFormat>) -> Self {
        self.kept = KeptWeights::new(format);
        self
    }

    /// Weights that live in operators, to which more may be added.
    pub(crate) fn kept(&mut self) -> &mut KeptWeights {
        &mut self.kept
    }

    /// Format of products by operators that keep their weights.
    pub(crate) fn kept_format(&self) -> Option<WeightFormat> {
        self.kept.format
    }

    /// Takes them out, when all is written.
    pub(crate) fn take_kept(&mut self) -> KeptWeights {
        std::mem::take(&mut self.kept)
    }

    /// Writes with these operators of ours, where the format is the one they take.
    pub(crate) fn with(mut self, own: SortieOperators) -> Self {
        self.own = own;
        self
    }

    /// Those that may be written now.
    pub(crate) fn own(&self) -> SortieOperators {
        if self.elem == Elem::F16 {
            self.own
        } else {
            SortieOperators { kernels: self.own.kernels, ..SortieOperators::default() }
        }
    }

    /// What the graph is written for.
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// Format of the activations written now.
    pub(crate) fn elem(&self) -> Elem {
        self.elem
    }

    /// Casts `x` where it is not in `to` yet, and writes the rest of the graph in `to`.
    pub(crate) fn go_on_in(&mut self, to: Elem, edge: &str, x: &str) -> Edge {
        let x = self.cast(to, edge, x);
        self.elem = to;
        x
    }

    /// Writes `part` in `elem`, and goes on as before.
    pub(crate) fn in_format<R>(&mut self, elem: Elem, part: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.elem, elem);
        let written = part(self);
        self.elem = before;
        written
    }

    /// Casts `x` to `to`, where the format written now is another.
    pub(crate) fn cast(&mut self, to: Elem, edge: &str, x: &str) -> Edge {
        if self.elem == to {
            return x.to_owned();
        }
        self.node(ONNX, "Cast", edge, &[x], &[Attr::Int("to", to as i64)])
    }

    /// Declares an input of the graph.
    pub(crate) fn input(&mut self, name: &str, elem: Elem, shape: &[Size]) -> Edge {
        if !self.graph.input.iter().any(|i| i.name == name) {
            self.graph.input.push(value_info(name, elem, shape));
        }
        name.to_owned()
    }

    /// Declares an output of the graph; a node must produce an edge of that name.
    pub(crate) fn output(&mut self, name: &str, elem: Elem, shape: &[Size]) {
        self.graph.output.push(value_info(name, elem, shape));
    }

    /// Adds a weight in the format written now. Numbers beyond what it holds become infinite.
    pub(crate) fn weight(&mut self, name: impl Into<String>, shape: &[usize], data: Vec<f32>) -> Edge {
        self.weight_in(self.elem, name, shape, data)
    }

    /// Adds a weight in `elem`.
    pub(crate) fn weight_in(&mut self, elem: Elem, name: impl Into<String>, shape: &[usize], data: Vec<f32>) -> Edge {
        let name = name.into();
        debug_assert_eq!(shape.iter().product::<usize>(), data.len(), "{name}");
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&d| d as i64).collect(),
            data_type: elem as i32,
            name: name.clone(),
            // ONNX Runtime wants a location even where the session supplies the memory.
            external_data: vec![Entry { key: "location".into(), value: "in-memory".into() }],
            data_location: EXTERNAL,
            ..TensorProto::default()
        });
        let data = match elem {
            Elem::F16 => WeightNumbers::F16(data.into_iter().map(f16::from_f32).collect()),
            Elem::BF16 => WeightNumbers::Bf16(data.into_iter().map(bf16::from_f32).collect()),
            _ => WeightNumbers::F32(data),
        };
        self.weights.push(Initializer { name: name.clone(), shape: shape.to_vec(), data });
        name
    }

    /// Adds a weight that several nodes share, once.
    pub(crate) fn weight_once(&mut self, name: &str, shape: &[usize], data: impl FnOnce() -> Vec<f32>) -> Edge {
        if self.graph.initializer.iter().any(|i| i.name == name) {
            return name.to_owned();
        }
        self.weight(name, shape, data())
    }

    /// Adds a few whole numbers, stored in the graph itself: a shape, an axis.
    pub(crate) fn integers(&mut self, name: impl Into<String>, values: &[i64]) -> Edge {
        let name = name.into();
        if !self.graph.initializer.iter().any(|i| i.name == name) {
            self.graph.initializer.push(TensorProto {
                dims: vec![values.len() as i64],
                data_type: Elem::I64 as i32,
                int64_data: values.to_vec(),
                name: name.clone(),
                ..TensorProto::default()
            });
        }
        name
    }

    /// Adds one 32-bit whole number, stored in the graph itself.
    pub(crate) fn small_i32(&mut self, name: &str, value: i32) -> Edge {
        self.small_i32s(name, &[value])
    }

    /// Adds 32-bit whole numbers, stored in the graph itself.
    pub(crate) fn small_i32s(&mut self, name: &str, values: &[i32]) -> Edge {
        if !self.graph.initializer.iter().any(|i| i.name == name) {
            self.graph.initializer.push(TensorProto {
                dims: vec![values.len() as i64],
                data_type: Elem::I32 as i32,
                int32_data: values.to_vec(),
                name: name.to_owned(),
                ..TensorProto::default()
            });
        }
        name.to_owned()
    }

    /// Adds a node with one output and names that output.
    pub(crate) fn node(&mut self, domain: &str, op: &str, output: &str, inputs: &[&str], attrs: &[Attr]) -> Edge {
        self.nodes(domain, op, &[output], inputs, attrs);
        output.to_owned()
    }

    /// Adds a node with several outputs. An empty input is one left out.
    pub(crate) fn nodes(&mut self, domain: &str, op: &str, outputs: &[&str], inputs: &[&str], attrs: &[Attr]) {
        let attribute =
            |name: &str, kind| AttributeProto { name: name.to_owned(), kind: kind as i32, ..AttributeProto::default() };
        let attribute = attrs
            .iter()
            .map(|a| match *a {
                Attr::Int(name, i) => AttributeProto { i, ..attribute(name, AttributeKind::Int) },
                Attr::Float(name, f) => AttributeProto { f, ..attribute(name, AttributeKind::Float) },
                Attr::Word(name, s) => AttributeProto { s: s.to_owned(), ..attribute(name, AttributeKind::String) },
            })
            .collect();
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: outputs.iter().map(|&o| o.to_owned()).collect(),
            name: format!("node/{}", outputs.first().copied().unwrap_or_default()),
            op_type: op.to_owned(),
            attribute,
            domain: domain.to_owned(),
        });
    }

    /// The finished model, and its weights apart.
    pub(crate) fn finish(mut self) -> (ModelProto, Vec<Initializer>) {
        self.graph.name = "sortie".into();
        let opset = |domain: &str, version| OperatorSetId { domain: domain.into(), version };
        let mut opset_import = vec![opset(ONNX, OPSET), opset(MICROSOFT, 1)];
        // A session that lacks our operators refuses a graph that names their domain.
        if self.graph.node.iter().any(|n| n.domain == SORTIE) {
            opset_import.push(opset(SORTIE, 1));
        }
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "sortie".into(),
            graph: Some(self.graph),
            opset_import,
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
