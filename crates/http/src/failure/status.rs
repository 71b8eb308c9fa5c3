//! From a status of the service to a failure: by the reason that it carries, else by its code.

use sortie_proto::metadata::PUSHBACK;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{FailureKind, HttpFailure, RetryAdvice};
use crate::reply::Load;

impl From<Status> for HttpFailure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map_or("", |info| info.reason.as_str());
        let kind = of_reason(reason).unwrap_or_else(|| of_code(status.code()));
        let field = details.bad_request().and_then(|bad| Some(bad.field_violations.first()?.field.clone()));
        let pushback = status.metadata().get(PUSHBACK).and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
        let retry = match pushback.map(u64::try_from) {
            None => RetryAdvice::Silent,
            Some(Err(_)) => RetryAdvice::Never,
            Some(Ok(ms)) => RetryAdvice::AfterMs(ms),
        };
        let load = Load::read(status.metadata());
        let message = match status.message() {
            "" => format!("the service answered {}", sortie_proto::code::code_name(status.code())),
            message => message.to_owned(),
        };
        let field = field.map(|field| field.trim_start_matches("options.").to_owned());
        Self { kind, message, field, retry, load, form: None }
    }
}

/// What a reason of the service means; `None` for one that is not known.
fn of_reason(reason: &str) -> Option<FailureKind> {
    Some(match reason {
        "EMPTY_LIST" | "EMPTY_QUERY" => FailureKind::Empty,
        "MISSING_INPUT" | "BAD_FIELD" | "BAD_METADATA" | "BAD_MAX_LENGTH" | "BAD_DIMENSIONS" | "TWO_PROMPTS"
        | "UNKNOWN_PROMPT" | "QUERY_TOO_LONG" | "TOO_MANY_ITEMS" | "CHUNK_TOO_LARGE" | "JOB_TOO_LARGE"
        | "ANSWER_TOO_LARGE" | "UNDECODABLE" => FailureKind::Validation,
        "MESSAGE_TOO_LARGE" => FailureKind::BodyTooLarge,
        "UNKNOWN_MODEL" => FailureKind::UnknownModel,
        "MODEL_NOT_NAMED" => FailureKind::ModelNotNamed,
        "WRONG_TASK" | "NO_MODEL_ACTIVATION" => FailureKind::WrongTask,
        "UNAUTHENTICATED" => FailureKind::Unauthenticated,
        "QUEUE_FULL" | "TOO_MANY_PARTS" | "TOO_MANY_CHUNKS" | "TOO_MANY_REQUESTS" | "WAIT_TOO_LONG"
        | "CONNECTION_FULL" | "VECTORS_FULL" => FailureKind::Overloaded,
        "DEADLINE_TOO_SHORT" | "DEADLINE_EXCEEDED" => FailureKind::TooLate,
        "REQUEST_TOO_SLOW" => FailureKind::TooSlow,
        "DRAINING" | "BACKEND_GONE" => FailureKind::Unavailable,
        "RUN_FAILED" | "NON_FINITE_OUTPUT" | "INTERNAL" => FailureKind::Backend,
        _ => return None,
    })
}

fn of_code(code: Code) -> FailureKind {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => FailureKind::Validation,
        Code::OutOfRange => FailureKind::BodyTooLarge,
        Code::NotFound => FailureKind::UnknownModel,
        Code::Unauthenticated => FailureKind::Unauthenticated,
        Code::PermissionDenied => FailureKind::Forbidden,
        Code::ResourceExhausted | Code::Aborted => FailureKind::Overloaded,
        Code::DeadlineExceeded => FailureKind::TooLate,
        Code::Unavailable => FailureKind::Unavailable,
        Code::Unimplemented => FailureKind::NotServed,
        Code::Cancelled => FailureKind::Cancelled,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => FailureKind::Backend,
    }
}
