//! Headers of everything that is the page's.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};

/// Only what the process itself serves is loaded, by name of its kind; nothing is written into the page as markup, no form
/// leaves it, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Each header and its value.
const HEADERS: [(&str, &str); 5] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    // It is of now, and small; a proxy keeps nothing that a key was shown for.
    ("cache-control", "no-store"),
];

/// The response with the page's headers.
pub(crate) fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// A sentence in place of the page, under the same headers.
#[must_use]
pub fn plain(code: StatusCode, text: impl Into<String>) -> Response {
    guarded((code, text.into()).into_response())
}
