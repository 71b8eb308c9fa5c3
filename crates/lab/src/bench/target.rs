//! What is measured, and what can go wrong with measuring it.

use std::{path::Path, time::Duration};

use sortie_client::{ClientBuilder, Lane};

/// The fleet, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct BenchTarget {
    /// The client library, set up.
    pub client: ClientBuilder,
    /// Addresses of the servers, for those who do without the client library.
    pub endpoints: Vec<String>,
    /// The model; empty where a server has only one.
    pub model: String,
    /// Longest a job may take.
    pub deadline: Duration,
    /// How urgent jobs are.
    pub lane: Lane,
    /// Whose share they draw on.
    pub tenant: Option<String>,
    /// The bearer token.
    pub token: Option<String>,
}

#[cfg(test)]
impl BenchTarget {
    /// One address and nothing else.
    pub(super) fn for_tests(endpoint: &str) -> Self {
        Self {
            client: sortie_client::Client::builder().endpoint(endpoint),
            endpoints: vec![endpoint.to_owned()],
            model: String::new(),
            deadline: Duration::from_secs(10),
            lane: Lane::Interactive,
            tenant: None,
            token: None,
        }
    }
}

/// A benchmark that was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// What was asked for makes no sense, or cannot be read or written; the message begins with the flag.
    #[error("{0}")]
    Usage(String),
    /// Something failed on this side.
    #[error("{0}")]
    Internal(String),
    /// The servers could not be asked.
    #[error(transparent)]
    Client(#[from] sortie_client::Error),
}

impl BenchError {
    /// A file that was given cannot be used.
    pub(super) fn file(flag: &str, path: &Path, problem: impl std::fmt::Display) -> Self {
        Self::Usage(format!("{flag} {}: {problem}", path.display()))
    }

    /// A file that was begun cannot be written.
    pub(super) fn unwritten(flag: &str, path: &Path, problem: impl std::fmt::Display) -> Self {
        Self::Internal(format!("{flag} {}: {problem}", path.display()))
    }
}
