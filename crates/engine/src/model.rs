//! A model as its files describe it, before any device is touched.

use std::{
    path::PathBuf,
    sync::Arc,
};

use crate::{
    error::LoadError,
    generic::GenericModel,
    item::EmbedSpec,
    native::NativeModel,
    runtime::Runtime,
    task::{Pooling, Task},
    tokenize::Tokenizer,
};

/// What a caller may set when opening a model.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The loaded ONNX Runtime library; `None` finds it (see [`Runtime::find`]).
    pub runtime: Option<Runtime>,
    /// Threads ONNX Runtime may use inside one run; `None` means one a core.
    pub threads: Option<usize>,
    /// Longest sequence in tokens instead of the folder's, up to the positions the model has.
    pub max_length: Option<usize>,
    /// Pooling instead of the folder's.
    pub pooling: Option<Pooling>,
    /// Take the folder's ONNX export even where the native path would serve it.
    pub prefer_onnx: bool,
}

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
    /// Digest of the files it is served from (hex).
    pub revision: String,
    /// `native` or `onnx`.
    pub engine: &'static str,
    /// Number format of the weights on the device.
    pub precision: &'static str,
    /// Device it runs on.
    pub device: String,
}
