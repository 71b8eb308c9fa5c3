//! Every way a request is refused, and what the caller is told: the one table
//! [`ServeError`] → (code, reason, field, retry). `docs/errors.md` has a row for
//! each.
//!
//! The rule behind the codes: what the caller must change is `INVALID_ARGUMENT`
//! (`OUT_OF_RANGE` for a message over the size limit), the wrong model for the
//! RPC is `FAILED_PRECONDITION`, what time cures is `RESOURCE_EXHAUSTED` with
//! how long to wait, what another server cures is `UNAVAILABLE` with a pushback
//! of 0. Only a fault of ours is `INTERNAL`.

mod item;
mod wire;

use std::{collections::HashMap, time::Duration};

use sortie_proto::metadata::PUSHBACK;
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

pub(crate) use item::ItemRefusal;
pub(crate) use wire::refine;

/// `ErrorInfo.domain` of every refusal.
pub const DOMAIN: &str = "sortie";

/// Pushback that means "do not send this again" (gRFC A6: negative).
const NEVER_MS: i64 = -1;

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
    /// More tokens than the queue could ever hold.
    #[error("the request has about {tokens} tokens; max_queue_tokens is {limit}; send fewer items at once")]
    JobTooLarge {
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
    /// The wait is longer than the deadline allows.
    #[error("the wait is about {} ms, the deadline leaves {} ms", .wait.as_millis(), .remaining.as_millis())]
    DeadlineTooShort {
        /// The estimated wait.
        wait: Duration,
        /// What the deadline leaves.
        remaining: Duration,
        /// When to come again.
        retry_after: Duration,
    },
    /// As many requests wait for the model as may.
    #[error("{limit} requests wait for the model, which is all that may")]
    TooManyParts {
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
    /// The device failed for every item.
    #[error("the run failed: {0}")]
    RunFailed(String),
    /// A fault of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

/// One row of the table.
struct Row {
    code: Code,
    /// `ErrorInfo.reason`.
    reason: &'static str,
    /// `BadRequest` field.
    field: Option<String>,
    /// `RetryInfo` and pushback.
    retry: Retry,
    /// `ErrorInfo.metadata`: the numbers behind the sentence.
    facts: Vec<(&'static str, String)>,
}

enum Retry {
    /// Say nothing: the code says it.
    Silent,
    /// The same call will fail again.
    Never,
    /// After this long; 0 means at once, on another server.
    After(Duration),
}

impl ServeError {
    /// Its row. Anything new gets its row here, in `docs/errors.md` and in the tests.
    fn row(&self) -> Row {
        use ServeError as E;
        let row = |code, reason| Row { code, reason, field: None, retry: Retry::Silent, facts: Vec::new() };
        let bad = |reason, field: &str| row(Code::InvalidArgument, reason).field(field);
        match self {
            E::EmptyList { field } => bad("EMPTY_LIST", field),
            E::EmptyQuery => bad("EMPTY_QUERY", "query"),
            E::MissingInput { field } => bad("MISSING_INPUT", field),
            E::TooManyItems { field, count, limit } => {
                bad("TOO_MANY_ITEMS", field).fact("count", count).fact("max_items", limit)
            }
            E::MessageTooLarge { limit } => {
                row(Code::OutOfRange, "MESSAGE_TOO_LARGE").fact("max_message_bytes", limit).never()
            }
            E::AnswerTooLarge { bytes, limit } => {
                row(Code::InvalidArgument, "ANSWER_TOO_LARGE").fact("bytes", bytes).fact("max_message_bytes", limit)
            }
            E::Undecodable(_) => row(Code::InvalidArgument, "UNDECODABLE"),
            E::BadField { field, .. } => bad("BAD_FIELD", field),
            E::BadMetadata { key, .. } => row(Code::InvalidArgument, "BAD_METADATA").fact("key", key),
            E::QueryTooLong { field, .. } => bad("QUERY_TOO_LONG", field),
            E::BadMaxLength(_) => bad("BAD_MAX_LENGTH", "options.max_length"),
            E::BadDimensions { size, .. } => bad("BAD_DIMENSIONS", "dimensions").fact("size", size),
            E::TwoPrompts => bad("TWO_PROMPTS", "options.prompt"),
            E::UnknownPrompt { .. } => bad("UNKNOWN_PROMPT", "options.prompt_name"),
            E::UnknownModel { .. } => row(Code::NotFound, "UNKNOWN_MODEL").field("model"),
            E::ModelNotNamed { .. } => bad("MODEL_NOT_NAMED", "model"),
            E::WrongTask { model, rpc, .. } => {
                row(Code::FailedPrecondition, "WRONG_TASK").fact("model", model).fact("rpc", rpc)
            }
            E::JobTooLarge { tokens, limit } => {
                row(Code::InvalidArgument, "JOB_TOO_LARGE").fact("tokens", tokens).fact("max_queue_tokens", limit)
            }
            E::QueueFull { queued, limit, retry_after } => row(Code::ResourceExhausted, "QUEUE_FULL")
                .fact("queued_tokens", queued)
                .fact("max_queue_tokens", limit)
                .after(*retry_after),
            E::DeadlineTooShort { wait, remaining, retry_after } => row(Code::ResourceExhausted, "DEADLINE_TOO_SHORT")
                .fact("wait_ms", wait.as_millis())
                .fact("remaining_ms", remaining.as_millis())
                .after(*retry_after),
            E::TooManyParts { limit, retry_after } => {
                row(Code::ResourceExhausted, "TOO_MANY_PARTS").fact("limit", limit).after(*retry_after)
            }
            E::TooManyRequests { limit } => row(Code::ResourceExhausted, "TOO_MANY_REQUESTS")
                .fact("max_concurrent_requests", limit)
                .after(TOO_MANY_REQUESTS_WAIT),
            E::Unauthenticated(_) => row(Code::Unauthenticated, "UNAUTHENTICATED").never(),
            E::TooSlow { limit } => {
                row(Code::DeadlineExceeded, "REQUEST_TOO_SLOW").fact("request_read_timeout_ms", limit.as_millis())
            }
            E::DeadlineExceeded => row(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            E::Draining => row(Code::Unavailable, "DRAINING").after(Duration::ZERO),
            E::BackendGone => row(Code::Unavailable, "BACKEND_GONE").after(Duration::ZERO),
            E::RunFailed(_) => row(Code::Internal, "RUN_FAILED"),
            E::Internal(_) => row(Code::Internal, "INTERNAL"),
        }
    }

    /// A field whose value makes no sense.
    pub(crate) fn bad_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        ServeError::BadField { field: field.into(), message: message.into() }
    }

    /// The stable word for programs, `ErrorInfo.reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.row().reason
    }
}

/// Requests end in tens of milliseconds; a place is free soon.
const TOO_MANY_REQUESTS_WAIT: Duration = Duration::from_millis(50);

impl Row {
    fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    fn fact(mut self, name: &'static str, value: impl ToString) -> Self {
        self.facts.push((name, value.to_string()));
        self
    }

    fn after(mut self, wait: Duration) -> Self {
        self.retry = Retry::After(wait);
        self
    }

    fn never(mut self) -> Self {
        self.retry = Retry::Never;
        self
    }
}

impl From<ServeError> for Status {
    fn from(error: ServeError) -> Self {
        let row = error.row();
        let message = error.to_string();
        let facts: HashMap<String, String> = row.facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let mut details = ErrorDetails::new();
        details.set_error_info(row.reason, DOMAIN, facts);
        if let Some(field) = row.field {
            details.add_bad_request_violation(field, message.clone());
        }
        let mut metadata = MetadataMap::new();
        match row.retry {
            Retry::Silent => {}
            Retry::Never => {
                metadata.insert(PUSHBACK, NEVER_MS.into());
            }
            Retry::After(wait) => {
                details.set_retry_info(Some(wait));
                metadata.insert(PUSHBACK, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).into());
            }
        }
        Status::with_error_details_and_metadata(row.code, message, details, metadata)
    }
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
