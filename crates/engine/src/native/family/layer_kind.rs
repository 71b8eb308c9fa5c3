//! Which layers see all and which a window, by `layer_types`.

use serde_json::Value;

use super::FamilySource;
use crate::error::LoadError;

/// Kinds of layers in `layer_types`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerKind {
    Full,
    Sliding,
}

impl LayerKind {
    /// The kinds that `layer_types` names, one a layer.
    pub(super) fn named(source: &FamilySource<'_>, names: &[String], layers: usize) -> Result<Vec<Self>, LoadError> {
        if names.len() != layers {
            let why = format!("layer_types names {} layers, num_hidden_layers is {layers}", names.len());
            return Err(LoadError::invalid(source.keys.path(), why));
        }
        let kind = |name: &String| match name.as_str() {
            "full_attention" => Ok(Self::Full),
            "sliding_attention" => Ok(Self::Sliding),
            other => {
                Err(source.keys.refused("layer_types", &Value::from(other), "full_attention and sliding_attention are"))
            }
        };
        names.iter().map(kind).collect()
    }
}
