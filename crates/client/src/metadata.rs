//! Request metadata that every attempt carries, and what trailers say back.
//!
//! Sent: `sortie-job-id`, `sortie-attempt`, `sortie-lane`, `sortie-tenant`,
//! `authorization`, `traceparent`, `grpc-timeout`. Read: `grpc-retry-pushback-ms`
//! (gRFC A6) and `endpoint-load-metrics-bin` (ORCA, gRFC A51).

use std::time::Duration;

use prost::Message as _;
use sortie_dispatch::{Cost, Limits, Report};
use sortie_proto::{metadata as keys, orca::OrcaLoadReport, v1};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::error::{Error, ErrorKind};

/// Longest job id, tenant or trace context: servers copy them into answers and log lines.
pub const MAX_VALUE_BYTES: usize = 128;

/// Which queue a job waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lane {
    /// Somebody is waiting.
    #[default]
    Interactive,
    /// Nobody is: goes after interactive work.
    Bulk,
}

impl Lane {
    fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }
}

/// A value that may be sent as metadata.
pub(crate) type Value = MetadataValue<Ascii>;

/// Checks what a caller wants to send.
pub(crate) fn value(field: &str, text: &str) -> Result<Value, Error> {
    if text.len() > MAX_VALUE_BYTES {
        let message = format!("{field} has {} bytes, at most {MAX_VALUE_BYTES} are taken", text.len());
        return Err(Error::invalid(field, "BAD_METADATA", message));
    }
    text.parse().map_err(|_| Error::invalid(field, "BAD_METADATA", format!("{field} is not visible ASCII")))
}

/// The `authorization` of a bearer token, kept out of logs.
pub(crate) fn bearer(token: &str) -> Result<Value, Error> {
    let mut value: Value = format!("Bearer {token}")
        .parse()
        .map_err(|_| Error::new(ErrorKind::Config, "bearer_token is not visible ASCII"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Metadata that is the same for every attempt of a job.
#[derive(Clone, Debug)]
pub(crate) struct JobMetadata {
    pub(crate) job_id: Option<Value>,
    pub(crate) lane: Lane,
    pub(crate) tenant: Option<Value>,
    pub(crate) authorization: Option<Value>,
    pub(crate) traceparent: Option<Value>,
}

impl JobMetadata {
    /// A request of attempt number `attempt` that may take `remaining`.
    pub(crate) fn request<T>(&self, message: T, attempt: u32, remaining: Duration) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(remaining);
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
        if let Some(context) = &self.traceparent {
            map.insert("traceparent", context.clone());
        }
        request
    }
}

/// gRFC A6 pushback: a wait, or a negative or unreadable number for "do not come again".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    After(Duration),
    Never,
}

pub(crate) fn pushback(map: &MetadataMap) -> Option<Pushback> {
    let value = map.get(keys::PUSHBACK)?;
    let wait = value.to_str().ok().and_then(|text| text.parse().ok());
    Some(wait.map_or(Pushback::Never, |ms| Pushback::After(Duration::from_millis(ms))))
}

/// The load report among the trailers, if there is one.
pub(crate) fn report(map: &MetadataMap) -> Option<Report> {
    let bytes = map.get_bin(keys::ORCA)?.to_bytes().ok()?;
    let orca = OrcaLoadReport::decode(bytes).ok()?;
    let get = |name: &str| orca.named_metrics.get(name).copied().unwrap_or(0.0);
    Some(Report {
        epoch: get("sortie.epoch") as u64,
        drain: millis(get("sortie.drain_ms")),
        cost: Cost { a_us: get("sortie.a_ms") * 1e3, b_us: get("sortie.b_us") },
        limits: Limits {
            max_batch_tokens: get("sortie.max_batch_tokens") as u64,
            max_items: get("sortie.max_items") as u64,
            max_message_bytes: get("sortie.max_message_bytes") as u64,
            max_queue_tokens: get("sortie.max_queue_tokens") as u64,
        },
        draining: get("sortie.state") as i32 == v1::ModelState::Draining as i32,
        busy: orca.application_utilization,
        served_tok_s: get("sortie.served_tok_s"),
        rate_tok_s: get("sortie.rate_tok_s"),
        overdue: get("sortie.overdue"),
    })
}

/// The same from the body of a probe.
pub(crate) fn from_load_report(wire: &v1::LoadReport) -> Report {
    let limits = wire.limits.unwrap_or_default();
    Report {
        epoch: wire.epoch,
        drain: millis(f64::from(wire.drain_ms)),
        cost: Cost { a_us: f64::from(wire.a_ms) * 1e3, b_us: f64::from(wire.b_us) },
        limits: from_limits(&limits),
        draining: wire.state() == v1::ModelState::Draining,
        busy: f64::from(wire.busy),
        served_tok_s: 0.0,
        rate_tok_s: f64::from(wire.rate_tok_s),
        overdue: f64::from(wire.overdue),
    }
}

pub(crate) fn from_limits(wire: &v1::Limits) -> Limits {
    Limits {
        max_batch_tokens: u64::from(wire.max_batch_tokens),
        max_items: u64::from(wire.max_items),
        max_message_bytes: wire.max_message_bytes,
        max_queue_tokens: wire.max_queue_tokens,
    }
}

/// A reported number of milliseconds; nonsense counts as nothing.
pub(crate) fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}
