//! A scripted fleet for tests: real gRPC servers on free ports of this machine,
//! which do with each call what the test says and remember what they saw.
//!
//! Nothing here sleeps: calls wait at a [`Gate`] until the test opens it.

#![forbid(unsafe_code)]

mod closed_port;
mod faulty_connection;
mod gate;
mod oracle;
mod script;
mod server;
mod service;

pub use closed_port::ClosedPort;
pub use gate::Gate;
pub use oracle::{rng, score_of, texts, tokens_of, windows_of};
pub use script::{RecordedCall, Reply};
pub use server::TestServer;
pub use sortie_proto as proto;
