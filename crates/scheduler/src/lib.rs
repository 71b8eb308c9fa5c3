//! Token-budget queue and batch former over any [`Backend`].
//!
//! The unit of work is the *token*. A caller first [admits](Scheduler::admit) an
//! estimate, then submits a *part* (a list of units) whole or piece by piece, and
//! awaits its [`Ticket`]. One queue feeds one or more devices; each batch is sealed
//! as late as can be, from what waits at that moment, and prepared while the device
//! still runs the one before.
//!
//! [`Core`] is all of the queue without threads or clock; [`Scheduler`] is its
//! shell of threads. The rules are in `docs/scheduling.md`.
//!
//! Invariants: every admitted part is answered exactly once, fails as a whole, or
//! is cancelled; no unit of a cancelled or expired part enters a batch; a batch
//! never exceeds its token budget unless it is one single unit; no part waits for ever.

mod admission;
mod backend;
mod cell;
mod config;
mod core;
mod counters;
mod load;
mod part;
mod quarantine;
mod request;
mod scheduler;
mod shared;
mod stage;
mod ticket;

pub use admission::{Admission, Feed};
pub use backend::{Backend, Fault, Host, Item, Output, Outputs, Prepared, Raw, RunError};
pub use config::{
    ConfigError, DEFAULT_MAX_BATCH_TOKENS, DEFAULT_MAX_PARTS, DEFAULT_MAX_QUEUE_TOKENS, DEFAULT_MAX_QUEUE_WAIT,
    SchedulerConfig,
};
pub use core::{
    At, Core, Cost, DEFAULT_BATCH_COST, DEFAULT_KNEE_TOKENS, DEFAULT_TOKEN_COST, Gone, PartId, Polled, Ran, Taken, Turn,
};
pub use counters::Counts;
pub use load::LoadSnapshot;
pub use request::{Lane, Priority, Refusal, Request, Tenant, Unit};
pub use scheduler::{Scheduler, StartError};
pub use shared::Health;
pub use ticket::{Answer, BatchRecord, PartError, PartResult, Ticket};
