//! A fleet in virtual time: simulated servers and networks, and clients that are
//! the real [`sortie_dispatch`] code, line for line what runs under gRPC.
//!
//! | module | part |
//! |---|---|
//! | `clock` | the event heap |
//! | `scenario` | what is simulated |
//! | `load` | jobs and when they come |
//! | `server` | batches of `T = a + b · tokens` and the queue before them |
//! | `client` | a client's fleet and its jobs under way |
//! | `world` | the events between them |
//! | `stats` | latencies by rank |
//!
//! Invariant: a run depends on its [`Scenario`] alone, seed included.

#![forbid(unsafe_code)]

mod client;
mod clock;
mod load;
mod scenario;
mod server;
mod stats;
mod world;

pub use clock::Clock;
pub use scenario::{Scenario, ScenarioError, Strategy};
pub use server::{Part, Server};
pub use stats::Latencies;
pub use world::{Outcome, run};
