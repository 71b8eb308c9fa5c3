//! The settings of the server: those of [`sortie_frontend`], flattened, and its own. A field is a key of the file, a flag (with
//! dashes) and a variable (`SORTIE_` and upper case); its default is in
//! [`defaults`], its row in `docs/configuration.md`, what it may be in
//! `config/validate.rs`.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};

use sortie_frontend::config::{ConfigDuration, FrontendConfig};

use super::{ModelSpec, defaults};

/// Everything that can be set. Field names are the keys of the file, the flags (with dashes) and
/// the environment (`SORTIE_` and upper case).
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerConfig {
    /// What every process that listens has.
    #[command(flatten)]
    #[serde(flatten)]
    pub frontend: FrontendConfig,
    /// Let the admin port load, swap and unload models
    #[arg(long, env = "SORTIE_ADMIN_MODELS", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub admin_models: bool,
    /// File of `name:key` lines: whoever changes models over the admin port must show one of the keys
    #[arg(long, env = "SORTIE_ADMIN_KEYS", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_keys: Option<PathBuf>,
    /// Devices to run on: cpu, cuda:N, several separated by commas, or cuda:all
    #[arg(long, env = "SORTIE_DEVICE")]
    pub device: String,
    /// Number format of native models: default (f16 on GPUs, f32 on processors), f32, bf16, auto; on GPUs f16; on processors bf16x3, int8
    #[arg(long, env = "SORTIE_PRECISION", value_name = "FORMAT")]
    pub precision: String,
    /// Most MiB of a GPU's memory for each model's work; 0 is all there is
    #[arg(long, env = "SORTIE_GPU_MEMORY_MIB", value_name = "MIB")]
    pub gpu_memory_mib: u64,
    /// Run small batches on GPUs by CUDA graphs, captured at start-up
    #[arg(long, env = "SORTIE_CUDA_GRAPHS", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub cuda_graphs: bool,
    /// GELU of native f16 models on GPUs: fused (inside the product, by tanh, corrected) or exact
    #[arg(long, env = "SORTIE_GELU", value_name = "HOW")]
    pub gelu: String,
    /// Threads ONNX Runtime uses inside one batch, per model; 0 is one a core
    #[arg(long, env = "SORTIE_THREADS", value_name = "N")]
    pub threads: usize,
    /// Threads that tokenize; 0 is one a core
    #[arg(long, env = "SORTIE_TOKENIZE_THREADS", value_name = "N")]
    pub tokenize_threads: usize,
    /// The ONNX Runtime library; without it ORT_DYLIB_PATH and the usual places are tried
    #[arg(long, env = "SORTIE_ORT_LIBRARY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ort_library: Option<PathBuf>,
    /// Tokens in one batch on the device; 0 is 1,024 on processors and 16,384 on GPUs, 32,768 there for small models
    #[arg(long, env = "SORTIE_MAX_BATCH_TOKENS", value_name = "N")]
    pub max_batch_tokens: u32,
    /// Tokens that may wait in a model's queue
    #[arg(long, env = "SORTIE_MAX_QUEUE_TOKENS", value_name = "N")]
    pub max_queue_tokens: u64,
    /// Longest estimated wait that a request is taken with, with or without a deadline; a queue that stands is held
    /// shorter
    #[arg(long, env = "SORTIE_MAX_QUEUE_WAIT", value_name = "TIME")]
    pub max_queue_wait: ConfigDuration,
    /// Items in one request
    #[arg(long, env = "SORTIE_MAX_ITEMS", value_name = "N")]
    pub max_items: u32,
    /// Bytes of the token vectors that all requests bring along, once they are read as f32
    #[arg(long, env = "SORTIE_MAX_VECTOR_BYTES", value_name = "N")]
    pub max_vector_bytes: u64,
    /// Bytes of one text
    #[arg(long, env = "SORTIE_MAX_TEXT_BYTES", value_name = "N")]
    pub max_text_bytes: u64,
    /// Run a few batches of each model before serving
    #[arg(long, env = "SORTIE_WARM_UP", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub warm_up: bool,
    /// A model to serve: `[name=]source[,max_length=N][,pooling=NAME][,prefer_onnx=BOOL][,onnx_file=FILE]`,
    /// where source is a folder or `org/repo[@revision]` on the model hub. Repeat it for more; in the
    /// environment separate them by semicolons
    #[arg(long = "model", env = "SORTIE_MODELS", value_name = "MODEL", value_delimiter = ';')]
    #[serde(rename = "model")]
    pub models: Vec<ModelSpec>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            frontend: FrontendConfig::default(),
            admin_models: defaults::ADMIN_MODELS,
            admin_keys: None,
            device: defaults::DEVICE.to_owned(),
            precision: defaults::PRECISION.to_owned(),
            gpu_memory_mib: defaults::GPU_MEMORY_MIB,
            cuda_graphs: defaults::CUDA_GRAPHS,
            gelu: defaults::GELU.to_owned(),
            threads: defaults::THREADS,
            tokenize_threads: defaults::TOKENIZE_THREADS,
            ort_library: None,
            max_batch_tokens: defaults::MAX_BATCH_TOKENS,
            max_queue_tokens: defaults::MAX_QUEUE_TOKENS,
            max_queue_wait: defaults::MAX_QUEUE_WAIT,
            max_items: defaults::MAX_ITEMS,
            max_vector_bytes: defaults::MAX_VECTOR_BYTES,
            max_text_bytes: defaults::MAX_TEXT_BYTES,
            warm_up: defaults::WARM_UP,
            models: Vec::new(),
        }
    }
}
