//! Which input of a graph is which, by name.
//!
//! | role | names | value |
//! | --- | --- | --- |
//! | ids | `input_ids`, `input`, `ids`, `token_ids`, `tokens` | vocabulary ids, the pad id on padding |
//! | mask | `attention_mask`, `mask`, `input_mask` | 1, and 0 on padding |
//! | types | `token_type_ids`, `segment_ids`, `token_types` | segments, 0 on padding |
//! | positions | `position_ids`, `positions` | offset, offset + 1, … |
//!
//! Each is `[batch, sequence]`, int64 or int32 as the graph declares.

use std::path::Path;

use super::{
    port::{ElementType, InputRole},
    signature::Signature,
};
use crate::error::LoadError;

/// One input that is given at every run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputBinding {
    /// Its name in the graph.
    pub(crate) name: String,
    /// What goes in.
    pub(crate) role: InputRole,
    /// int32 instead of int64.
    pub(crate) narrow: bool,
}

/// All inputs of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// In the graph's order.
    pub(crate) bound: Vec<InputBinding>,
    /// Whether padding can be told from text.
    pub(crate) has_mask: bool,
    /// Rows a run must have, where the graph fixes them.
    pub(crate) rows: Option<usize>,
    /// Length every sequence is padded to, where the graph fixes it.
    pub(crate) length: Option<usize>,
}

impl Inputs {
    /// Matches the inputs of a graph.
    ///
    /// # Errors
    /// When one is unknown (the error names it), of another type or shape than
    /// `[batch, sequence]` integers, or no input takes ids.
    pub(crate) fn bind(signature: &Signature, path: &Path) -> Result<Self, LoadError> {
        let mut inputs = Self { bound: Vec::new(), has_mask: false, rows: None, length: None };
        for port in &signature.inputs {
            let refuse = |why: &str| Err(LoadError::unsupported(path, format!("input {:?} {why}", port.name)));
            let Some(role) = port.role() else {
                return refuse("is not one that is served: ids, attention mask, token types and positions are");
            };
            if inputs.bound.iter().any(|b| b.role == role) {
                return refuse("means the same as another input");
            }
            let narrow = match port.elem {
                ElementType::I64 => false,
                ElementType::I32 => true,
                _ => return refuse("is neither int64 nor int32"),
            };
            if port.rank().is_some_and(|r| r != 2) {
                return refuse("is not of the shape [batch, sequence]");
            }
            inputs.rows = inputs.rows.or(port.dim(0));
            inputs.length = inputs.length.or(port.dim(1));
            inputs.has_mask |= role == InputRole::Mask;
            inputs.bound.push(InputBinding { name: port.name.clone(), role, narrow });
        }
        if !inputs.bound.iter().any(|b| b.role == InputRole::Ids) {
            return Err(LoadError::unsupported(path, "no input takes token ids (input_ids)"));
        }
        Ok(inputs)
    }

    /// True where only sequences of one length may ride together: padding would
    /// be read as text.
    pub(crate) fn equal_lengths_only(&self) -> bool {
        !self.has_mask && self.length.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generic::port::Port;

    fn port(name: &str, elem: ElementType, dims: &[Option<usize>]) -> Port {
        Port { name: name.to_owned(), elem, dims: Some(dims.to_vec()), made_by: String::new() }
    }

    fn bind(inputs: Vec<Port>) -> Result<Inputs, LoadError> {
        let signature = Signature { inputs, outputs: Vec::new(), vocab: None, positions: None, scales_by_run: false };
        Inputs::bind(&signature, Path::new("m.onnx"))
    }

    #[test]
    fn inputs_are_known_by_many_names() {
        let free = [None, None];
        let got = bind(vec![
            port("serving_default_input_ids:0", ElementType::I32, &free),
            port("encoder/Mask", ElementType::I64, &free),
            port("segment_ids", ElementType::I64, &free),
            port("position_ids", ElementType::I64, &free),
        ])
        .unwrap();
        let roles: Vec<_> = got.bound.iter().map(|b| (b.role, b.narrow)).collect();
        assert_eq!(
            roles,
            [
                (InputRole::Ids, true),
                (InputRole::Mask, false),
                (InputRole::Types, false),
                (InputRole::Positions, false)
            ]
        );
        assert!(got.has_mask && !got.equal_lengths_only());
    }

    #[test]
    fn fixed_sizes_are_kept() {
        let got = bind(vec![port("ids", ElementType::I64, &[Some(1), Some(128)])]).unwrap();
        assert_eq!((got.rows, got.length, got.has_mask), (Some(1), Some(128), false));
        assert!(!got.equal_lengths_only(), "the graph was made for padding of its own");
    }

    #[test]
    fn what_cannot_be_given_is_named() {
        let free = [None, None];
        let ids = || port("input_ids", ElementType::I64, &free);
        for (inputs, want) in [
            (vec![ids(), port("pixel_values", ElementType::F32, &[None])], "\"pixel_values\""),
            (vec![port("input_ids", ElementType::F32, &free)], "int64"),
            (vec![port("input_ids", ElementType::I64, &[None])], "[batch, sequence]"),
            (vec![ids(), port("ids", ElementType::I64, &free)], "the same"),
            (vec![port("attention_mask", ElementType::I64, &free)], "token ids"),
        ] {
            let message = bind(inputs).unwrap_err().to_string();
            assert!(message.contains(want), "{message}");
        }
    }
}
