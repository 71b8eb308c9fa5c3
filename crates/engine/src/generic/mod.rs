//! The generic path: whatever encoder somebody exported to ONNX.
//!
//! ```text
//! folder ─find─► model.onnx ─GraphFacts::read─► names, types, shapes
//!    └ config.json … ──────────► GenericModel::open ─GenericExecutor::new─► session
//! run(items) ─ check ─ plan ─ padded tensors ─ session ─ unpad, pool, finish
//! ```
//!
//! Inputs are matched by name ([`inputs`]), the output by task, name and shape
//! ([`outputs`]). Items are sorted by length and cut into padded batches
//! ([`batches`]); the mask keeps padding out of attention and only real tokens are
//! read back, so padding never reaches a number that leaves. A graph without a mask
//! runs in groups of one length. On a GPU inputs and output are bound ([`bound`]) and token
//! states are pooled there ([`pool`]). Quantised graphs and `com.microsoft` operators
//! are ONNX Runtime's business and need nothing here.

mod batches;
mod bound;
mod executor;
mod facts;
mod header;
mod host;
mod inputs;
mod locate;
mod model;
mod outputs;
mod pad;
mod pool;
mod read;
mod tensors;

pub(crate) use executor::GenericExecutor;
pub(crate) use host::{GenericBatch, GenericHost, GenericRaw};
pub(crate) use locate::find;
pub(crate) use model::GenericModel;

#[cfg(test)]
mod tests;
