//! A fleet in virtual time: simulated devices, networks and faults, servers that queue and batch with the
//! real [`sortie_scheduler`] code, and clients that are the real [`sortie_dispatch`] code, line for line
//! what runs under gRPC.
//!
//! | module | part |
//! |---|---|
//! | `clock` | the event heap |
//! | `scenario`, `fault`, `strategy` | what is simulated |
//! | `load` | jobs and when they come |
//! | `random` | everything else that is random |
//! | `server` | the real queue before a device of `T = a + b · tokens` |
//! | `client` | clients: dispatch, and what others do |
//! | `world` | the events between them |
//! | `stats`, `ended` | what came of a run, and of each of its jobs |
//! | `study` | tables of many runs |
//!
//! Invariant: a run depends on its [`Scenario`] alone, seed included.

#![forbid(unsafe_code)]

mod client;
mod clock;
mod fault;
mod job_generator;
mod job_log;
mod random;
mod scenario;
mod server;
mod stats;
mod strategy;
pub mod study;
mod world;

pub use clock::Clock;
pub use fault::{Fault, Incident, Stalls};
pub use job_log::{FinishedJob, JobEnd};
pub use scenario::{
    DEFAULT_BUDGET, DEFAULT_DEADLINE, DEFAULT_FIXED_CHUNKS, DEFAULT_ITEMS, DEFAULT_JOB_TOKENS, DEFAULT_NETWORK_TAIL,
    DEFAULT_NOISE, DEFAULT_ONE_WAY, DEFAULT_RESERVE, JobSizes, Network, Scenario, ScenarioError, Surge,
};
pub use stats::{Interval, LatencySamples, RunOutcome, SLICE, ServerStats, Spent};
pub use strategy::Strategy;
pub use world::run;
