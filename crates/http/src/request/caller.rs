//! Who calls: the headers that become metadata of every RPC made for a request.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use sortie_proto::metadata::{JOB_ID, LANE, MODEL};
use sortie_work::Lane;
use tokio::time::Instant;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use super::{basic::basic_password, patience::patience};
use crate::failure::{FailureKind, HttpFailure};

/// Longest id or name that metadata takes.
const MAX_VALUE_BYTES: usize = 128;

/// The header of a request's own id.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// The header of the lane.
pub(crate) const LANE_HEADER: &str = "x-sortie-lane";
/// The header by which partial answers are asked for.
pub(crate) const PARTIAL: &str = "x-sortie-partial";
/// The key's header where `authorization` cannot be set.
const X_API_KEY: &str = "x-api-key";
/// The same, as Azure names it.
const API_KEY: &str = "api-key";

/// Headers that go on as they are.
const PASSED_ON: [&str; 3] = [X_API_KEY, "traceparent", "tracestate"];

/// Least time that a call is given: with none at all its refusal would not say why.
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

/// Whoever sent the request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// He takes an answer that leaves failed items out.
    pub(crate) partial: bool,
    arrived: Instant,
    patience: Option<Duration>,
    metadata: MetadataMap,
}

impl Caller {
    /// Reads the headers.
    ///
    /// # Errors
    /// For a lane or a wish for partial answers that is none.
    pub(crate) fn read(headers: &HeaderMap, request_id: String) -> Result<Self, HttpFailure> {
        let mut sent = HeaderMap::new();
        for name in PASSED_ON {
            if let Some(value) = headers.get(name) {
                sent.insert(name, value.clone());
            }
        }
        if let Some(value) = headers.get(API_KEY).filter(|_| !sent.contains_key(X_API_KEY)) {
            sent.insert(X_API_KEY, value.clone());
        }
        if let Some(key) = basic_password(headers).and_then(|key| HeaderValue::from_bytes(&key).ok()) {
            sent.insert(X_API_KEY, key);
        } else if let Some(value) = headers.get(AUTHORIZATION) {
            // A key without a scheme: some clients of TEI send it so.
            let bare = !value.is_empty() && !value.as_bytes().contains(&b' ');
            sent.insert(if bare { HeaderName::from_static(X_API_KEY) } else { AUTHORIZATION }, value.clone());
        }
        if let Some(value) = headers.get(LANE_HEADER) {
            let lane = value.to_str().ok().and_then(Lane::from_name);
            if lane.is_none() {
                return Err(HttpFailure::new(
                    FailureKind::Validation,
                    format!("{LANE_HEADER} is neither interactive nor bulk"),
                ));
            }
            sent.insert(LANE, value.clone());
        }
        let partial = match headers.get(PARTIAL).map(HeaderValue::as_bytes) {
            None => false,
            Some(value) if value.eq_ignore_ascii_case(b"allow") => true,
            Some(_) => {
                return Err(HttpFailure::new(
                    FailureKind::Validation,
                    format!("{PARTIAL} takes allow, or is left out"),
                ));
            }
        };
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            sent.insert(JOB_ID, id);
        }
        Ok(Self {
            partial,
            arrived: Instant::now(),
            patience: patience(headers),
            metadata: MetadataMap::from_headers(sent),
        })
    }

    /// His name for the request where it can travel on, else a new one.
    pub(crate) fn request_id(headers: &HeaderMap) -> String {
        let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        match sent.filter(|id| !id.is_empty() && id.len() <= MAX_VALUE_BYTES) {
            Some(id) => id.to_owned(),
            None => uuid::Uuid::new_v4().to_string(),
        }
    }

    /// A message to `model` on his behalf, with the time he has left.
    pub(crate) fn request<M>(&self, message: M, model: &str) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        if (1..=MAX_VALUE_BYTES).contains(&model.len())
            && let Ok(name) = AsciiMetadataValue::try_from(model)
        {
            request.metadata_mut().insert(MODEL, name);
        }
        if let Some(patience) = self.patience {
            request.set_timeout(patience.saturating_sub(self.arrived.elapsed()).max(LEAST_TIMEOUT));
        }
        request
    }

    /// How long ago the request came.
    pub(crate) fn elapsed(&self) -> Duration {
        self.arrived.elapsed()
    }
}
