//! The Sortie model server: encoder models behind gRPC.
//!
//! [`config::read`] makes a [`Config`] of flags, environment and file;
//! [`run`] loads its models and serves them; [`serve`] does the same on a
//! listener that is bound already, as tests want it. `docs/errors.md` lists every
//! refusal.
//!
//! ```text
//! layer (context, deadline, places, trailers) → service/* → pipeline → scheduler → engine
//! ```

#![forbid(unsafe_code)]

pub mod config;

mod backend;
mod context;
mod deadline;
mod errors;
mod health;
mod hub;
mod layer;
mod logs;
mod metadata;
mod models;
mod pipeline;
mod ranking;
mod reflection;
mod serve;
mod service;
mod signals;
mod spans;
mod trailers;
mod vectors;

pub use config::Config;
pub use errors::{DOMAIN, ServeError};
pub use health::{LIVENESS, READINESS};
pub use hub::HubError;
pub use logs::{LogError, init as init_logs};
pub use models::{Registry, StartupError};
pub use serve::{RunError, run, serve};
pub use signals::Signals;
