//! ONNX as text to read and to write: the messages of onnx.proto that are used here ([`proto`]), a graph written node by node
//! ([`builder`]), the device it is written for ([`target`]), and the weights that are not in it
//! ([`kept`]).

mod builder;
mod kept;
mod proto;
mod target;

pub(crate) use builder::{Attr, Builder, Edge, Initializer, Size, WeightNumbers};
pub(crate) use kept::{KeptLayer, KeptWeights};
pub(crate) use proto::{EXTERNAL, Elem, GraphProto, ModelProto, NodeProto, ValueInfo};
pub(crate) use target::{SortieOperators, Target};

/// The standard operator domain.
pub(crate) const ONNX: &str = "";
/// ONNX Runtime's own operators.
pub(crate) const MICROSOFT: &str = "com.microsoft";
/// Operators of this crate.
pub(crate) const SORTIE: &str = "sortie";
