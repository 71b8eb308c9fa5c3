//! Text to ids to packed batch to outputs: encoder transformers on ONNX Runtime.
//!
//! ```text
//! folder ──Model::open──► Model ──Tokenizer──► Sequence ┐
//!                           └──Executor::new──► Executor::run(&[WorkItem]) ──► Output
//! ```
//!
//! A [`Model`] is what the files say: task, limits, tokenizer, weights. It is
//! cheap to share between threads. An [`Executor`] is a session on a device; it
//! belongs to one thread.
//!
//! Two paths lead to a session. The *native* one writes the graph itself and
//! packs sequences end to end, so nothing is ever padded. The *generic* one runs
//! the folder's own ONNX export in length-sorted padded batches.
//!
//! This is the only crate that names `ort` or a tokenizer crate, or writes
//! `unsafe`.

mod error;
mod executor;
mod folder;
mod generic;
mod item;
mod model;
mod native;
mod onnx;
mod post;
mod runtime;
mod task;
#[cfg(feature = "timed")]
mod timed;
mod tokenize;

pub use error::{InputError, LoadError};
pub use executor::Executor;
pub use item::{EmbedSpec, ItemFault, Output, Sequence, Want, WorkItem};
pub use model::{LoadOptions, Model, ModelInfo};
pub use post::{Activation, activate, cosine};
pub use runtime::{ORT_VERSION, Runtime, library_candidates};
pub use task::{Pooling, Task};
pub use tokenize::{EncodeOptions, Query, TokenDetail, Tokenized, Tokenizer, Truncation};
