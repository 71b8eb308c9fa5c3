//! One door to a fleet of Sortie servers.
//!
//! A call of `sortie.v1` becomes chunks over the fleet, cut, placed and hedged by [`sortie_client`]; its answer is the
//! message that one server would have sent. `tei.v1` stands on it. [`sortie_frontend`] is what it listens with: keys, TLS, limits, health,
//! metrics and draining are those of the server.
//!
//! ```text
//! connection → [http | tei.v1 →] layer (key, context, deadline, permits, trailers) → service → sortie-client → servers
//!                                                                                      ↑
//!                                     catalog: what the fleet serves and how loaded it is, asked every second;
//!                                     cache: answers of items that were given before, where that is asked for
//! ```

#![forbid(unsafe_code)]

mod cache;
mod catalog;
pub mod config;
mod fleet;
mod metrics;
mod refusal;
mod serve;
mod service;
mod tei;

pub use config::GatewayConfig;
pub use serve::{GatewayExit, run, serve};
