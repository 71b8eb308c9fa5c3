//! An input or output of a graph: its name, element type and shape.

use ort::value::{Outlet, TensorElementType};

use crate::onnx::ValueInfo;

/// Element type of a graph's input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ElementType {
    F32,
    F16,
    Bf16,
    I32,
    I64,
    /// Anything else.
    Other,
}

impl ElementType {
    /// By its number in onnx.proto.
    fn of_onnx(number: i32) -> Self {
        match number {
            1 => ElementType::F32,
            6 => ElementType::I32,
            7 => ElementType::I64,
            10 => ElementType::F16,
            16 => ElementType::Bf16,
            _ => ElementType::Other,
        }
    }

    pub(super) fn of_ort(ty: Option<TensorElementType>) -> Self {
        match ty {
            Some(TensorElementType::Float32) => ElementType::F32,
            Some(TensorElementType::Int32) => ElementType::I32,
            Some(TensorElementType::Int64) => ElementType::I64,
            Some(TensorElementType::Float16) => ElementType::F16,
            Some(TensorElementType::Bfloat16) => ElementType::Bf16,
            _ => ElementType::Other,
        }
    }

    /// Whether scores and states come in it.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, ElementType::F32 | ElementType::F16 | ElementType::Bf16)
    }
}

/// What an input is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputRole {
    Ids,
    Mask,
    Types,
    Positions,
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its name, as a session wants it.
    pub(crate) name: String,
    /// Type of its elements.
    pub(crate) elem: ElementType,
    /// Its dimensions, `None` where one is free; `None` altogether where the rank is unknown.
    pub(crate) dims: Option<Vec<Option<usize>>>,
    /// Operator that makes it; "" for inputs and where unknown.
    pub(crate) made_by: String,
}

impl Port {
    /// What it is for as an input, by its name.
    pub(super) fn role(&self) -> Option<InputRole> {
        match self.plain_name().as_str() {
            "input_ids" | "input" | "ids" | "token_ids" | "tokens" => Some(InputRole::Ids),
            "attention_mask" | "mask" | "input_mask" => Some(InputRole::Mask),
            "token_type_ids" | "segment_ids" | "token_types" => Some(InputRole::Types),
            "position_ids" | "positions" => Some(InputRole::Positions),
            _ => None,
        }
    }

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

impl Port {
    /// Takes over what a session inferred. It reports rank 0 for "unknown" too.
    pub(super) fn learn(&mut self, outlet: &Outlet) {
        self.elem = ElementType::of_ort(outlet.dtype().tensor_type());
        if let Some(shape) = outlet.dtype().tensor_shape().filter(|s| !s.is_empty()) {
            self.dims = Some(shape.iter().map(|&d| usize::try_from(d).ok().filter(|&d| d > 0)).collect());
        }
    }

    /// From the file; `made_by` is the operator that makes it.
    pub(super) fn of(value: &ValueInfo, made_by: &str) -> Self {
        let tensor = value.kind.as_ref().and_then(|k| k.tensor.as_ref());
        let size = |v: Option<i64>| v.and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0);
        Self {
            name: value.name.clone(),
            elem: tensor.map_or(ElementType::Other, |t| ElementType::of_onnx(t.elem_type)),
            dims: tensor.and_then(|t| t.shape.as_ref()).map(|s| s.dim.iter().map(|d| size(d.value)).collect()),
            made_by: made_by.to_owned(),
        }
    }
}
