//! The client against scripted servers on free ports of this machine.

#![expect(clippy::expect_used, reason = "clippy takes helpers of tests for code")]

mod bulk;
mod calls;
mod chunks;
mod common;
mod discovery;
mod faults;
mod messages;
mod partial;
mod retry;
mod streams;
mod tls;
mod tracing;
