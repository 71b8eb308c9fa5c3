//! What a program sees: spans, trace context, metrics.

use std::sync::{Arc, OnceLock};

use crate::common::{builder, fleet, until};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use parking_lot::Mutex;
use sortie_client::{DispatchConfig, TraceContext};
use sortie_testkit::{TestServer, texts};
use tracing::{
    Dispatch, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};
use tracing_subscriber::{Layer, Registry, layer::Context, layer::SubscriberExt as _};

/// Writes down each span that ends: its name, its parent's, its fields.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(String, String, String)>>>);

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl<S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).expect("it is new").extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(fields) = context.span(id).expect("it lives").extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        let span = context.span(&id).expect("it closes");
        let parent = span.parent().map(|parent| parent.name().to_owned()).unwrap_or_default();
        let fields = span.extensions().get::<Fields>().map(|fields| fields.0.clone()).unwrap_or_default();
        self.0.lock().push((span.name().to_owned(), parent, fields));
    }
}

/// Has spans of this thread go to a subscriber.
///
/// `tracing` takes a subscriber that is the only one for everybody's: a span that another test's thread, which has
/// none, comes to first would be off for good. So there is always a second one.
fn subscribe(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(Registry::default()));
    tracing::subscriber::set_default(subscriber)
}

#[tokio::test]
async fn a_span_for_the_job_each_chunk_and_each_attempt_with_reasons() {
    let spans = Spans::default();
    let _guard = subscribe(Registry::default().with(spans.clone()));
    let servers = fleet(3).await;
    let client = builder(&servers).connect().await.unwrap();
    client.rerank("q", texts(1, 90)).job_id("j1").await.unwrap();
    // A span ends with the last task that has it, of a connection for example: the job's after those below it.
    until(|| spans.0.lock().iter().any(|span| span.0 == "job")).await;
    let seen = spans.0.lock().clone();
    let ours = |name: &str| seen.iter().filter(|span| span.0 == name).cloned().collect::<Vec<_>>();
    let job = &ours("job")[0];
    for field in ["job=\"j1\"", "rpc=\"Rerank\"", "items=90", "chunks=3", "outcome=\"ok\""] {
        assert!(job.2.contains(field), "{field} {}", job.2);
    }
    let (chunks, attempts) = (ours("chunk"), ours("attempt"));
    assert_eq!((chunks.len(), attempts.len()), (3, 3));
    assert!(chunks.iter().all(|(_, parent, _)| parent == "job"));
    for (_, parent, fields) in &attempts {
        assert_eq!(parent, "chunk");
        for field in ["kind=first", "reason=", "endpoint=", "outcome=\"ok\"", "number=1"] {
            assert!(fields.contains(field), "{field} {fields}");
        }
    }
}

#[tokio::test]
async fn each_attempt_carries_the_trace_context_of_its_own_span() {
    let _guard = subscribe(Registry::default());
    let servers = fleet(3).await;
    let context = |span: &tracing::Span| {
        let id = span.id()?.into_u64();
        Some(TraceContext::new(format!("00-0af7651916cd43dd8448eb211c80319c-{id:016x}-01")).with_tracestate("s=1"))
    };
    let client = builder(&servers).trace_context(context).connect().await.unwrap();
    client.rerank("q", texts(1, 90)).await.unwrap();
    let mut parents: Vec<_> = servers.iter().flat_map(TestServer::calls).map(|call| call.traceparent).collect();
    assert!(parents.iter().all(|parent| parent.len() == 55), "{parents:?}");
    parents.sort();
    parents.dedup();
    assert_eq!(parents.len(), 3);
    // A call's own words go first.
    client.rerank("q", ["d"]).traceparent("00-own").await.unwrap();
    assert!(servers.iter().flat_map(TestServer::calls).any(|call| call.traceparent == "00-own"));
}

#[tokio::test]
async fn jobs_attempts_and_tokens_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshot = recorder.snapshotter();
    // The tests of this file run on one thread each; the recorder is of this one.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let servers = fleet(3).await;
    let client = builder(&servers).connect().await.unwrap();
    client.rerank("q", texts(1, 90)).await.unwrap();
    client.rerank("q", Vec::<&str>::new()).await.unwrap_err();
    let mut counted = std::collections::BTreeMap::new();
    for (key, _, _, value) in snapshot.snapshot().into_vec() {
        let labels: Vec<_> = key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let number = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(samples) => samples.len() as u64,
            DebugValue::Gauge(_) => continue,
        };
        counted.insert(format!("{}{{{}}}", key.key().name(), labels.join(",")), number);
    }
    let get = |key: &str| counted.get(key).copied().unwrap_or_else(|| panic!("{key} of {counted:#?}"));
    assert_eq!(get("sortie_client_jobs_total{rpc=Rerank,outcome=ok}"), 1);
    assert_eq!(get("sortie_client_job_seconds{rpc=Rerank}"), 1);
    assert_eq!(get("sortie_client_attempts_total{rpc=Rerank,kind=first,outcome=ok}"), 3);
    assert_eq!(get("sortie_client_job_chunks{rpc=Rerank}"), 1);
    assert_eq!(get("sortie_client_chunk_tokens{rpc=Rerank}"), 3);
    assert!(get("sortie_client_tokens_total{}") > 0);
    assert_eq!(get("sortie_client_hedges_won_total{}"), 0);
}

/// Fleets that are asked before a job is cut: it has no chunks until its probes are back.
#[tokio::test]
async fn chunks_of_a_job_that_probes_cut_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshot = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let servers = fleet(8).await;
    let mut config = DispatchConfig::default();
    config.place.probe_fleet = 2;
    config.place.probe_worth = 1e-9;
    let client = builder(&servers).dispatch(config).connect().await.unwrap();
    let answer = client.rerank("q", texts(1, 3)).await.unwrap();
    let counted = snapshot.snapshot().into_vec();
    let samples = |name: &str| {
        let found = counted.iter().find(|(key, ..)| key.key().name() == name);
        match found.map(|(.., value)| value) {
            Some(DebugValue::Histogram(samples)) => samples.iter().map(|sample| sample.into_inner()).collect(),
            other => panic!("{name}: {other:?}"),
        }
    };
    let chunks: Vec<f64> = samples("sortie_client_job_chunks");
    assert_eq!(chunks, [answer.report.chunks.len() as f64]);
    assert_eq!(samples("sortie_client_chunk_tokens").len(), answer.report.chunks.len());
}
