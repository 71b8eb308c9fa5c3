//! Request metadata that every attempt carries, and what trailers say back.
//!
//! Sent: `sortie-job-id`, `sortie-attempt`, `sortie-rescue`, `sortie-model`, `sortie-tokens`, `sortie-work`, `sortie-lane`,
//! `sortie-tenant`, `authorization`, `traceparent`, `grpc-timeout`. Read: `grpc-retry-pushback-ms` (gRFC A6) and
//! `endpoint-load-metrics-bin` (ORCA, gRFC A51).

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use prost::Message as _;
pub use sortie_dispatch::Lane;
use sortie_dispatch::{Amount, Cost, Limits, LoadReport, Pushback};
use sortie_proto::{load::from_orca, metadata as keys, orca::OrcaLoadReport, v1};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::{
    error::{Error, ErrorKind},
    trace_context::Propagator,
};

/// Longest job id, tenant or trace context: servers copy them into answers and log lines.
pub const MAX_VALUE_BYTES: usize = 128;

/// Least time kept of an attempt's for the way of its answer: a round trip within a data centre.
pub const MIN_DEADLINE_MARGIN: Duration = Duration::from_millis(1);

/// Share of an attempt's time kept for the way of its answer, up to [`MAX_DEADLINE_MARGIN`].
pub const DEADLINE_MARGIN_SHARE: f64 = 0.01;

/// Most time kept for the way of an answer: a round trip half around the earth.
pub const MAX_DEADLINE_MARGIN: Duration = Duration::from_millis(150);

/// What is kept of `remaining` for the way of the answer, so that a server's answer of the last moment, or its
/// own DEADLINE_EXCEEDED, still arrives in time. Never more than half.
fn deadline_margin(remaining: Duration) -> Duration {
    remaining.mul_f64(DEADLINE_MARGIN_SHARE).clamp(MIN_DEADLINE_MARGIN, MAX_DEADLINE_MARGIN).min(remaining / 2)
}

/// A value that may be sent as metadata.
pub(crate) type AsciiValue = MetadataValue<Ascii>;

/// Checks what a caller wants to send.
pub(crate) fn value(field: &str, text: &str) -> Result<AsciiValue, Error> {
    if text.len() > MAX_VALUE_BYTES {
        let message = format!("{field} has {} bytes, at most {MAX_VALUE_BYTES} are taken", text.len());
        return Err(Error::invalid(field, "BAD_METADATA", message));
    }
    text.parse().map_err(|_| Error::invalid(field, "BAD_METADATA", format!("{field} is not visible ASCII")))
}

/// The `authorization` of a bearer token, kept out of logs.
pub(crate) fn bearer(token: &str) -> Result<AsciiValue, Error> {
    let mut value: AsciiValue = format!("Bearer {token}")
        .parse()
        .map_err(|_| Error::new(ErrorKind::Config, "bearer_token is not visible ASCII"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Adds the model and the estimated tokens and their work to the metadata, so that a server without time for them can refuse
/// before it reads the message. A model name that cannot stand in metadata is left out.
pub(crate) fn announce(map: &mut MetadataMap, model: &str, amount: Amount) {
    if let Ok(model) = value("model", model) {
        map.insert(keys::MODEL, model);
    }
    map.insert(keys::TOKENS, amount.tokens.into());
    map.insert(keys::WORK, amount.work.into());
}

/// Marks an attempt as a rescue: every earlier attempt of the chunk is lost.
pub(crate) fn mark_rescue(map: &mut MetadataMap) {
    map.insert(keys::RESCUE, MetadataValue::from_static("true"));
}

/// Metadata that is the same for every attempt of a job.
#[derive(Clone, Debug)]
pub(crate) struct JobMetadata {
    pub(crate) job_id: Option<AsciiValue>,
    pub(crate) lane: Lane,
    pub(crate) tenant: Option<AsciiValue>,
    pub(crate) authorization: Option<AsciiValue>,
    pub(crate) traceparent: Option<AsciiValue>,
    pub(crate) propagator: Option<Propagator>,
}

impl JobMetadata {
    /// The same with a token.
    pub(crate) fn authorized(mut self, authorization: Option<AsciiValue>) -> Self {
        self.authorization = authorization;
        self
    }

    /// A number that names the tenant.
    pub(crate) fn tenant_number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.tenant.as_ref().map(|tenant| tenant.as_bytes()).hash(&mut hasher);
        hasher.finish()
    }

    /// A request of attempt number `attempt` that may take `remaining`, of which the deadline margin is kept.
    pub(crate) fn request<T>(&self, message: T, attempt: u32, remaining: Duration) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(remaining.saturating_sub(deadline_margin(remaining)));
        let map = request.metadata_mut();
        if let Some(id) = &self.job_id {
            map.insert(keys::JOB_ID, id.clone());
        }
        map.insert(keys::ATTEMPT, attempt.into());
        map.insert(keys::LANE, MetadataValue::from_static(self.lane.name()));
        if let Some(tenant) = &self.tenant {
            map.insert(keys::TENANT, tenant.clone());
        }
        if let Some(token) = &self.authorization {
            map.insert("authorization", token.clone());
        }
        self.trace(map);
        request
    }

    /// The trace context: the caller's own words, else that of the span this is called in.
    fn trace(&self, map: &mut MetadataMap) {
        if let Some(context) = &self.traceparent {
            map.insert("traceparent", context.clone());
            return;
        }
        let context = self.propagator.as_ref().and_then(|Propagator(extract)| extract(&tracing::Span::current()));
        let Some(context) = context else { return };
        // A context that is no header value is none; the call does not fail for it.
        if let Ok(parent) = context.traceparent.parse::<AsciiValue>() {
            map.insert("traceparent", parent);
            if let Some(state) = context.tracestate.and_then(|state| state.parse::<AsciiValue>().ok()) {
                map.insert("tracestate", state);
            }
        }
    }
}

/// gRFC A6 pushback: a wait, or a negative or unreadable number for "do not come again".
pub(crate) fn pushback(map: &MetadataMap) -> Option<Pushback> {
    let value = map.get(keys::PUSHBACK)?;
    let wait = value.to_str().ok().and_then(|text| text.parse().ok());
    Some(wait.map_or(Pushback::Never, |ms| Pushback::After(Duration::from_millis(ms))))
}

/// The load report among the trailers, if there is one.
pub(crate) fn report(map: &MetadataMap) -> Option<LoadReport> {
    let bytes = map.get_bin(keys::ORCA)?.to_bytes().ok()?;
    Some(from_load_report(&from_orca(&OrcaLoadReport::decode(bytes).ok()?)))
}

/// The same from the body of a probe.
pub(crate) fn from_load_report(wire: &v1::LoadReport) -> LoadReport {
    let limits = wire.limits.unwrap_or_default();
    LoadReport {
        epoch: wire.epoch,
        queue_wait: millis(f64::from(wire.queue_wait_ms)),
        cost: Cost { a_us: f64::from(wire.a_ms) * 1e3, b_us: f64::from(wire.b_us) },
        limits: from_limits(&limits),
        draining: wire.state() == v1::ModelState::Draining,
        busy: f64::from(wire.busy),
        served_tokens_per_second: f64::from(wire.served_tokens_per_second),
        rate_tokens_per_second: f64::from(wire.rate_tokens_per_second),
        overdue: f64::from(wire.overdue),
    }
}

pub(crate) fn from_limits(wire: &v1::Limits) -> Limits {
    Limits {
        max_batch_tokens: u64::from(wire.max_batch_tokens),
        max_items: u64::from(wire.max_items),
        max_message_bytes: wire.max_message_bytes,
        max_queue_tokens: wire.max_queue_tokens,
        cuts_jobs: wire.cuts_jobs,
    }
}

/// A reported number of milliseconds; nonsense counts as nothing.
pub(crate) fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}
