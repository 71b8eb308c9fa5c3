//! Sequences to the padded tensors of one run, each `[rows, length]`.

use ort::value::{DynValue, Tensor};

use super::{inputs::InputBinding, model::GenericModel, port::InputRole};
use crate::item::Sequence;

/// Shape of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunShape {
    /// Rows, those that only fill up a fixed batch included.
    pub(super) rows: usize,
    /// Every row's length, padding included.
    pub(super) length: usize,
}

/// One input of a run, filled.
#[derive(Debug)]
pub(crate) struct Filled {
    name: String,
    shape: RunShape,
    values: IdValues,
}

#[derive(Debug)]
enum IdValues {
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Filled {
    /// As ONNX Runtime takes it.
    pub(super) fn into_value(self) -> ort::Result<(String, DynValue)> {
        let dims = [self.shape.rows, self.shape.length];
        let value = match self.values {
            IdValues::I32(v) => Tensor::from_array((dims, v))?.into_dyn(),
            IdValues::I64(v) => Tensor::from_array((dims, v))?.into_dyn(),
        };
        Ok((self.name, value))
    }
}

impl GenericModel {
    /// Shape of the run that holds `sequences`, its length a multiple of `step` as far as
    /// the model's positions go.
    pub(super) fn shape_of(&self, sequences: &[&Sequence], step: usize) -> RunShape {
        let longest = sequences.iter().map(|s| s.len()).max().unwrap_or(0);
        let rounded = longest.next_multiple_of(step.max(1)).min(self.longest().max(longest));
        RunShape { rows: self.inputs.rows.unwrap_or(sequences.len()), length: self.inputs.length.unwrap_or(rounded) }
    }

    /// The tensors of a run.
    pub(super) fn fill(&self, sequences: &[&Sequence], shape: RunShape) -> Vec<Filled> {
        let fill = |input: &InputBinding| {
            let values = self.values(input.role, sequences, shape);
            Filled { name: input.name.clone(), shape, values: IdValues::of(input, values) }
        };
        self.inputs.bound.iter().map(fill).collect()
    }

    /// One input's values, row-major. Rows beyond the sequences are copies of the last one.
    fn values(&self, role: InputRole, sequences: &[&Sequence], shape: RunShape) -> Vec<u32> {
        let mut values = Vec::with_capacity(shape.rows * shape.length);
        let Some(last) = sequences.last() else { return values };
        for row in 0..shape.rows {
            let sequence = sequences.get(row).unwrap_or(last);
            values.extend((0..shape.length).map(|i| {
                let real = i < sequence.len();
                match role {
                    InputRole::Ids => sequence.ids.get(i).copied().unwrap_or(self.pad_id),
                    InputRole::Mask => u32::from(real),
                    InputRole::Types if real => sequence.type_id(i),
                    InputRole::Types => 0,
                    // Within the positions: no row is longer than the model allows.
                    InputRole::Positions => u32::try_from(self.first_position + i).unwrap_or(u32::MAX),
                }
            }));
        }
        values
    }
}

impl IdValues {
    fn of(input: &InputBinding, values: Vec<u32>) -> Self {
        if input.narrow {
            // Ids are below the vocabulary, which no int32 graph can have beyond 2^31.
            return IdValues::I32(values.into_iter().map(|v| i32::try_from(v).unwrap_or(i32::MAX)).collect());
        }
        IdValues::I64(values.into_iter().map(i64::from).collect())
    }
}
