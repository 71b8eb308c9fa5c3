//! What is known of a model once its folder is read.

use crate::{item::EmbedSpec, task::Task};

/// What is known of a model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// `model_type` of its config.
    pub model_type: String,
    /// First of its `architectures`.
    pub architecture: String,
    /// What it was made for.
    pub task: Task,
    /// Longest sequence in tokens, specials included.
    pub max_length: usize,
    /// Entries in its vocabulary.
    pub vocab_size: usize,
    /// Numbers in its vectors; 0 where it makes none.
    pub dimensions: usize,
    /// How its vectors are finished by default.
    pub embed: EmbedSpec,
    /// Prompts the folder names, in name order.
    pub prompts: Vec<(String, String)>,
    /// The prompt used when a caller names none.
    pub default_prompt: Option<String>,
    /// Weights of its layers, embedding tables not counted; `None` for an export, whose graph does not say.
    pub layer_parameters: Option<u64>,
    /// Digest of the files it is served from (hex).
    pub revision: String,
    /// `native` or `onnx`.
    pub engine: &'static str,
    /// Number format of the weights on the device.
    pub precision: &'static str,
    /// Device it runs on.
    pub device: String,
}
