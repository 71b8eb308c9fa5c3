//! The scheduler over a backend that shows each batch to the test, which says how it ends. No sleeps, and a clock that
//! stands still until the test moves it: on one that goes, the next batch is sealed when the running one should be
//! over.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the script and its rig are test code")]

mod batches;
mod faults;
mod life;
mod rig;
