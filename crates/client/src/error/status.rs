//! Reads a gRPC status: what kind of failure it is, what it says, and whether to come again.

use std::error::Error as StdError;

use sortie_dispatch::Pushback;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Error, ErrorKind, FieldViolation};
use crate::metadata;

impl Error {
    /// The error of a call that ended with a status, details included.
    pub(crate) fn from_status(status: Status) -> Self {
        let mut error = Self::new(kind_of(&status), message_of(&status));
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
        error.with_source(status)
    }
}

fn kind_of(status: &Status) -> ErrorKind {
    match status.code() {
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        Code::OutOfRange => ErrorKind::TooLarge,
        Code::NotFound => ErrorKind::NotFound,
        Code::FailedPrecondition => ErrorKind::WrongTask,
        Code::Unimplemented => ErrorKind::Unimplemented,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::ResourceExhausted => ErrorKind::Overloaded,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Cancelled if is_transport_timeout(status) => ErrorKind::DeadlineExceeded,
        // A call that ended without a status, for the connection ended.
        _ if status.source().is_some() => ErrorKind::Unavailable,
        Code::Cancelled | Code::Aborted => ErrorKind::Cancelled,
        _ => ErrorKind::Internal,
    }
}

/// What a status says; of a broken connection, what broke it.
fn message_of(status: &Status) -> String {
    let mut root: Option<&(dyn StdError + 'static)> = status.source();
    while let Some(source) = root.and_then(StdError::source) {
        root = Some(source);
    }
    match root {
        _ if is_transport_timeout(status) => "the deadline passed".to_owned(),
        Some(root) => format!("the connection failed: {root}"),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}

/// tonic's own timer, at either end, answers CANCELLED with these words and nothing else.
pub(crate) fn is_transport_timeout(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == "Timeout expired"
}
