//! Reads a gRPC status: its kind, its words, and the items it names.

use std::error::Error as StdError;

use tonic::{Code, Status};

use crate::error::ErrorKind;

/// The text with indices in a chunk turned into indices in the job: `items[3]` into `items[indices[3]]`.
pub(crate) fn to_job_indices(text: &str, items: &str, indices: &[usize]) -> String {
    let open = format!("{items}[");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&open) {
        let (before, after) = rest.split_at(at + open.len());
        out.push_str(before);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, tail) = after.split_at(digits);
        match number.parse::<usize>().ok().and_then(|index| indices.get(index)) {
            Some(index) => out.push_str(&index.to_string()),
            None => out.push_str(number),
        }
        rest = tail;
    }
    out + rest
}

pub(crate) fn kind_of(status: &Status) -> ErrorKind {
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
pub(crate) fn message_of(status: &Status) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_in_a_chunk_become_indices_in_the_job() {
        let indices = [7, 11, 13];
        assert_eq!(
            to_job_indices("documents[2].tokens and documents[0]", "documents", &indices),
            "documents[13].tokens and documents[7]"
        );
        assert_eq!(
            to_job_indices("documents[9] inputs[1] documents[", "documents", &indices),
            "documents[9] inputs[1] documents["
        );
    }
}
