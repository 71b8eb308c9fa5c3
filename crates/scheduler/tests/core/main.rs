//! The core in virtual time: no threads, no clocks, the same numbers every run.
#![expect(clippy::unwrap_used, reason = "a test driver")]

mod beside;
mod drive;
mod long_texts;
mod overload;
mod properties;
mod rules;
