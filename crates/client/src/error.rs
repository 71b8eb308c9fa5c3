//! The one error of this crate: what went wrong, whether to come again, and when.
//!
//! # Limits
//!
//! The answers given here are [`Error::kind`], [`Error::is_retryable`],
//! [`Error::retry_after`], [`Error::reason`], [`Error::violations`],
//! [`Error::facts`], [`Error::attempts`], [`Error::endpoint`] and the source
//! chain. The message is for people and may change in any release.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use sortie_dispatch::Pushback;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{
    metadata,
    status::{kind_of, message_of, to_job_indices},
};

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client cannot be built, or no connection can be set up, from what was configured.
    Config,
    /// The request makes no sense; see [`Error::violations`].
    InvalidArgument,
    /// The request or its answer is larger than a message may be.
    TooLarge,
    /// No such model.
    NotFound,
    /// The model does not do what was asked.
    WrongTask,
    /// The server does not know the call.
    Unimplemented,
    /// Who calls is not known.
    Unauthenticated,
    /// Who calls may not do this.
    PermissionDenied,
    /// Every server asked refused for load; see [`Error::retry_after`].
    Overloaded,
    /// No server could be reached, or each was about to stop.
    Unavailable,
    /// The job's time ran out.
    DeadlineExceeded,
    /// A server cancelled the call.
    Cancelled,
    /// A fault of the server.
    Internal,
    /// A server's answer does not fit the question.
    Protocol,
    /// Chunks were answered by different revisions of the model, and the call asked to fail then.
    MixedRevisions,
}

impl ErrorKind {
    /// A stable word in snake case, as in metrics: `deadline_exceeded`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::InvalidArgument => "invalid_argument",
            Self::TooLarge => "too_large",
            Self::NotFound => "not_found",
            Self::WrongTask => "wrong_task",
            Self::Unimplemented => "unimplemented",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
            Self::Protocol => "protocol",
            Self::MixedRevisions => "mixed_revisions",
        }
    }

    /// The same as reasons are written: `DEADLINE_EXCEEDED`.
    pub(crate) fn reason(self) -> String {
        self.as_str().to_uppercase()
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One field of a request that a server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldViolation {
    /// The field, as the contract names it.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Why a call failed.
#[derive(Clone)]
pub struct Error(Box<ErrorInner>);

#[derive(Clone)]
struct ErrorInner {
    kind: ErrorKind,
    message: String,
    retryable: bool,
    retry_after: Option<Duration>,
    reason: Option<String>,
    violations: Vec<FieldViolation>,
    facts: Vec<(String, String)>,
    attempts: u32,
    endpoint: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner {
            kind,
            message: message.into(),
            retryable: matches!(kind, ErrorKind::Overloaded | ErrorKind::Unavailable),
            retry_after: None,
            reason: None,
            violations: Vec::new(),
            facts: Vec::new(),
            attempts: 0,
            endpoint: None,
            source: None,
        }))
    }

    /// A refusal made here, in the words the server would use.
    pub(crate) fn invalid(field: &str, reason: &str, description: impl Into<String>) -> Self {
        let description = description.into();
        let mut error = Self::new(ErrorKind::InvalidArgument, description.clone());
        error.0.reason = Some(reason.to_owned());
        error.0.violations = vec![FieldViolation { field: field.to_owned(), description }];
        error
    }

    pub(crate) fn deadline() -> Self {
        Self::new(ErrorKind::DeadlineExceeded, "the deadline passed")
    }

    /// What a status says, details included.
    pub(crate) fn from_status(status: Status) -> Self {
        let kind = kind_of(&status);
        let mut error = Self::new(kind, message_of(&status));
        let details = status.get_error_details();
        if let Some(info) = details.error_info() {
            error.0.reason = Some(info.reason.clone());
            error.0.facts = info.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            error.0.facts.sort();
        }
        if let Some(bad) = details.bad_request() {
            let violation = |v: &tonic_types::FieldViolation| FieldViolation {
                field: v.field.clone(),
                description: v.description.clone(),
            };
            error.0.violations = bad.field_violations.iter().map(violation).collect();
        }
        let pushback = metadata::pushback(status.metadata());
        error.0.retryable &= pushback != Some(Pushback::Never);
        error.0.retry_after = match pushback {
            Some(Pushback::After(wait)) => Some(wait),
            Some(_) => None,
            None => details.retry_info().and_then(|info| info.retry_delay),
        };
        error.0.source = Some(Arc::new(status));
        error
    }

    pub(crate) fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.0.endpoint = Some(endpoint.into());
        self
    }

    pub(crate) fn with_reason(mut self, reason: &str) -> Self {
        self.0.reason = Some(reason.to_owned());
        self
    }

    /// The same with indices in a chunk turned into indices in the job: servers count `items[3]` from the
    /// start of what they were sent.
    pub(crate) fn with_job_indices(mut self, items: &str, indices: &[usize]) -> Self {
        self.0.message = to_job_indices(&self.0.message, items, indices);
        for violation in &mut self.0.violations {
            violation.field = to_job_indices(&violation.field, items, indices);
            violation.description = to_job_indices(&violation.description, items, indices);
        }
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later, unchanged. A spent deadline is not retryable: its
    /// caller decides whether there is more time.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// How long the server asks to wait before the call is made again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The server's stable word for the failure (`google.rpc.ErrorInfo.reason`), for example `QUEUE_FULL`.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Fields that were refused (`google.rpc.BadRequest`).
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        &self.0.violations
    }

    /// Figures behind the message (`google.rpc.ErrorInfo.metadata`), in key order.
    #[must_use]
    pub fn facts(&self) -> &[(String, String)] {
        &self.0.facts
    }

    /// The sentence for people, without the endpoint that [`fmt::Display`] adds.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Attempts that were made, over all chunks of the job.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Address of the server that gave the deciding answer, if one did.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.endpoint {
            Some(endpoint) => write!(f, " (from {endpoint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("reason", &self.0.reason)
            .field("violations", &self.0.violations)
            .field("retry_after", &self.0.retry_after)
            .field("attempts", &self.0.attempts)
            .field("endpoint", &self.0.endpoint)
            // In words: a status would spell its binary details out.
            .field("source", &self.0.source.as_ref().map(|source| source.to_string()))
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
