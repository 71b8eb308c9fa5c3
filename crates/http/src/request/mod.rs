//! What comes in: the headers that say who calls and how long he waits, and the body.

mod basic;
mod body;
mod caller;
mod options;
mod patience;

pub use basic::basic_password;
pub(crate) use body::parse;
pub(crate) use caller::{Caller, REQUEST_ID};
pub(crate) use options::{max_length, side};

use std::sync::Arc;

use axum::extract::Request;
use bytes::Bytes;

use crate::{door::Door, failure::HttpFailure};

/// One request, read.
pub(crate) struct Incoming {
    pub(crate) caller: Arc<Caller>,
    pub(crate) body: Bytes,
}

impl Incoming {
    /// Reads headers and body.
    pub(crate) async fn read(door: &Door, caller: Arc<Caller>, request: Request) -> Result<Self, HttpFailure> {
        let (parts, body) = request.into_parts();
        let body = body::read(&parts.headers, body, door.options().max_body_bytes).await?;
        Ok(Self { caller, body })
    }
}
