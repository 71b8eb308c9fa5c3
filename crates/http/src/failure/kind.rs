//! Kinds of failures, their statuses and what each dialect calls them.

use http::StatusCode;

use super::Form;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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

impl Kind {
    /// Its status. TEI has some of its own.
    pub(crate) fn status(self, form: Form) -> StatusCode {
        let tei = form == Form::Tei;
        match self {
            Kind::Syntax | Kind::Empty | Kind::ModelNotNamed => StatusCode::BAD_REQUEST,
            Kind::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Shape | Kind::Validation | Kind::Tokenizer if tei => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Shape | Kind::Validation | Kind::Tokenizer => StatusCode::BAD_REQUEST,
            Kind::Ambiguous => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::UnknownModel => StatusCode::NOT_FOUND,
            Kind::WrongTask | Kind::NotServed | Kind::Backend if tei => StatusCode::FAILED_DEPENDENCY,
            Kind::WrongTask => StatusCode::BAD_REQUEST,
            Kind::NotServed => StatusCode::NOT_IMPLEMENTED,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Kind::TooLate => StatusCode::GATEWAY_TIMEOUT,
            Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Cancelled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::REQUEST_TIMEOUT),
            Kind::Backend => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// TEI's `error_type`.
    pub(super) fn tei_type(self) -> &'static str {
        match self {
            Kind::Empty => "Empty",
            Kind::Tokenizer => "Tokenizer",
            Kind::WrongTask | Kind::NotServed | Kind::TooLate | Kind::Cancelled | Kind::Backend => "Backend",
            Kind::Overloaded => "Overloaded",
            Kind::Unavailable => "Unhealthy",
            Kind::Syntax
            | Kind::MediaType
            | Kind::BodyTooLarge
            | Kind::Shape
            | Kind::Ambiguous
            | Kind::Validation
            | Kind::UnknownModel
            | Kind::ModelNotNamed
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::TooSlow => "Validation",
        }
    }

    /// OpenAI's `type` and `code`.
    pub(super) fn openai(self) -> (&'static str, Option<&'static str>) {
        match self {
            Kind::UnknownModel => ("invalid_request_error", Some("model_not_found")),
            Kind::Unauthenticated => ("invalid_request_error", Some("invalid_api_key")),
            Kind::Overloaded => ("rate_limit_error", Some("rate_limit_exceeded")),
            Kind::TooLate => ("server_error", Some("timeout")),
            Kind::Unavailable => ("server_error", Some("service_unavailable")),
            Kind::Backend | Kind::Cancelled => ("server_error", None),
            Kind::Syntax
            | Kind::MediaType
            | Kind::BodyTooLarge
            | Kind::Shape
            | Kind::Ambiguous
            | Kind::Empty
            | Kind::Validation
            | Kind::Tokenizer
            | Kind::ModelNotNamed
            | Kind::WrongTask
            | Kind::NotServed
            | Kind::Forbidden
            | Kind::TooSlow => ("invalid_request_error", None),
        }
    }
}

/// nginx's status for a caller that is gone; nobody reads it but a log.
const CLIENT_CLOSED_REQUEST: u16 = 499;
