//! Small conversions shared by the RPCs.

use sortie_engine::{Activation, EncodeOptions, Output, Role, Truncation};
use sortie_frontend::ServeError;
use sortie_proto::v1::{self, Input};

use crate::{
    item_refusal::ItemRefusal,
    models::Served,
    pipeline::{Item, ParsedInput, TextRules, WindowRule},
};

/// Inputs that all follow the same rules.
pub(super) fn parse_inputs(inputs: Vec<Input>, rules: &TextRules) -> Vec<ParsedInput> {
    let parsed = |input| ParsedInput { input, prompt: rules.prompt.clone(), fit: rules.fit, stride: None };
    inputs.into_iter().map(parsed).collect()
}

/// The same inputs, read in windows where those were asked for.
pub(super) fn in_windows(inputs: Vec<ParsedInput>, windows: Option<WindowRule>) -> Vec<ParsedInput> {
    let stride = windows.map(|windows| windows.stride);
    inputs.into_iter().map(|input| ParsedInput { stride, ..input }).collect()
}

/// The rules for a text that is never cut silently: a query, a source.
pub(super) fn never_cut(fit: EncodeOptions) -> EncodeOptions {
    let truncation = match fit.truncation {
        Truncation::LongestFirst => Truncation::LongestFirst,
        Truncation::DocumentOnly | Truncation::Error => Truncation::Error,
    };
    EncodeOptions { truncation, ..fit }
}

/// The rules of the one text and of the many that it is compared with.
pub(super) fn two_sides(served: &Served, rules: &TextRules) -> (TextRules, TextRules) {
    let info = served.info();
    let (one, many) = match rules.fit.role {
        None if info.reads_roles => (Some(Role::Query), Some(Role::Document)),
        None => (None, None),
        Some(Role::Query) => (Some(Role::Query), Some(Role::Document)),
        Some(Role::Document) => (Some(Role::Document), Some(Role::Document)),
    };
    (rules.of_role(one, info), rules.of_role(many, info))
}

/// The activation asked for, else `own`.
pub(super) fn activation(served: &Served, asked: i32, own: Activation) -> Result<Activation, ServeError> {
    Ok(match crate::pipeline::enum_value("activation", asked)? {
        v1::Activation::Unspecified => own,
        v1::Activation::Model => folders_activation(served)?,
        v1::Activation::Raw => Activation::Raw,
        v1::Activation::Sigmoid => Activation::Sigmoid,
        v1::Activation::Softmax => Activation::Softmax,
    })
}

/// The activation that the folder names.
fn folders_activation(served: &Served) -> Result<Activation, ServeError> {
    let refused = |why: String| ServeError::NoModelActivation { model: served.name.clone(), why };
    let Some(named) = &served.info().activation else {
        return Err(refused("its folder names none; only scores of texts have one".to_owned()));
    };
    named.activation.ok_or_else(|| refused(format!("what its folder names is not served ({})", named.source)))
}

/// The vector of an item.
pub(super) fn vector(item: &Result<Item, ItemRefusal>) -> Option<&[f32]> {
    match item {
        Ok(Item { output: Output::Embedding(vector), .. }) => Some(vector),
        _ => None,
    }
}
