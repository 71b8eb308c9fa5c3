//! Sequences to the padded tensors of one run, each `[rows, length]`.

use ort::{session::SessionInputValue, value::Tensor};

use super::{
    inputs::{Bound, Role},
    model::GenericModel,
};
use crate::item::Sequence;

/// Shape of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Rows, those that only fill up a fixed batch included.
    pub(super) rows: usize,
    /// Every row's length, padding included.
    pub(super) length: usize,
}

impl GenericModel {
    /// Shape of the run that holds `sequences`.
    pub(super) fn shape_of(&self, sequences: &[&Sequence]) -> Shape {
        let longest = sequences.iter().map(|s| s.len()).max().unwrap_or(0);
        Shape { rows: self.inputs.rows.unwrap_or(sequences.len()), length: self.inputs.length.unwrap_or(longest) }
    }

    /// The tensors of a run, by input name.
    pub(super) fn tensors(
        &self,
        sequences: &[&Sequence],
        shape: Shape,
    ) -> ort::Result<Vec<(String, SessionInputValue<'static>)>> {
        self.inputs
            .bound
            .iter()
            .map(|input| {
                let values = self.values(input.role, sequences, shape);
                Ok((input.name.clone(), tensor(input, values, shape)?))
            })
            .collect()
    }

    /// One input's values, row-major. Rows beyond the sequences are copies of the last one.
    fn values(&self, role: Role, sequences: &[&Sequence], shape: Shape) -> Vec<u32> {
        let mut values = Vec::with_capacity(shape.rows * shape.length);
        let Some(last) = sequences.last() else { return values };
        for row in 0..shape.rows {
            let sequence = sequences.get(row).unwrap_or(last);
            values.extend((0..shape.length).map(|i| {
                let real = i < sequence.len();
                match role {
                    Role::Ids => sequence.ids.get(i).copied().unwrap_or(self.pad_id),
                    Role::Mask => u32::from(real),
                    Role::Types if real => sequence.type_id(i),
                    Role::Types => 0,
                    // Within the positions: no row is longer than the model allows.
                    Role::Positions => u32::try_from(self.first_position + i).unwrap_or(u32::MAX),
                }
            }));
        }
        values
    }
}

fn tensor(input: &Bound, values: Vec<u32>, shape: Shape) -> ort::Result<SessionInputValue<'static>> {
    let dims = [shape.rows, shape.length];
    if input.narrow {
        // Ids are below the vocabulary, which no int32 graph can have beyond 2^31.
        let values: Vec<i32> = values.into_iter().map(|v| i32::try_from(v).unwrap_or(i32::MAX)).collect();
        return Ok(Tensor::from_array((dims, values))?.into());
    }
    let values: Vec<i64> = values.into_iter().map(i64::from).collect();
    Ok(Tensor::from_array((dims, values))?.into())
}
