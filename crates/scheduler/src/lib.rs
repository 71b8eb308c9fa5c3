//! Token-budget queue and batch former over any [`Backend`].
//!
//! The unit of work is the *token*. A caller first [admits](Scheduler::admit) an
//! estimate, then submits a *part* (a list of units), and awaits its [`Ticket`].
//! One owner thread makes, runs and drops the backend; each time the backend
//! frees it forms the next batch from what waits at that moment.
//!
//! Invariants: every submitted unit is answered exactly once or its part fails
//! as a whole; no unit of a cancelled or expired part reaches the backend; a
//! batch never exceeds its token budget unless it is one single unit; no part
//! waits for ever.

mod admission;
mod backend;
mod config;
mod cost;
mod former;
mod load;
mod owner;
mod progress;
mod queue;
mod scheduler;
mod shared;
mod ticket;

pub use admission::{Admission, Lane, Priority, Refusal, Unit};
pub use backend::Backend;
pub use config::{ConfigError, DEFAULT_MAX_BATCH_TOKENS, DEFAULT_MAX_QUEUE_TOKENS, SchedulerConfig};
pub use cost::{DEFAULT_BATCH_COST, DEFAULT_KNEE_TOKENS, DEFAULT_TOKEN_COST};
pub use load::LoadSnapshot;
pub use scheduler::{Scheduler, StartError};
pub use ticket::{BatchRecord, PartError, PartResult, Ticket};
