//! The one error of this crate: what went wrong, whether to come again, and when.
//!
//! # Limits
//!
//! The answers given here are [`Error::kind`], [`Error::is_retryable`],
//! [`Error::retry_after`], [`Error::reason`], [`Error::violations`],
//! [`Error::facts`], [`Error::attempts`], [`Error::endpoint`] and the source
//! chain. The message is for people and may change in any release.

mod kind;
mod status;

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

pub use kind::ErrorKind;
pub(crate) use status::is_transport_timeout;

/// One field of a request that a server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldViolation {
    /// The field, as the contract names it.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Why a call failed.
#[derive(Clone)]
pub struct Error(Box<ErrorInner>);

#[derive(Clone)]
struct ErrorInner {
    kind: ErrorKind,
    message: String,
    retryable: bool,
    retry_after: Option<Duration>,
    reason: Option<String>,
    violations: Vec<FieldViolation>,
    facts: Vec<(String, String)>,
    attempts: u32,
    endpoint: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner {
            kind,
            message: message.into(),
            retryable: matches!(kind, ErrorKind::Overloaded | ErrorKind::Unavailable),
            retry_after: None,
            reason: None,
            violations: Vec::new(),
            facts: Vec::new(),
            attempts: 0,
            endpoint: None,
            source: None,
        }))
    }

    /// A refusal made here, in the words the server would use.
    pub(crate) fn invalid(field: &str, reason: &str, description: impl Into<String>) -> Self {
        let description = description.into();
        let mut error = Self::new(ErrorKind::InvalidArgument, description.clone());
        error.0.reason = Some(reason.to_owned());
        error.0.violations = vec![FieldViolation { field: field.to_owned(), description }];
        error
    }

    pub(crate) fn deadline() -> Self {
        Self::new(ErrorKind::DeadlineExceeded, "the deadline passed")
    }

    pub(crate) fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.0.endpoint = Some(endpoint.into());
        self
    }

    pub(crate) fn with_reason(mut self, reason: &str) -> Self {
        self.0.reason = Some(reason.to_owned());
        self
    }

    /// The same with indices in a chunk turned into indices in the job: servers count `items[3]` from the
    /// start of what they were sent.
    pub(crate) fn with_job_indices(mut self, items: &str, indices: &[usize]) -> Self {
        self.0.message = to_job_indices(&self.0.message, items, indices);
        for violation in &mut self.0.violations {
            violation.field = to_job_indices(&violation.field, items, indices);
            violation.description = to_job_indices(&violation.description, items, indices);
        }
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later, unchanged. A spent deadline is not retryable: its
    /// caller decides whether there is more time.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// How long the server asks to wait before the call is made again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The server's stable word for the failure (`google.rpc.ErrorInfo.reason`), for example `QUEUE_FULL`.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Fields that were refused (`google.rpc.BadRequest`).
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        &self.0.violations
    }

    /// Figures behind the message (`google.rpc.ErrorInfo.metadata`), in key order.
    #[must_use]
    pub fn facts(&self) -> &[(String, String)] {
        &self.0.facts
    }

    /// The sentence for people, without the endpoint that [`fmt::Display`] adds.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Attempts that were made, over all chunks of the job.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Address of the server that gave the deciding answer, if one did.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.endpoint {
            Some(endpoint) => write!(f, " (from {endpoint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("reason", &self.0.reason)
            .field("violations", &self.0.violations)
            .field("retry_after", &self.0.retry_after)
            .field("attempts", &self.0.attempts)
            .field("endpoint", &self.0.endpoint)
            // In words: a status would spell its binary details out.
            .field("source", &self.0.source.as_ref().map(|source| source.to_string()))
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The text with indices in a chunk turned into indices in the job: `items[3]` into `items[indices[3]]`.
fn to_job_indices(text: &str, items: &str, indices: &[usize]) -> String {
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
