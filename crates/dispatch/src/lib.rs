//! The client's brain, without sockets and without a clock: how a job is cut, where
//! its chunks go, what is tried again.
//!
//! Events and the time they happened at go in; decisions come out. The same code
//! runs under a real transport and in virtual time.
//!
//! | module | question |
//! |---|---|
//! | `cost`, `prior` | how long do so many tokens take on this server? |
//! | `estimate` | how many tokens has this text? |
//! | `load` | how loaded is the fleet? |
//! | `plan` | into how many chunks, and which items in each? |
//! | `place` | which server? |
//! | `latency` | when is an attempt late? |
//! | `reach`, `suspect`, `eject` | is that server to be picked at all? |
//! | `budget` | may this be tried again? |
//! | `subset` | which servers of a very large fleet at all? |
//! | `job` | what happens next? |
//! | `fleet`, `endpoint` | what do all jobs know together? |
//! | `config` | which numbers steer it all, and why those? |

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod action;
mod budget;
pub mod config;
mod cost;
mod eject;
mod endpoint;
mod estimate;
mod event;
mod fleet;
mod job;
mod latency;
mod load;
mod options;
mod place;
mod plan;
mod prior;
mod reach;
mod report;
pub mod subset;
mod suspect;
mod time;

pub use action::{
    Action, CancelReason, Coverage, FailReason, FleetAction, Kind, Missing, PlaceReason, ProbePurpose, Send, Withheld,
};
pub use config::{Config, ConfigError};
pub use cost::{Batch, Cost};
pub use event::{Answer, AttemptId, Event, Failure, FleetEvent, ProbeId, Pushback, Texts};
pub use fleet::{Counters, EndpointId, EndpointStats, Fleet, ModelId, Work};
pub use job::Job;
pub use options::{JobOptions, Join, Lane};
pub use place::Candidate;
pub use plan::{Chunk, Draft, Item, Outlook, Plan, PlanReason, Shared, plan};
pub use report::{Limits, Report};
pub use time::Time;
