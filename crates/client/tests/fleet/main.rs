//! The client against scripted servers on free ports of this machine.

#![expect(clippy::expect_used, reason = "clippy takes helpers of tests for code")]

mod calls;
mod common;
mod retry;
mod scatter;
mod tls;
