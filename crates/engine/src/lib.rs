//! Text to ids to packed batch to outputs: encoder transformers on ONNX Runtime.
//!
//! ```text
//! folder ──Model::open──► Model ──Tokenizer──► Sequence ┐
//!                           └──Executor::new──► Executor::run(&[WorkItem]) ──► Output
//! ```
//!
//! A [`Model`] is what the files say: task, limits, tokenizer, weights. It is
//! cheap to share between threads. An [`Executor`] is a session on a device; it
//! belongs to one thread, while its [`Host`] lays batches out and reads answers on others.
//!
//! Two paths lead to a session, and tables of static embeddings need none. The *native* one writes the graph itself and
//! packs sequences end to end, so nothing is ever padded. The *generic* one runs
//! the folder's own ONNX export in length-sorted padded batches.
//!
//! This is the only crate that names `ort` or a tokenizer crate, or writes
//! `unsafe`.

mod cuda;
mod device;
mod entities;
mod error;
mod executor;
mod folder;
mod generic;
mod info;
mod inspect;
mod item;
mod lookup;
mod model;
mod native;
mod onnx;
mod open;
mod options;
mod post;
mod runtime;
mod sample;
mod spans;
mod task;
#[cfg(feature = "timed")]
mod timed;
mod tokenize;

pub use cuda::{CudaError, GpuFacts, RunFault};
pub use device::{Device, DeviceError, DeviceSet, MAX_SESSIONS, Precision};
pub use entities::{Aggregation, Entity, WordRules, entities};
pub use error::{InputError, LoadError};
pub use executor::{Executor, Host, PreparedBatch, RawOutput};
pub use folder::{Note, ScoreActivation, TRANSFORMER_CONFIGS};
pub use info::ModelInfo;
pub use inspect::{
    DefaultActivation, Inspection, LateInspection, RouteInspection, SimilarityInspection, TokenizerInspection, inspect,
};
pub use item::{EmbedSpec, ItemFault, Output, Sequence, TokenVectors, Want, WordPlace, WordPlaces, WorkItem};
pub use model::Model;
pub use native::{CapturedGraphs, native_model_types};
pub use options::{
    CudaOptions, DEFAULT_ATTENTION, DEFAULT_BIND, DEFAULT_CALIBRATE, DEFAULT_GRAPHS, DEFAULT_KERNELS, DEFAULT_PINNED,
    Gelu, LoadOptions,
};
pub use post::{
    Activation, LateSimilarity, Quantization, Ranges, activate, cosine, heaviest, late_similarity, quantize,
};
pub use runtime::{
    ArenaUse, DEFAULT_SHARE_TENTHS, NodeTime, ORT_VERSION, Runtime, library_candidates, library_candidates_for,
};
pub use sample::{SampleShape, write_sample};
pub use spans::{DEFAULT_THRESHOLD, FoundSpan, MAX_CANDIDATES, SpanRules, SpanScores, TooManyCandidates};
pub use task::{Pooling, Problem, Role, Task};
pub use tokenize::{
    EncodeOptions, LabelPrompt, MAX_LABEL_BYTES, MAX_LABELS, MAX_WINDOWS, Passage, Query, TextCounts, TokenDetail,
    TokenizedText, Tokenizer, TokenizerPath, Truncation, TruncationSide, VOCABULARIES, WindowPlan, WindowScore,
    Windows, mean_of_windows,
};
