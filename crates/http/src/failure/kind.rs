//! Kinds of failures, their statuses and what each dialect calls them.

use http::StatusCode;

use super::Form;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The body is no JSON.
    Syntax,
    /// The body is not said to be JSON.
    MediaType,
    /// The body or the message made of it has too many bytes.
    BodyTooLarge,
    /// The JSON has another shape than the route reads.
    Shape,
    /// The fields of two dialects, or of none.
    Ambiguous,
    /// A text or list has nothing in it.
    Empty,
    /// A value makes no sense or is not served.
    Validation,
    /// The tokenizer failed on a text.
    Tokenizer,
    /// No such model.
    UnknownModel,
    /// Several models, and none named.
    ModelNotNamed,
    /// The model does not do this.
    WrongTask,
    /// What is asked is not served at all.
    NotServed,
    /// No key, or an unknown one.
    Unauthenticated,
    /// A known key that may not.
    Forbidden,
    /// No room or no turn now.
    Overloaded,
    /// The time that the caller has does not suffice, or is over.
    TooLate,
    /// The body or message came too slowly.
    TooSlow,
    /// Nobody takes work now.
    Unavailable,
    /// The caller went away.
    Cancelled,
    /// The model or the service failed.
    Backend,
}

impl FailureKind {
    /// Its status. TEI has some of its own.
    pub(crate) fn status(self, form: Form) -> StatusCode {
        let tei = form == Form::Tei;
        match self {
            FailureKind::Syntax | FailureKind::Empty | FailureKind::ModelNotNamed => StatusCode::BAD_REQUEST,
            FailureKind::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            FailureKind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            FailureKind::Shape | FailureKind::Validation | FailureKind::Tokenizer if tei => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            FailureKind::Shape | FailureKind::Validation | FailureKind::Tokenizer => StatusCode::BAD_REQUEST,
            FailureKind::Ambiguous => StatusCode::UNPROCESSABLE_ENTITY,
            FailureKind::UnknownModel => StatusCode::NOT_FOUND,
            FailureKind::WrongTask | FailureKind::NotServed | FailureKind::Backend if tei => {
                StatusCode::FAILED_DEPENDENCY
            }
            FailureKind::WrongTask => StatusCode::BAD_REQUEST,
            FailureKind::NotServed => StatusCode::NOT_IMPLEMENTED,
            FailureKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            FailureKind::Forbidden => StatusCode::FORBIDDEN,
            FailureKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            FailureKind::TooLate => StatusCode::GATEWAY_TIMEOUT,
            FailureKind::TooSlow => StatusCode::REQUEST_TIMEOUT,
            FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            FailureKind::Cancelled => {
                StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::REQUEST_TIMEOUT)
            }
            FailureKind::Backend => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// TEI's `error_type`.
    pub(super) fn tei_type(self) -> &'static str {
        match self {
            FailureKind::Empty => "Empty",
            FailureKind::Tokenizer => "Tokenizer",
            FailureKind::WrongTask
            | FailureKind::NotServed
            | FailureKind::TooLate
            | FailureKind::Cancelled
            | FailureKind::Backend => "Backend",
            FailureKind::Overloaded => "Overloaded",
            FailureKind::Unavailable => "Unhealthy",
            FailureKind::Syntax
            | FailureKind::MediaType
            | FailureKind::BodyTooLarge
            | FailureKind::Shape
            | FailureKind::Ambiguous
            | FailureKind::Validation
            | FailureKind::UnknownModel
            | FailureKind::ModelNotNamed
            | FailureKind::Unauthenticated
            | FailureKind::Forbidden
            | FailureKind::TooSlow => "Validation",
        }
    }

    /// OpenAI's `type` and `code`.
    pub(super) fn openai(self) -> (&'static str, Option<&'static str>) {
        match self {
            FailureKind::UnknownModel => ("invalid_request_error", Some("model_not_found")),
            FailureKind::Unauthenticated => ("invalid_request_error", Some("invalid_api_key")),
            FailureKind::Overloaded => ("rate_limit_error", Some("rate_limit_exceeded")),
            FailureKind::TooLate => ("server_error", Some("timeout")),
            FailureKind::Unavailable => ("server_error", Some("service_unavailable")),
            FailureKind::Backend | FailureKind::Cancelled => ("server_error", None),
            FailureKind::Syntax
            | FailureKind::MediaType
            | FailureKind::BodyTooLarge
            | FailureKind::Shape
            | FailureKind::Ambiguous
            | FailureKind::Empty
            | FailureKind::Validation
            | FailureKind::Tokenizer
            | FailureKind::ModelNotNamed
            | FailureKind::WrongTask
            | FailureKind::NotServed
            | FailureKind::Forbidden
            | FailureKind::TooSlow => ("invalid_request_error", None),
        }
    }
}

/// nginx's status for a caller that is gone; nobody reads it but a log.
const CLIENT_CLOSED_REQUEST: u16 = 499;
