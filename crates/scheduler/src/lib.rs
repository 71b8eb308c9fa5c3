//! Token-budget queue and batch former over any [`Backend`].
//!
//! The unit of work is the *token*. A caller first [admits](Scheduler::admit) an
//! estimate, then submits a *chunk* (a list of items) whole or bit by bit, and
//! awaits its [`PendingResponse`]. One queue feeds one or more devices; each batch is sealed
//! as late as can be, from what waits at that moment, and prepared while the device
//! still runs the one before.
//!
//! [`Core`] is all of the queue without threads or clock; [`Scheduler`] is its
//! shell of threads. The rules are in `docs/scheduling.md`.
//!
//! Invariants: every admitted chunk is answered exactly once, fails as a whole, or
//! is cancelled; no item of a cancelled or expired chunk enters a batch; a batch
//! never exceeds its token budget unless it is one single item; no chunk waits for ever.

mod backend;
mod cell;
mod chunk;
mod config;
mod core;
mod counters;
mod handle;
mod load;
mod outcome;
mod quarantine;
mod request;
mod response;
mod scheduler;
mod shared;
mod stage;

pub use backend::{Backend, BatchOutputs, HostSide, ItemFaultOf, ItemOf, OutputOf, PreparedOf, RawOf, RunError};
pub use config::{
    DEFAULT_MAX_BATCH_TOKENS, DEFAULT_MAX_CHUNKS, DEFAULT_MAX_QUEUE_TOKENS, DEFAULT_MAX_QUEUE_WAIT, SchedulerConfig,
    SchedulerConfigError, StartError,
};
pub use core::{
    At, BatchItem, BatchOutcome, ChunkId, Core, DEFAULT_BATCH_COST, DEFAULT_KNEE_TOKENS, DEFAULT_TOKEN_COST,
    DeviceAction, PollResult, Removed,
};
pub use counters::Counts;
pub use handle::{Admission, ItemSink};
pub use load::LoadSnapshot;
pub use outcome::{BatchRecord, ChunkError, ChunkOutcome, ChunkResult};
pub use request::{Priority, QueuedItem, Refusal, Request, Tenant};
pub use response::PendingResponse;
pub use scheduler::Scheduler;
pub use shared::DevicesHealth;
pub use sortie_work::{Amount, Cost, Lane, WorkCurve};
