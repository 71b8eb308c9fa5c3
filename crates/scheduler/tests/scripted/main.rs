//! The scheduler over a backend that shows each batch to the test, which says how it ends. No sleeps.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the script and its rig are test code")]

mod batches;
mod faults;
mod life;
mod rig;
