//! From a job's error to what the caller is told: what a server refused keeps its code, reason, field, numbers and
//! pushback; what happened on the way has reasons of its own.

use std::{collections::HashMap, error::Error as _};

use sortie_client::{Error, ErrorKind};
use sortie_frontend::{DOMAIN, ServeError};
use sortie_proto::metadata::PUSHBACK;
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What the caller is told of a job that failed.
pub(crate) fn status_of(error: &Error) -> Status {
    let message = || error.message().to_owned();
    let own = match error.kind() {
        // The caller's key was good; it is the gateway's that is not.
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => ServeError::GatewayKey,
        _ if error.reason() == Some("JOB_TOO_LARGE") => ServeError::JobTooLarge(message()),
        _ if error.reason().is_some() => return passed_on(error),
        ErrorKind::DeadlineExceeded => ServeError::DeadlineExceeded,
        ErrorKind::Unavailable => ServeError::NoServer(message()),
        ErrorKind::Overloaded => ServeError::ServersBusy(message()),
        ErrorKind::MixedRevisions => ServeError::MixedRevisions(message()),
        ErrorKind::Protocol => ServeError::BadAnswer(message()),
        ErrorKind::TooLarge => ServeError::JobTooLarge(message()),
        ErrorKind::Unimplemented => ServeError::NotServed(message()),
        _ => ServeError::Internal(message()),
    };
    own.into()
}

/// A refusal that has its reason, as it was made.
fn passed_on(error: &Error) -> Status {
    let server = error.source().and_then(|source| source.downcast_ref::<Status>());
    let code = server.map_or_else(|| code_of(error.kind()), Status::code);
    let mut details = ErrorDetails::new();
    let facts: HashMap<String, String> = error.facts().iter().cloned().collect();
    details.set_error_info(error.reason().unwrap_or_default(), DOMAIN, facts);
    for violation in error.violations() {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    let mut metadata = MetadataMap::new();
    match error.retry_after() {
        Some(wait) => {
            details.set_retry_info(Some(wait));
            metadata.insert(PUSHBACK, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).into());
        }
        None => {
            if let Some(said) = server.and_then(|status| status.metadata().get(PUSHBACK)) {
                metadata.insert(PUSHBACK, said.clone());
            }
        }
    }
    Status::with_error_details_and_metadata(code, error.message(), details, metadata)
}

/// The code of a refusal that the client made in a server's words.
fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::TooLarge => Code::OutOfRange,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::WrongTask => Code::FailedPrecondition,
        ErrorKind::Overloaded => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        _ => Code::Internal,
    }
}
