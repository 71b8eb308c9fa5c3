//! From what was noted of a request to its spans.

use std::time::SystemTime;

use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use sortie_proto::{code::code_name, v1::encoder_service_server};
use tokio::time::Instant;
use tonic::Code;

use super::{Stages, Traces};
use crate::context::RequestContext;

impl Traces {
    /// Writes the spans of a request that ended just now.
    pub fn record(&self, rpc: &'static str, context: &RequestContext, stages: &Stages, code: Code) {
        let Some(parent) = &context.parent else { return };
        // Instants tell lengths, the system's clock tells when.
        let (now, instant) = (SystemTime::now(), Instant::now());
        let at = |then: Instant| now.checked_sub(instant.saturating_duration_since(then)).unwrap_or(now);
        let span = self
            .tracer
            .span_builder(format!("{}/{rpc}", encoder_service_server::SERVICE_NAME))
            .with_kind(SpanKind::Server)
            .with_start_time(at(context.arrived))
            .with_attributes(attributes(rpc, context, code));
        let mut span = span.start_with_context(&self.tracer, parent);
        if !span.is_recording() {
            return;
        }
        if is_ours(code) {
            span.set_status(Status::error(code_name(code)));
        }
        let whole = parent.with_span(span);
        for stage in stages.all().iter() {
            let builder = self.tracer.span_builder(stage.name).with_start_time(at(stage.begun));
            builder.start_with_context(&self.tracer, &whole).end_with_timestamp(at(stage.ended));
        }
        whole.span().end_with_timestamp(now);
    }
}

/// Names of OpenTelemetry's conventions for RPCs, and ours.
fn attributes(rpc: &'static str, context: &RequestContext, code: Code) -> Vec<KeyValue> {
    let (items, tokens) = context.size();
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let caller = &context.caller;
    let mut all = vec![
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", encoder_service_server::SERVICE_NAME),
        KeyValue::new("rpc.method", rpc),
        KeyValue::new("rpc.grpc.status_code", code as i64),
        KeyValue::new("sortie.attempt", i64::from(caller.attempt)),
        KeyValue::new("sortie.items", number(items)),
        KeyValue::new("sortie.tokens", number(tokens)),
    ];
    if let Some(model) = context.model() {
        all.push(KeyValue::new("sortie.model", model.name().to_owned()));
        all.push(KeyValue::new("sortie.model_revision", model.revision().to_owned()));
    }
    for (key, value) in [("sortie.job_id", &caller.job_id), ("sortie.tenant", &caller.tenant)] {
        if !value.is_empty() {
            all.push(KeyValue::new(key, value.clone()));
        }
    }
    all
}

/// Codes that make a server's span an error (OpenTelemetry's conventions for gRPC).
fn is_ours(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}
