//! The table, row by row, as it leaves the server.

use sortie_proto::metadata::PUSHBACK;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::*;

const S: Duration = Duration::from_millis(1500);

/// (error, code, reason, field, pushback)
type RefusalCase = (ServeError, Code, &'static str, Option<&'static str>, Option<&'static str>);

fn table() -> Vec<RefusalCase> {
    use Code as C;
    use ServeError as E;
    let text = || "x".to_owned();
    vec![
        (E::EmptyList { field: "documents" }, C::InvalidArgument, "EMPTY_LIST", Some("documents"), None),
        (E::EmptyQuery, C::InvalidArgument, "EMPTY_QUERY", Some("query"), None),
        (E::MissingInput { field: "inputs[3]".into() }, C::InvalidArgument, "MISSING_INPUT", Some("inputs[3]"), None),
        (
            E::TooManyItems { field: "inputs", count: 9, limit: 8 },
            C::InvalidArgument,
            "TOO_MANY_ITEMS",
            Some("inputs"),
            None,
        ),
        (E::MessageTooLarge { limit: 8 }, C::OutOfRange, "MESSAGE_TOO_LARGE", None, Some("-1")),
        (E::AnswerTooLarge { bytes: 9, limit: 8 }, C::InvalidArgument, "ANSWER_TOO_LARGE", None, None),
        (E::Undecodable(text()), C::InvalidArgument, "UNDECODABLE", None, None),
        (E::bad_field("top_n", "x"), C::InvalidArgument, "BAD_FIELD", Some("top_n"), None),
        (E::BadMetadata { key: "sortie-lane", message: text() }, C::InvalidArgument, "BAD_METADATA", None, None),
        (
            E::QueryTooLong { field: "query", message: text() },
            C::InvalidArgument,
            "QUERY_TOO_LONG",
            Some("query"),
            None,
        ),
        (E::BadMaxLength(text()), C::InvalidArgument, "BAD_MAX_LENGTH", Some("options.max_length"), None),
        (
            E::BadDimensions { model: text(), asked: 9, size: 8 },
            C::InvalidArgument,
            "BAD_DIMENSIONS",
            Some("dimensions"),
            None,
        ),
        (E::TwoPrompts, C::InvalidArgument, "TWO_PROMPTS", Some("options.prompt"), None),
        (
            E::UnknownPrompt { model: text(), name: text(), known: vec![] },
            C::InvalidArgument,
            "UNKNOWN_PROMPT",
            Some("options.prompt_name"),
            None,
        ),
        (E::UnknownModel { name: text(), served: vec![] }, C::NotFound, "UNKNOWN_MODEL", Some("model"), None),
        (E::ModelNotNamed { served: vec![] }, C::InvalidArgument, "MODEL_NOT_NAMED", Some("model"), None),
        (
            E::WrongTask { model: text(), rpc: "Embed", why: text(), rpcs: vec![] },
            C::FailedPrecondition,
            "WRONG_TASK",
            None,
            None,
        ),
        (
            E::NoModelActivation { model: text(), why: text() },
            C::FailedPrecondition,
            "NO_MODEL_ACTIVATION",
            Some("activation"),
            None,
        ),
        (E::ChunkTooLarge { tokens: 9, limit: 8 }, C::InvalidArgument, "CHUNK_TOO_LARGE", None, None),
        (E::QueueFull { queued: 9, limit: 8, retry_after: S }, C::ResourceExhausted, "QUEUE_FULL", None, Some("1500")),
        (
            E::DeadlineTooShort { wait: S * 2, queue: S, remaining: S, retry_after: Some(S) },
            C::ResourceExhausted,
            "DEADLINE_TOO_SHORT",
            None,
            Some("1500"),
        ),
        (
            E::DeadlineTooShort { wait: S * 2, queue: S, remaining: S, retry_after: None },
            C::ResourceExhausted,
            "DEADLINE_TOO_SHORT",
            None,
            Some("-1"),
        ),
        (
            E::WaitTooLong { wait: S * 2, limit: S, retry_after: S },
            C::ResourceExhausted,
            "WAIT_TOO_LONG",
            None,
            Some("1500"),
        ),
        (E::VectorsFull { bytes: 9, limit: 8 }, C::ResourceExhausted, "VECTORS_FULL", Some("documents"), Some("50")),
        (E::ConnectionFull { limit: 8 }, C::ResourceExhausted, "CONNECTION_FULL", None, Some("50")),
        (E::TooManyChunks { limit: 8, retry_after: S }, C::ResourceExhausted, "TOO_MANY_CHUNKS", None, Some("1500")),
        (E::TooManyRequests { limit: 8 }, C::ResourceExhausted, "TOO_MANY_REQUESTS", None, Some("50")),
        (E::Unauthenticated("x"), C::Unauthenticated, "UNAUTHENTICATED", None, Some("-1")),
        (E::TooSlow { limit: S }, C::DeadlineExceeded, "REQUEST_TOO_SLOW", None, None),
        (E::DeadlineExceeded, C::DeadlineExceeded, "DEADLINE_EXCEEDED", None, None),
        (E::Draining, C::Unavailable, "DRAINING", None, Some("0")),
        (E::BackendGone, C::Unavailable, "BACKEND_GONE", None, Some("0")),
        (E::NoServer(text()), C::Unavailable, "NO_SERVER", None, Some("50")),
        (E::ServersBusy(text()), C::ResourceExhausted, "SERVERS_BUSY", None, Some("50")),
        (E::GatewayKey, C::Internal, "GATEWAY_KEY", None, None),
        (E::BadAnswer(text()), C::Internal, "BAD_ANSWER", None, None),
        (E::MixedRevisions(text()), C::Unavailable, "MIXED_REVISIONS", None, Some("50")),
        (E::JobTooLarge(text()), C::InvalidArgument, "JOB_TOO_LARGE", None, None),
        (E::NotServed(text()), C::Unimplemented, "NOT_SERVED", None, Some("-1")),
        (E::RunFailed(text()), C::Internal, "RUN_FAILED", None, None),
        (E::Internal(text()), C::Internal, "INTERNAL", None, None),
    ]
}

#[test]
fn every_row_leaves_with_its_code_reason_field_and_pushback() {
    for (error, code, reason, field, pushback) in table() {
        let status = Status::from(error.clone());
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str(), info.domain.as_str()), (code, reason, DOMAIN), "{error:?}");
        let named = details.bad_request().map(|b| b.field_violations[0].field.as_str());
        assert_eq!(named, field, "{error:?}");
        let sent = status.metadata().get(PUSHBACK).map(|v| v.to_str().unwrap());
        assert_eq!(sent, pushback, "{error:?}");
        let wait = pushback.filter(|p| *p != "-1").map(|p| Duration::from_millis(p.parse().unwrap()));
        assert_eq!(details.retry_info().and_then(|r| r.retry_delay), wait, "{error:?}");
        assert_eq!(status.message(), error.to_string());
        assert!(!status.message().ends_with('.'), "{error:?}");
    }
}

#[test]
fn every_reason_has_a_row_in_the_document() {
    let document = include_str!("../../../../docs/errors.md");
    for (error, ..) in table() {
        let row = format!("`{}`", error.reason());
        assert!(
            document.lines().any(|l| l.starts_with('|') && l.contains(&row)),
            "{row} is missing from docs/errors.md"
        );
    }
}

#[test]
fn limits_are_named_with_their_values() {
    let status = Status::from(ServeError::TooManyItems { field: "inputs", count: 9, limit: 8 });
    assert!(status.message().contains("max_items is 8"), "{}", status.message());
    assert_eq!(status.get_error_details().error_info().unwrap().metadata["max_items"], "8");
}

#[test]
fn a_long_list_of_names_is_cut() {
    let names: Vec<_> = (0..40).map(|i| format!("m{i}")).collect();
    assert!(list(&names).ends_with("m31 and 8 more"));
}

#[test]
fn the_reasons_that_are_counted_from_the_start_are_in_the_table() {
    let reasons: Vec<_> = table().iter().map(|(error, ..)| error.reason()).collect();
    for reason in crate::metrics::REASONS {
        assert!(reasons.contains(&reason), "{reason}");
    }
}
