//! The client's brain, without sockets and without a clock: how a job is cut, where
//! its chunks go, what is tried again.
//!
//! Events and the time they happened at go in; decisions come out. The same code
//! runs under a real transport and in virtual time.
//!
//! # For who drives it
//!
//! A driver has the sockets and the clock. It keeps one [`Fleet`] for all jobs, behind one
//! lock, and one [`Job`] a call.
//!
//! 1. **Servers.** [`Fleet::add`] gives one that joins its number. It counts as ready, so
//!    [`Fleet::handle`] follows under the same lock: with [`FleetEvent::Tick`], or with
//!    [`FleetEvent::Disconnected`] where its connection is still to be made. Then `Connected`,
//!    `Disconnected` and `Removed` as they happen.
//! 2. **A job.** [`Fleet::plan`] cuts it, [`Job::new`] takes the plan, and [`Event::Start`] is the
//!    first event for [`Job::handle`].
//! 3. **Actions of a job** ([`Action`]) are carried out in the order they come. `Send` and `Probe`
//!    start a call whose end is an event of this job. `Cancel` drops one, of which no event is
//!    expected. `WakeAt` sets the job's one timer, in place of the one before; when it ends,
//!    [`Event::Tick`] follows. `PollFleet` asks for [`Fleet::handle`] with [`FleetEvent::Tick`].
//!    `ChunkAnswered` says whose answer counts: the driver holds an answer until then, and drops it
//!    where the word does not come with the same [`Event::Answered`]. `Finish` or `Fail` comes last;
//!    later events change nothing.
//! 4. **Actions of the fleet** ([`FleetAction`]) come from [`Fleet::handle`] and outlive the job that
//!    led to them: the end of its `Probe` is a [`FleetEvent`], its `WakeAt` the fleet's one timer.
//! 5. **Time limits.** An attempt ends at [`SendAttempt::deadline`], as [`Failure::Deadline`]. A probe
//!    of the fleet that stays unanswered is failed by the driver after
//!    [`config::HealthConfig::probe_timeout`]. For its own probes a job waits less, by its timer; they
//!    may be dropped at the same limit, and until then a late answer still teaches the fleet.
//! 6. **The end.** Dropping a job gives the tokens of its attempts back; it says no `Cancel`s, so the
//!    driver drops the calls too.
//!
//! ```
//! use std::{collections::VecDeque, time::Duration};
//!
//! use sortie_dispatch::{
//!     Action, AnswerReport, DispatchConfig, Event, Fleet, FleetEvent, ItemSize, Job, JobOptions, Resource, SharedSize,
//!     Time,
//! };
//!
//! let now = Time::default();
//! let mut fleet = Fleet::new(DispatchConfig::default(), 0, 7);
//! let model = fleet.model("reranker", Resource::Device);
//! for _ in 0..3 {
//!     fleet.add(now);
//!     let _probes = fleet.handle(now, FleetEvent::Tick);
//! }
//! let items = vec![ItemSize { tokens: 160, work: 160, bytes: 640, answer_bytes: 4 }; 200];
//! let options = JobOptions::by(now + Duration::from_secs(1));
//! let plan = fleet.plan(model, &items, SharedSize::default(), &options, now);
//! let mut job = Job::new(model, plan, options);
//!
//! // Servers that answer at once.
//! let (mut events, mut answered) = (VecDeque::from([Event::Start]), Vec::new());
//! while let Some(event) = events.pop_front() {
//!     for action in job.handle(&mut fleet, now, event) {
//!         match action {
//!             Action::Send(send) => {
//!                 events.push_back(Event::Answered { attempt: send.attempt, answer: AnswerReport::default() });
//!             }
//!             Action::ChunkAnswered { chunk, .. } => answered.extend(job.chunk(chunk).unwrap().items.iter().copied()),
//!             Action::PollFleet => drop(fleet.handle(now, FleetEvent::Tick)),
//!             Action::Finish(coverage) => assert_eq!(coverage.items, 200),
//!             Action::Fail { reason, .. } => panic!("{reason}"),
//!             _ => {}
//!         }
//!     }
//! }
//! answered.sort_unstable();
//! assert_eq!(answered, Vec::from_iter(0..200));
//! ```
//!
//! # Modules
//!
//! | module | question |
//! |---|---|
//! | `cost`, `prior` | how long does so much work take on this server? |
//! | `utilization` | how loaded is the fleet? |
//! | `plan` | into how many chunks, and which items in each? |
//! | `place` | which server? |
//! | `latency` | when is an attempt late? |
//! | `readiness`, `suspect`, `eject` | is that server to be picked at all? |
//! | `retry_budget` | may this be hedged, or tried again? |
//! | `subset` | which servers of a very large fleet at all? |
//! | `job` | what happens next? |
//! | `fleet`, `endpoint` | what do all jobs know together? |
//! | `config` | which numbers steer it all, and why those? |

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod action;
mod backoff;
mod batch;
pub mod config;
mod cost;
mod eject;
mod endpoint;
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
mod utilization;

pub use action::{
    Action, AttemptKind, CancelReason, Coverage, FailReason, FleetAction, HedgeSkipped, Missing, PlaceReason,
    ProbePurpose, SendAttempt,
};
pub use backoff::Backoff;
pub use batch::BatchSample;
pub use config::{DispatchConfig, DispatchConfigError};
pub use event::{AnswerReport, Event, Failure, FleetEvent, Pushback, Texts};
pub use fleet::{DispatchCounters, EndpointSnapshot, Fleet, Resource};
pub use ids::{AttemptId, ProbeId};
pub use ids::{EndpointId, ModelId};
pub use job::Job;
pub use options::{JobOptions, Join};
pub use place::Candidate;
pub use plan::{Chunk, DeferredPlan, FleetView, ItemSize, Plan, PlanReason, SharedSize, plan};
pub use report::{Limits, LoadReport};
pub use sortie_work::{Amount, Cost, Lane, TextSize, WorkCurve};
pub use time::Time;
