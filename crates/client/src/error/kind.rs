//! What kinds of failure there are, and the words for them.

use std::fmt;

/// What kind of failure an [`Error`](crate::Error) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client cannot be built, or no connection can be set up, from what was configured.
    Config,
    /// The request makes no sense; see [`Error::violations`](crate::Error::violations).
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
    /// Every server asked refused for load; see [`Error::retry_after`](crate::Error::retry_after).
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

    /// The same as reasons and gRPC's codes are written: `DEADLINE_EXCEEDED`.
    #[must_use]
    pub fn reason(self) -> String {
        self.as_str().to_uppercase()
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
