//! A fleet in virtual time: simulated devices, networks and faults, servers that queue and batch with the real
//! [`sortie_scheduler`] code, and clients that are the real [`sortie_dispatch`] code, line for line what runs under
//! gRPC.
//!
//! | module | part |
//! |---|---|
//! | `clock` | the event heap |
//! | `scenario` | what is simulated |
//! | `job_generator` | jobs and when they come |
//! | `random` | everything else that is random |
//! | `chunk` | what travels between clients and servers |
//! | `server` | the real queue before a device of `T = a + b · tokens` |
//! | `client` | clients: dispatch, and what others do |
//! | `world` | the events between them |
//! | `outcome`, `job_log` | what came of a run, and of each of its jobs |
//!
//! Invariant: a run depends on its [`Scenario`] alone, seed included.

mod chunk;
mod client;
mod clock;
mod job_generator;
mod job_log;
mod outcome;
mod random;
mod scenario;
mod server;
mod world;

pub use clock::Clock;
pub use job_log::FinishedJob;
pub use outcome::{Interval, RunOutcome, SLICE, ServerStats};
pub use scenario::{
    DEFAULT_BUDGET, DEFAULT_DEADLINE, DEFAULT_FIXED_CHUNKS, DEFAULT_ITEMS, DEFAULT_JOB_TOKENS, DEFAULT_NETWORK_TAIL,
    DEFAULT_NOISE, DEFAULT_ONE_WAY, DEFAULT_RESERVE, JobSizes, Network, Scenario, ScenarioError, Surge,
};
pub use world::run;
