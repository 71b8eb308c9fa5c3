//! A scripted fleet for tests: real gRPC servers on free ports of this machine,
//! which do with each call what the test says and remember what they saw.
//!
//! Nothing here sleeps: calls wait at a [`Gate`] until the test opens it.

#![forbid(unsafe_code)]

mod gate;
mod line;
mod nowhere;
mod oracle;
mod script;
mod server;
mod service;

pub use gate::Gate;
pub use nowhere::Nowhere;
pub use oracle::{rng, score_of, texts, tokens_of};
pub use script::{Call, Reply};
pub use server::TestServer;
pub use sortie_proto as proto;
