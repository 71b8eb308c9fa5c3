//! The client's errors as exit codes, sentences and hints.

use sortie_client::{Error, ErrorKind};

use crate::exit::{CommandFailure, Exit};

impl From<Error> for CommandFailure {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        Self { exit: exit(kind), message: message(&error), hint: hint(&error) }
    }
}

/// The exit code of a kind of error; kinds of later versions are internal.
pub(crate) fn exit(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::Config | ErrorKind::InvalidArgument | ErrorKind::TooLarge => Exit::Usage,
        ErrorKind::NotFound | ErrorKind::WrongTask | ErrorKind::Unimplemented => Exit::NotFound,
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => Exit::Denied,
        ErrorKind::Overloaded => Exit::Overloaded,
        ErrorKind::Unavailable => Exit::Unreachable,
        ErrorKind::DeadlineExceeded => Exit::Deadline,
        _ => Exit::Internal,
    }
}

/// The error's own words, with the fields at fault and the cause that they leave out.
pub(crate) fn message(error: &Error) -> String {
    let mut text = error.to_string();
    for violation in error.violations() {
        if !text.contains(&violation.field) {
            text = format!("{}: {text}", violation.field);
        }
    }
    if error.kind() == ErrorKind::Unavailable {
        // The last cause says what the system said: refused, unknown host, bad certificate.
        let mut cause = std::error::Error::source(error);
        while let Some(deeper) = cause.and_then(std::error::Error::source) {
            cause = Some(deeper);
        }
        let cause = cause.map(ToString::to_string).filter(|cause| !text.contains(cause.as_str()));
        text.extend(cause.map(|cause| format!(": {cause}")));
    }
    text
}

fn hint(error: &Error) -> Option<String> {
    let wait = error.retry_after().map(|wait| {
        humantime::format_duration(std::time::Duration::from_millis(
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        ))
    });
    match error.kind() {
        ErrorKind::Unavailable => Some(unreachable(&message(error)).to_owned()),
        ErrorKind::DeadlineExceeded => Some("give it more time with --deadline".to_owned()),
        ErrorKind::Overloaded => Some(match wait {
            Some(wait) => format!("try again in {wait}"),
            None => "try again later, or with --lane bulk and a longer --deadline".to_owned(),
        }),
        ErrorKind::NotFound | ErrorKind::WrongTask => Some("`sortie models` lists what is served".to_owned()),
        ErrorKind::InvalidArgument if error.violations().iter().any(|violation| violation.field == "model") => {
            Some("see --model".to_owned())
        }
        ErrorKind::Unauthenticated => Some("set SORTIE_TOKEN or SORTIE_TOKEN_FILE".to_owned()),
        _ => None,
    }
}

/// What to look at where no server was reached.
fn unreachable(message: &str) -> &'static str {
    // What HTTP/2 says of an answer in HTTP/1.
    if message.contains("frame with invalid size") {
        return "what answers there does not speak gRPC; is it the server's port? see --endpoint";
    }
    "is a server running there? see --endpoint"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_another_service_is_told_from_one_where_nobody_listens() {
        assert!(unreachable("connection error detected: frame with invalid size (from http://a)").contains("gRPC"));
        assert!(unreachable("Connection refused (os error 111)").contains("running there"));
    }

    #[test]
    fn every_kind_has_its_code() {
        for (kind, expect) in [
            (ErrorKind::InvalidArgument, Exit::Usage),
            (ErrorKind::TooLarge, Exit::Usage),
            (ErrorKind::Unavailable, Exit::Unreachable),
            (ErrorKind::DeadlineExceeded, Exit::Deadline),
            (ErrorKind::Overloaded, Exit::Overloaded),
            (ErrorKind::NotFound, Exit::NotFound),
            (ErrorKind::WrongTask, Exit::NotFound),
            (ErrorKind::PermissionDenied, Exit::Denied),
            (ErrorKind::Protocol, Exit::Internal),
        ] {
            assert_eq!(exit(kind), expect, "{kind:?}");
        }
    }
}
