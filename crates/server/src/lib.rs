//! The Sortie model server: encoder models behind gRPC.
//!
//! [`config::read`] makes a [`ServerConfig`] of flags, environment and file;
//! [`run`] loads its models and serves them; [`serve`] does the same on a
//! listener that is bound already, as tests want it. `docs/errors.md` lists every
//! refusal.
//!
//! ```text
//! frontend (connection → key, context, deadline, permits, trailers) → service/* → pipeline → scheduler → engine
//! ```

#![forbid(unsafe_code)]

pub mod config;

mod admin;
mod backend;
mod backing;
pub mod doctor;
mod hub;
pub mod inspect;
mod item_refusal;
mod metrics;
mod model_manager;
mod models;
mod pipeline;
mod serve;
mod service;
pub mod tei;
mod token_vectors;
mod tokenizing;
mod vector_memory;
mod vectors;

pub use config::ServerConfig;
pub use hub::HubError;
pub use models::StartupError;
pub use serve::{ServerExit, run, serve};
