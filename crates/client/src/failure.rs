//! What a failed attempt means, to the job (is it worth another server?) and to the caller; and what a failed job means
//! to the caller.

use std::time::Duration;

use sortie_dispatch::{FailReason, Failure, Pushback};
use sortie_proto::metadata::QUEUE_FACT;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    error::{Error, ErrorKind, is_transport_timeout},
    job::chunked::Malformed,
    metadata,
};

/// The attempt was still running at the deadline.
pub(crate) fn deadline() -> (Failure, Error) {
    (Failure::Deadline, Error::deadline())
}

/// The answer does not fit the question; another server may be sane.
pub(crate) fn malformed(Malformed(message): Malformed) -> (Failure, Error) {
    (Failure::Internal, Error::new(ErrorKind::Protocol, message))
}

/// The server answered with an error, or the connection died.
pub(crate) fn of_status(status: Status) -> (Failure, Error) {
    let failure = match (status.code(), metadata::pushback(status.metadata())) {
        (Code::DeadlineExceeded, _) => Failure::Deadline,
        _ if is_transport_timeout(&status) => Failure::Deadline,
        // Of a broken stream too there is a code, of which the server knows nothing.
        _ if died_in_transport(&status) => Failure::Transport,
        // A server without time for this may say that waiting does not help there; another may have time.
        (Code::ResourceExhausted, pushback) => {
            Failure::Overloaded { pushback: pushback.unwrap_or_default(), queue: queue_of(&status) }
        }
        (_, Some(Pushback::Never)) => Failure::Fatal,
        (Code::Unavailable, _) => Failure::Unavailable,
        (Code::Internal | Code::Unknown | Code::DataLoss | Code::Aborted | Code::Cancelled, _) => Failure::Internal,
        _ => Failure::Fatal,
    };
    (failure, Error::from_status(status))
}

/// How long work ahead of it takes, by a server that refused for its time.
fn queue_of(status: &Status) -> Option<Duration> {
    let facts = status.get_details_error_info()?.metadata;
    facts.get(QUEUE_FACT)?.parse().ok().map(Duration::from_millis)
}

/// The call was not sent: no connection could be had, or all their streams are taken.
pub(crate) fn unsent(error: Error) -> (Failure, Error) {
    let failure = match error.kind() {
        ErrorKind::Overloaded => Failure::Overloaded { pushback: Pushback::Unsaid, queue: None },
        _ => Failure::Transport,
    };
    (failure, error)
}

/// The error of a job that failed without a failed attempt to show for it.
pub(crate) fn of_job(reason: FailReason) -> Error {
    match reason {
        FailReason::Deadline | FailReason::NoTime => Error::deadline(),
        FailReason::Overloaded => Error::new(ErrorKind::Overloaded, "no server has time for it before its deadline")
            .with_reason("DEADLINE_TOO_SHORT"),
        FailReason::Cancelled => Error::new(ErrorKind::Cancelled, "the call was cancelled"),
        _ => Error::new(ErrorKind::Unavailable, "no server answered"),
    }
}

/// A status that a server sent has no source; one that tonic made of a broken connection or stream
/// has what broke it.
pub(crate) fn died_in_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_pushback(code: Code, ms: &str) -> Status {
        let mut status = Status::new(code, "no");
        status.metadata_mut().insert(sortie_proto::metadata::PUSHBACK, ms.parse().unwrap());
        status
    }

    /// As tonic tells of a stream that was reset with ENHANCE_YOUR_CALM.
    fn enhance_your_calm() -> Status {
        let mut status = Status::new(Code::ResourceExhausted, "h2 protocol error");
        status.set_source(std::sync::Arc::new(std::io::Error::other("reset")));
        status
    }

    #[test]
    fn every_code_has_its_meaning() {
        let overloaded = |pushback| Failure::Overloaded { pushback, queue: None };
        let after = |ms| overloaded(Pushback::After(Duration::from_millis(ms)));
        let table = [
            (Status::new(Code::Unavailable, ""), Failure::Unavailable, ErrorKind::Unavailable),
            (Status::new(Code::ResourceExhausted, ""), overloaded(Pushback::Unsaid), ErrorKind::Overloaded),
            (with_pushback(Code::ResourceExhausted, "70"), after(70), ErrorKind::Overloaded),
            (with_pushback(Code::ResourceExhausted, "-1"), overloaded(Pushback::Never), ErrorKind::Overloaded),
            (with_pushback(Code::OutOfRange, "-1"), Failure::Fatal, ErrorKind::TooLarge),
            (with_pushback(Code::ResourceExhausted, "soon"), overloaded(Pushback::Never), ErrorKind::Overloaded),
            (Status::new(Code::DeadlineExceeded, ""), Failure::Deadline, ErrorKind::DeadlineExceeded),
            (Status::new(Code::Cancelled, "Timeout expired"), Failure::Deadline, ErrorKind::DeadlineExceeded),
            (Status::new(Code::Cancelled, "other"), Failure::Internal, ErrorKind::Cancelled),
            (Status::new(Code::Internal, ""), Failure::Internal, ErrorKind::Internal),
            (Status::new(Code::InvalidArgument, ""), Failure::Fatal, ErrorKind::InvalidArgument),
            (Status::new(Code::NotFound, ""), Failure::Fatal, ErrorKind::NotFound),
            (Status::new(Code::FailedPrecondition, ""), Failure::Fatal, ErrorKind::WrongTask),
            (Status::new(Code::OutOfRange, ""), Failure::Fatal, ErrorKind::TooLarge),
            (Status::new(Code::Unauthenticated, ""), Failure::Fatal, ErrorKind::Unauthenticated),
            (Status::from_error("broken pipe".into()), Failure::Transport, ErrorKind::Unavailable),
            (enhance_your_calm(), Failure::Transport, ErrorKind::Overloaded),
        ];
        for (status, failure, kind) in table {
            let told = format!("{status:?}");
            let (got, error) = of_status(status);
            assert_eq!((got, error.kind()), (failure, kind), "{told}");
        }
    }

    #[test]
    fn never_is_not_retryable() {
        assert!(!of_status(with_pushback(Code::ResourceExhausted, "-1")).1.is_retryable());
        let (_, error) = of_status(with_pushback(Code::ResourceExhausted, "70"));
        assert!(error.is_retryable());
        assert_eq!(error.retry_after(), Some(Duration::from_millis(70)));
    }
}
