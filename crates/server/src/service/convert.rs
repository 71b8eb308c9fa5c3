//! Small conversions shared by the RPCs.

use sortie_engine::{Activation, EncodeOptions, Output, Problem, Task, Truncation};
use sortie_proto::v1::{self, Input};

use crate::{
    errors::{ItemRefusal, ServeError},
    pipeline::{Item, ParsedInput, TextRules},
};

/// Inputs that all follow the same rules.
pub(super) fn parse_inputs(inputs: Vec<Input>, rules: &TextRules) -> Vec<ParsedInput> {
    inputs.into_iter().map(|input| ParsedInput { input, prompt: rules.prompt.clone(), fit: rules.fit }).collect()
}

/// The rules for a text that is never cut silently: a query, a source.
pub(super) fn never_cut(fit: EncodeOptions) -> EncodeOptions {
    let truncation = match fit.truncation {
        Truncation::LongestFirst => Truncation::LongestFirst,
        Truncation::DocumentOnly | Truncation::Error => Truncation::Error,
    };
    EncodeOptions { truncation, ..fit }
}

/// The activation asked for, else the model's own.
pub(super) fn activation(asked: i32, own: Activation) -> Result<Activation, ServeError> {
    Ok(match crate::pipeline::enum_value("activation", asked)? {
        v1::Activation::Unspecified => own,
        v1::Activation::Raw => Activation::Raw,
        v1::Activation::Sigmoid => Activation::Sigmoid,
        v1::Activation::Softmax => Activation::Softmax,
    })
}

/// The activation as the contract names it.
pub(super) fn to_proto(activation: Activation) -> v1::Activation {
    match activation {
        Activation::Raw => v1::Activation::Raw,
        Activation::Sigmoid => v1::Activation::Sigmoid,
        Activation::Softmax => v1::Activation::Softmax,
    }
}

/// What the contract says a head's own activation is.
pub(super) fn own_activation(task: &Task) -> Activation {
    match task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => Activation::Raw,
        Task::SequenceClassification { problem: Problem::Regression, .. } => Activation::Raw,
        Task::SequenceClassification { problem: Problem::MultiLabel, .. } => Activation::Sigmoid,
        Task::SequenceClassification { .. } | Task::TokenClassification { .. } => Activation::Softmax,
        _ => Activation::Raw,
    }
}

/// The vector of an item.
pub(super) fn vector(item: &Result<Item, ItemRefusal>) -> Option<&[f32]> {
    match item {
        Ok(Item { output: Output::Embedding(vector), .. }) => Some(vector),
        _ => None,
    }
}
