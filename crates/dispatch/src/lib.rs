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
//! | `utilization` | how loaded is the fleet? |
//! | `plan` | into how many chunks, and which items in each? |
//! | `place` | which server? |
//! | `latency` | when is an attempt late? |
//! | `readiness`, `suspect`, `eject` | is that server to be picked at all? |
//! | `retry_budget` | may this be tried again? |
//! | `subset` | which servers of a very large fleet at all? |
//! | `job` | what happens next? |
//! | `fleet`, `endpoint` | what do all jobs know together? |
//! | `config` | which numbers steer it all, and why those? |

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod action;
mod backoff;
pub mod config;
mod cost;
mod eject;
mod endpoint;
mod estimate;
mod event;
mod fleet;
mod ids;
mod job;
mod latency;
mod options;
mod place;
mod plan;
mod prior;
mod readiness;
mod report;
mod retry_budget;
pub mod subset;
mod suspect;
mod time;
mod units;
mod utilization;

pub use action::{
    Action, AttemptKind, CancelReason, Coverage, FailReason, FleetAction, HedgeSkipped, Missing, PlaceReason,
    ProbePurpose, SendAttempt,
};
pub use backoff::Backoff;
pub use config::{DispatchConfig, DispatchConfigError};
pub use estimate::WindowedText;
pub use event::{AnswerReport, Event, Failure, FleetEvent, Pushback, Texts};
pub use fleet::{DispatchCounters, EndpointSnapshot, Fleet, Resource};
pub use ids::{AttemptId, ProbeId};
pub use ids::{EndpointId, ModelId};
pub use job::Job;
pub use options::{JobOptions, Join, Lane};
pub use place::Candidate;
pub use plan::{Chunk, DeferredPlan, FleetView, ItemSize, Plan, PlanReason, SharedSize, plan};
pub use report::{Limits, LoadReport};
pub use time::Time;
pub use units::{BatchSample, Cost};
