//! Every way a request is refused, and what the caller is told: [`ServeError`] →
//! (code, reason, field, retry), in the one table of `errors/table.rs`.
//! `docs/errors.md` has a row for each.
//!
//! The rule behind the codes: what the caller must change is `INVALID_ARGUMENT`
//! (`OUT_OF_RANGE` for a message over the size limit), the wrong model for the
//! RPC is `FAILED_PRECONDITION`, what time cures is `RESOURCE_EXHAUSTED` with
//! how long to wait, what another server cures is `UNAVAILABLE` with a pushback
//! of 0. Only a fault of ours is `INTERNAL`.

mod table;
mod wire;

use std::time::Duration;

pub(crate) use wire::refine;

/// `ErrorInfo.domain` of every refusal.
pub const DOMAIN: &str = "sortie";

/// Why a request as a whole is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A list with nothing in it.
    #[error("{field} is empty; send at least one")]
    EmptyList {
        /// The list.
        field: &'static str,
    },
    /// A query without a text or without ids.
    #[error("the query is empty")]
    EmptyQuery,
    /// An `Input` whose kind is not set.
    #[error("{field} holds neither text, pair nor tokens")]
    MissingInput {
        /// The input, with its index.
        field: String,
    },
    /// More items than a request may hold.
    #[error("{field} has {count} items; max_items is {limit}")]
    TooManyItems {
        /// The list.
        field: &'static str,
        /// Its length.
        count: usize,
        /// The limit.
        limit: u32,
    },
    /// A message longer than `max_message_bytes`.
    #[error("the request message is too large; max_message_bytes is {limit}")]
    MessageTooLarge {
        /// The limit.
        limit: u64,
    },
    /// The answer would be longer than `max_message_bytes`.
    #[error("the answer would have {bytes} bytes; max_message_bytes is {limit}; send fewer items at once")]
    AnswerTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Bytes that are no such message, for example text that is not UTF-8.
    #[error("the request message cannot be decoded: {0}")]
    Undecodable(String),
    /// A field whose value makes no sense.
    #[error("{field}: {message}")]
    BadField {
        /// The field.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// Request metadata that makes no sense.
    #[error("metadata {key}: {message}")]
    BadMetadata {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The query leaves no room for a document, or does not fit alone; it is never cut silently.
    #[error("{message}")]
    QueryTooLong {
        /// `query` or `source`.
        field: &'static str,
        /// What it takes, and what there is.
        message: String,
    },
    /// `options.max_length` cannot be met.
    #[error("{0}")]
    BadMaxLength(String),
    /// More dimensions than the vector has.
    #[error("dimensions is {asked}; vectors of {model} have {size}")]
    BadDimensions {
        /// The model.
        model: String,
        /// What was asked.
        asked: u32,
        /// What there is.
        size: usize,
    },
    /// Both a prompt and a prompt's name.
    #[error("prompt and prompt_name exclude each other")]
    TwoPrompts,
    /// A prompt the folder does not name.
    #[error("{model} has no prompt named {name:?}; it has {}", list(.known))]
    UnknownPrompt {
        /// The model.
        model: String,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A model that is not served.
    #[error("no model is named {name:?}; served: {}", list(.served))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names there are.
        served: Vec<String>,
    },
    /// No model was named, and there are several.
    #[error("name a model; served: {}", list(.served))]
    ModelNotNamed {
        /// The names there are.
        served: Vec<String>,
    },
    /// The model does not answer this RPC.
    #[error("{model} does not answer {rpc}: {why}; it answers {}", list(.rpcs))]
    WrongTask {
        /// The model.
        model: String,
        /// The RPC called.
        rpc: &'static str,
        /// What it was made for.
        why: String,
        /// The RPCs it answers.
        rpcs: Vec<String>,
    },
    /// The model's own activation was asked for, and is not served.
    #[error("{model} has no activation of its own to apply: {why}")]
    NoModelActivation {
        /// The model.
        model: String,
        /// Why there is none.
        why: String,
    },
    /// More tokens than the queue could ever hold.
    #[error("the request has about {tokens} tokens; max_queue_tokens is {limit}; send fewer items at once")]
    ChunkTooLarge {
        /// Its tokens.
        tokens: u64,
        /// The limit.
        limit: u64,
    },
    /// The queue is full.
    #[error("the queue holds {queued} tokens of {limit}")]
    QueueFull {
        /// Tokens that wait.
        queued: u64,
        /// The limit.
        limit: u64,
        /// When to come again.
        retry_after: Duration,
    },
    /// The answer would come too late, or the wait would take too much of the time that is left.
    #[error("the answer would take about {} ms, the deadline leaves {} ms", .wait.as_millis(), .remaining.as_millis())]
    DeadlineTooShort {
        /// The estimated time to the answer.
        wait: Duration,
        /// Of that, the time that work ahead of it takes.
        queue: Duration,
        /// What the deadline leaves.
        remaining: Duration,
        /// When to come again; `None` where waiting cannot help here.
        retry_after: Option<Duration>,
    },
    /// A request without a deadline would wait longer than a queue may make it.
    #[error("the wait is about {} ms, at most {} ms are allowed; max_queue_wait", .wait.as_millis(), .limit.as_millis())]
    WaitTooLong {
        /// The estimated wait.
        wait: Duration,
        /// The longest that is allowed now.
        limit: Duration,
        /// When to come again.
        retry_after: Duration,
    },
    /// Messages of one connection's requests hold as many bytes as they may.
    #[error("requests of this connection hold {limit} bytes, which is all that may; max_connection_bytes")]
    ConnectionFull {
        /// The limit.
        limit: u64,
    },
    /// Token vectors that requests brought along take as many bytes as they may.
    #[error(
        "the token vectors take {bytes} bytes as f32, and other requests' hold the rest of {limit}; max_vector_bytes"
    )]
    VectorsFull {
        /// What they take.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// As many requests wait for the model as may.
    #[error("{limit} requests wait for the model, which is all that may")]
    TooManyChunks {
        /// The limit.
        limit: u32,
        /// When to come again.
        retry_after: Duration,
    },
    /// Too many requests are worked on.
    #[error("{limit} requests are worked on; max_concurrent_requests is {limit}")]
    TooManyRequests {
        /// The limit.
        limit: u32,
    },
    /// No key, or one that is not known.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The message did not come in time.
    #[error("the request message did not come within {} ms; request_read_timeout", .limit.as_millis())]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// The deadline passed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The server is about to stop.
    #[error("the server is draining")]
    Draining,
    /// The model failed under this request's batch, or its thread ended.
    #[error("the model failed under this request; see the server's log")]
    BackendGone,
    /// No server of the fleet could be reached, or each was about to stop.
    #[error("no server answered: {0}")]
    NoServer(String),
    /// Every connection to the fleet carries as many calls as it may.
    #[error("every server has as many calls as it takes: {0}")]
    ServersBusy(String),
    /// The servers do not take the gateway's own key.
    #[error("the servers do not let the gateway in; its operator must give it another key")]
    GatewayKey,
    /// A server's answer does not fit the question.
    #[error("a server's answer does not fit the question: {0}")]
    BadAnswer(String),
    /// Chunks of the job were answered by different revisions of the model.
    #[error("the model was swapped under the job: {0}")]
    MixedRevisions(String),
    /// The job must be one chunk, and is more than one server takes.
    #[error("{0}")]
    JobTooLarge(String),
    /// What the dialect has and this process does not.
    #[error("{0}")]
    NotServed(String),
    /// The device failed for every item.
    #[error("the run failed: {0}")]
    RunFailed(String),
    /// A fault of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Names in a sentence; a long list is cut.
fn list(names: &[String]) -> String {
    /// More would not be read.
    const SHOWN: usize = 32;
    if names.is_empty() {
        return "none".to_owned();
    }
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests;
