//! The body of a failure as each dialect's readers expect it, and its headers.

use axum::response::{IntoResponse as _, Response};
use http::{
    HeaderValue,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::json;

use super::{FailureKind, HttpFailure, RetryAdvice};

/// How a failure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `{"error": sentence, "error_type"}`.
    Tei,
    /// OpenAI's nested object; beside it `message`, `type` and `code` as TEI has them on OpenAI's route, and Jina's
    /// `detail`.
    Nested,
    /// `{"message"}`.
    Cohere,
    /// `{"error": sentence}`.
    Weaviate,
}

/// Milliseconds to wait, for those who read it.
const RETRY_AFTER_MS: &str = "retry-after-ms";

/// Overrules what SDKs made by Stainless would do by themselves.
const SHOULD_RETRY: &str = "x-should-retry";

/// What is asked of callers where nobody said how long to wait: one second is the least that `Retry-After` can say.
const DEFAULT_WAIT_MS: u64 = 1_000;

impl HttpFailure {
    /// The answer. `form` holds where the failure has none of its own.
    pub(crate) fn into_response(self, form: Form) -> Response {
        let form = self.form.unwrap_or(form);
        let status = self.kind.status(form);
        let message = self.message.as_str();
        let body = match form {
            // As TEI has it: nothing.
            Form::Tei if self.kind == FailureKind::Unauthenticated => String::new(),
            Form::Tei => json!({"error": message, "error_type": self.kind.tei_type()}).to_string(),
            Form::Nested => {
                let (kind, code) = self.kind.openai();
                json!({
                    "error": {"message": message, "type": kind, "param": self.field, "code": code},
                    "message": message,
                    "type": self.kind.tei_type(),
                    "code": status.as_u16(),
                    "detail": message,
                })
                .to_string()
            }
            Form::Cohere => json!({"message": message}).to_string(),
            Form::Weaviate => json!({"error": message}).to_string(),
        };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Work that is too late already must not come three times.
        let never = self.retry == RetryAdvice::Never || self.kind == FailureKind::TooLate;
        if never {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        let wait = match self.retry {
            RetryAdvice::AfterMs(ms) => Some(ms),
            RetryAdvice::Silent if matches!(self.kind, FailureKind::Overloaded | FailureKind::Unavailable) => {
                Some(DEFAULT_WAIT_MS)
            }
            RetryAdvice::Silent | RetryAdvice::Never => None,
        };
        if let Some(ms) = wait.filter(|_| !never) {
            headers.insert(RETRY_AFTER_MS, ms.into());
            // Whole seconds, and 0 would be read as nothing.
            headers.insert(RETRY_AFTER, ms.div_ceil(1_000).max(1).into());
        }
        if let Some(load) = self.load {
            load.write(headers);
        }
        response
    }
}
