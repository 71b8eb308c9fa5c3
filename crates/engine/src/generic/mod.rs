//! The generic path: whatever encoder somebody exported to ONNX.
//!
//! ```text
//! folder ─find─► model.onnx ─Signature::read─► names, types, shapes
//!    └ config.json … ──────────► GenericModel::open ─GenericExecutor::new─► session
//! run(items) ─ check ─ plan ─ padded tensors ─ session ─ unpad, pool, finish
//! ```
//!
//! Inputs are matched by name ([`inputs`]), the output by task, name and shape
//! ([`outputs`]). Items are sorted by length and cut into padded batches
//! ([`batches`]); the mask keeps padding out of attention and only real tokens are
//! read back, so padding never reaches a number that leaves. A graph without a mask
//! runs in groups of one length. On a GPU inputs and output are bound ([`bound_runs`]) and token
//! states are pooled there ([`device_pooling`]). Quantised graphs and `com.microsoft` operators
//! are ONNX Runtime's business and need nothing here.

mod answers;
mod batches;
mod bound_runs;
mod device_pooling;
mod executor;
mod header;
mod host;
mod inputs;
mod locate;
mod model;
mod outputs;
mod pad;
mod port;
mod signature;
mod tensors;

pub(crate) use executor::GenericExecutor;
pub(crate) use host::{GenericBatch, GenericHost, GenericRaw};
pub(crate) use locate::find;
pub(crate) use model::GenericModel;

#[cfg(test)]
mod tests;
