//! What goes out: JSON, and the headers that say what it took.

mod facts;
mod load;
mod numbers;
mod usage;

pub(crate) use facts::Facts;
pub(crate) use load::Load;
pub(crate) use numbers::{NumberRow, NumberRows, finite};
pub(crate) use usage::Usage;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;

use crate::{
    failure::{FailureKind, HttpFailure},
    request::Caller,
};

/// An answer before it is sent.
#[derive(Debug)]
pub(crate) struct JsonReply {
    pub(crate) body: Bytes,
    pub(crate) facts: Facts,
}

impl JsonReply {
    /// JSON with its facts.
    pub(crate) fn json(value: &impl Serialize, facts: Facts) -> Result<Self, HttpFailure> {
        let body = serde_json::to_vec(value).map_err(|error| {
            HttpFailure::new(FailureKind::Backend, format!("the answer cannot be written: {error}"))
        })?;
        Ok(Self { body: body.into(), facts })
    }

    pub(crate) fn into_response(self, caller: &Caller) -> Response {
        let mut response = Response::new(self.body.into());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.facts.write(response.headers_mut(), caller);
        response
    }
}
