//! Traces over OTLP/gRPC, off unless an endpoint is set.
//!
//! A request is one span, child of the caller's (W3C `traceparent`), and its chunk's
//! stages are children of that:
//!
//! ```text
//! sortie.v1.EncoderService/Rerank
//! ├ admit     headers read → pipeline: the message, the checks, the key
//! ├ tokenize
//! ├ queue     until the first batch
//! └ compute   batches it was in; ends where the chunk does
//! ```
//! Spans are written when a request ends, from times noted on the way: nothing is
//! carried through the pipeline, and a request that is not sampled costs next to
//! nothing. They are sent in the background; when nobody takes them they are
//! dropped, never waited for. Texts and keys are in no span.

mod record;
mod stages;

use std::{env, time::Duration};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{TraceContextExt as _, TraceId, TracerProvider as _},
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};

pub use self::stages::Stages;
use crate::config::FrontendConfig;

/// Variables that name an endpoint, as every OTLP exporter reads them.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Variable that names the service; without it the program's name.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// How long the last spans may take to leave when the process ends.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Where spans go.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

impl Traces {
    /// As `config` and the `OTEL_*` variables say, of a `service` of this name; none without an endpoint. Called within tokio.
    ///
    /// # Errors
    /// When the endpoint or another variable makes no sense.
    pub fn start(config: &FrontendConfig, service: &'static str) -> Result<Option<Self>, ExporterBuildError> {
        let named = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty());
        if config.otlp_endpoint.is_none() && !ENDPOINTS.into_iter().any(named) {
            return Ok(None);
        }
        let builder = SpanExporter::builder().with_tonic();
        let exporter = match &config.otlp_endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        let mut about = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
        if !config.replica.is_empty() {
            about.push(KeyValue::new("service.instance.id", config.replica.clone()));
        }
        let resource = Resource::builder().with_attributes(about);
        let resource = if named(SERVICE_NAME) { resource } else { resource.with_service_name(service) };
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter.build()?).with_resource(resource.build()).build();
        let tracer = provider.tracer(service);
        Ok(Some(Self { provider, tracer, propagator: TraceContextPropagator::new() }))
    }

    /// The caller's span, as its headers name it.
    pub fn parent(&self, headers: &HeaderMap) -> Context {
        self.propagator.extract_with_context(&Context::new(), &Headers(headers))
    }

    /// Sends what is left.
    pub async fn finish(&self) {
        let provider = self.provider.clone();
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WAIT)).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!(%error, "the last spans were not taken");
        }
    }
}

/// The id of the trace that a context belongs to, where there is one.
pub(crate) fn trace_id(context: &Context) -> Option<TraceId> {
    let id = context.span().span_context().trace_id();
    (id != TraceId::INVALID).then_some(id)
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_callers_trace_is_read_and_nonsense_is_none() {
        let config =
            FrontendConfig { otlp_endpoint: Some("http://127.0.0.1:1".to_owned()), ..FrontendConfig::default() };
        let traces = Traces::start(&config, "sortie").unwrap().unwrap();
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", value.parse().unwrap());
            trace_id(&traces.parent(&headers)).map(|id| id.to_string())
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(read(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        for nonsense in ["", "00-zz-00f067aa0ba902b7-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
    }
}
