//! What a job leaves behind for the page.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// One attempt of a chunk: who had it, when, and where its time went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PageAttempt {
    /// Address or name of the server.
    pub server: String,
    /// Items it asked about.
    pub items: usize,
    /// Tokens they had, or were expected to have where there was no answer.
    pub tokens: u64,
    /// Which attempt of its chunk it was, from 1.
    pub attempt: u32,
    /// Whether it was made beside a late one.
    pub hedge: bool,
    /// `ok` where its answer counted, else a word of the client for what became of it.
    pub outcome: &'static str,
    /// From the job's arrival to its start.
    #[serde(rename = "began_ms", serialize_with = "as_ms")]
    pub began: Duration,
    /// From its start to its end.
    #[serde(rename = "took_ms", serialize_with = "as_ms")]
    pub took: Duration,
    /// Time at the server; zero where it did not say, as all below.
    #[serde(rename = "at_server_ms", serialize_with = "as_ms")]
    pub at_server: Duration,
    /// Time spent making token ids.
    #[serde(rename = "tokenize_ms", serialize_with = "as_ms")]
    pub tokenize: Duration,
    /// Time its first item waited for a batch.
    #[serde(rename = "queue_ms", serialize_with = "as_ms")]
    pub queue: Duration,
    /// Time its batches took on the device, summed.
    #[serde(rename = "compute_ms", serialize_with = "as_ms")]
    pub compute: Duration,
}

/// A job that has ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PageJob {
    /// What was asked for.
    pub rpc: &'static str,
    /// The served model that was asked; empty where the request did not get as far.
    pub model: String,
    /// How it ended, as gRPC names it.
    pub code: &'static str,
    /// Items it had.
    pub items: u64,
    /// Tokens it had.
    pub tokens: u64,
    /// From its arrival to its end.
    #[serde(rename = "took_ms", serialize_with = "as_ms")]
    pub took: Duration,
    /// Attempts in the order they began.
    pub attempts: Vec<PageAttempt>,
    /// Attempts beyond those that are kept.
    pub attempts_left_out: usize,
}

/// Milliseconds, to the microsecond.
pub(crate) fn as_ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(ms(*time))
}

/// Milliseconds, to the microsecond.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
