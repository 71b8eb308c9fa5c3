//! The Sortie model server: encoder models behind gRPC.
//!
//! [`config::read`] makes a [`ServerConfig`] of flags, environment and file;
//! [`run`] loads its models and serves them; [`serve`] does the same on a
//! listener that is bound already, as tests want it. `docs/errors.md` lists every
//! refusal.
//!
//! ```text
//! connection → layer (key, context, deadline, permits, trailers) → service/* → pipeline → scheduler → engine
//! ```

#![forbid(unsafe_code)]

pub mod config;

mod admin;
mod auth;
mod backend;
mod body_timeout;
mod connection;
mod context;
mod deadline;
pub mod doctor;
mod errors;
mod health;
mod hub;
pub mod inspect;
mod layer;
mod logs;
mod memory;
mod metadata;
mod metrics;
mod model_manager;
mod models;
mod open_files;
mod panics;
mod phase;
mod pipeline;
mod reflection;
mod reload;
mod request_record;
mod serve;
mod service;
mod signals;
mod tls;
mod token_vectors;
mod tokenizing;
mod traces;
mod trailers;
mod vector_memory;
mod vectors;

pub use config::ServerConfig;
pub use errors::{DOMAIN, ServeError};
pub use health::{LIVENESS, READINESS};
pub use hub::HubError;
pub use logs::{LogError, init as init_logs};
pub use models::StartupError;
pub use reload::FileError;
pub use serve::{ServerExit, run, serve};
pub use signals::Signals;
