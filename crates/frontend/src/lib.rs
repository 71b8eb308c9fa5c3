//! What every process of Sortie that listens has in common: connections and their limits, TLS, keys, the layer around
//! requests, health, reflection, the admin port, metrics, traces, logs, signals, and the settings of these.
//!
//! ```text
//! connection → [HTTP dialects →] layer (key, context, deadline, permits, trailers) → services of the program
//! ```
//! [`Frontend`] holds it together; what answers requests is behind [`Backing`]. The server and the gateway stand on it.
//! `docs/errors.md` lists every refusal.

#![forbid(unsafe_code)]

pub mod admin;
mod asked_model;
mod auth;
mod backing;
mod body_timeout;
pub mod config;
mod connection;
mod context;
mod deadline;
mod errors;
mod health;
mod http;
mod layer;
mod load_reports;
mod logs;
mod memory;
mod metadata;
pub mod metrics;
mod open_files;
mod page;
mod panics;
mod phase;
mod process;
pub mod program;
mod protocol;
mod reflection;
mod reload;
mod request_record;
mod signals;
mod tls;
mod traces;
mod trailers;

pub use asked_model::AskedModel;
pub use auth::Keys;
pub use backing::Backing;
pub use context::RequestContext;
pub use errors::{DOMAIN, ServeError};
pub use health::{LIVENESS, READINESS, ServerHealth};
pub use layer::{RequestLayer, RequestService};
pub use metadata::CallerInfo;
pub use process::{BoundAddress, Frontend, FrontendError, Services, Stack};
pub use reload::{FileError, NamedFile, Reloaded};
pub use traces::Stages;
