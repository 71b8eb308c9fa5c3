//! The table itself: what a caller is told of each [`ServeError`].

use std::{collections::HashMap, time::Duration};

use sortie_proto::metadata::{PUSHBACK, QUEUE_FACT};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{DOMAIN, ServeError};

/// Pushback that means "do not send this again" (gRFC A6: negative): never, or, where the code says that the server has
/// too much work, not to this server.
const NEVER_MS: i64 = -1;

/// One row of the table.
struct RefusalRow {
    code: Code,
    /// `ErrorInfo.reason`.
    reason: &'static str,
    /// `BadRequest` field.
    field: Option<String>,
    /// `RetryInfo` and pushback.
    retry: WhenToRetry,
    /// `ErrorInfo.metadata`: the numbers behind the sentence.
    facts: Vec<(&'static str, String)>,
}

enum WhenToRetry {
    /// Say nothing: the code says it.
    Silent,
    /// The same call will fail again here.
    Never,
    /// After this long; 0 means at once, on another server.
    After(Duration),
}

impl ServeError {
    /// Its row. Anything new gets its row here, in `docs/errors.md` and in the tests.
    fn row(&self) -> RefusalRow {
        use ServeError as E;
        let row =
            |code, reason| RefusalRow { code, reason, field: None, retry: WhenToRetry::Silent, facts: Vec::new() };
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
            E::NoModelActivation { model, .. } => {
                row(Code::FailedPrecondition, "NO_MODEL_ACTIVATION").field("activation").fact("model", model)
            }
            E::ChunkTooLarge { tokens, limit } => {
                row(Code::InvalidArgument, "CHUNK_TOO_LARGE").fact("tokens", tokens).fact("max_queue_tokens", limit)
            }
            E::QueueFull { queued, limit, retry_after } => row(Code::ResourceExhausted, "QUEUE_FULL")
                .fact("queued_tokens", queued)
                .fact("max_queue_tokens", limit)
                .after(*retry_after),
            E::DeadlineTooShort { wait, queue, remaining, retry_after } => {
                let row = row(Code::ResourceExhausted, "DEADLINE_TOO_SHORT")
                    .fact("wait_ms", wait.as_millis())
                    .fact(QUEUE_FACT, queue.as_millis())
                    .fact("remaining_ms", remaining.as_millis());
                match retry_after {
                    Some(pause) => row.after(*pause),
                    None => row.never(),
                }
            }
            E::WaitTooLong { wait, limit, retry_after } => row(Code::ResourceExhausted, "WAIT_TOO_LONG")
                .fact(QUEUE_FACT, wait.as_millis())
                .fact("limit_ms", limit.as_millis())
                .after(*retry_after),
            E::ConnectionFull { limit } => row(Code::ResourceExhausted, "CONNECTION_FULL")
                .fact("max_connection_bytes", limit)
                .after(TOO_MANY_REQUESTS_WAIT),
            E::VectorsFull { bytes, limit } => row(Code::ResourceExhausted, "VECTORS_FULL")
                .field("documents")
                .fact("bytes", bytes)
                .fact("max_vector_bytes", limit)
                .after(TOO_MANY_REQUESTS_WAIT),
            E::TooManyChunks { limit, retry_after } => {
                row(Code::ResourceExhausted, "TOO_MANY_CHUNKS").fact("limit", limit).after(*retry_after)
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
            E::NoServer(_) => row(Code::Unavailable, "NO_SERVER").after(TOO_MANY_REQUESTS_WAIT),
            E::ServersBusy(_) => row(Code::ResourceExhausted, "SERVERS_BUSY").after(TOO_MANY_REQUESTS_WAIT),
            E::GatewayKey => row(Code::Internal, "GATEWAY_KEY"),
            E::BadAnswer(_) => row(Code::Internal, "BAD_ANSWER"),
            E::MixedRevisions(_) => row(Code::Unavailable, "MIXED_REVISIONS").after(TOO_MANY_REQUESTS_WAIT),
            E::JobTooLarge(_) => row(Code::InvalidArgument, "JOB_TOO_LARGE"),
            E::NotServed(_) => row(Code::Unimplemented, "NOT_SERVED").never(),
            E::RunFailed(_) => row(Code::Internal, "RUN_FAILED"),
            E::Internal(_) => row(Code::Internal, "INTERNAL"),
        }
    }

    /// A field whose value makes no sense.
    pub fn bad_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        ServeError::BadField { field: field.into(), message: message.into() }
    }

    /// The stable word for programs, `ErrorInfo.reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.row().reason
    }
}

/// Requests end in tens of milliseconds; a permit is free soon.
const TOO_MANY_REQUESTS_WAIT: Duration = Duration::from_millis(50);

impl RefusalRow {
    fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    fn fact(mut self, name: &'static str, value: impl ToString) -> Self {
        self.facts.push((name, value.to_string()));
        self
    }

    fn after(mut self, wait: Duration) -> Self {
        self.retry = WhenToRetry::After(wait);
        self
    }

    fn never(mut self) -> Self {
        self.retry = WhenToRetry::Never;
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
            WhenToRetry::Silent => {}
            WhenToRetry::Never => {
                metadata.insert(PUSHBACK, NEVER_MS.into());
            }
            WhenToRetry::After(wait) => {
                details.set_retry_info(Some(wait));
                metadata.insert(PUSHBACK, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).into());
            }
        }
        Status::with_error_details_and_metadata(row.code, message, details, metadata)
    }
}
