//! Spans arrive at a sink that speaks OTLP, in the caller's trace.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use sortie_proto::v1;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::support::{serve_with, text, with_frontend};

/// Passes on what it gets.
struct Sink(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn sink() -> (String, mpsc::UnboundedReceiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::unbounded_channel();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Sink(sender)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, receiver)
}

fn attributes(span: &Span) -> BTreeMap<&str, Value> {
    span.attributes.iter().map(|a| (a.key.as_str(), a.value.clone().unwrap().value.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_of_the_callers_trace_with_its_stages() {
    let (address, mut spans) = sink().await;
    let config = with_frontend(&["bert-rerank"], |f| f.otlp_endpoint = Some(address));
    let (mut server, mut client) = serve_with(config).await;
    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let documents = vec![text("w6"), text("w7 w8")];
    let message = v1::RerankRequest { query: Some(text("never-in-a-span")), documents, ..Default::default() };
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", format!("00-{trace}-{caller}-01").parse().unwrap());
    request.metadata_mut().insert("sortie-job-id", "job-7".parse().unwrap());
    client.rerank(request).await.unwrap();
    // Not sampled by the caller, so not here either.
    let mut unsampled = Request::new(v1::ListModelsRequest {});
    unsampled.metadata_mut().insert("traceparent", format!("00-{trace}-{caller}-00").parse().unwrap());
    client.list_models(unsampled).await.unwrap();
    drop(client);
    // A stop sends what is left.
    server.stop();
    server.task.await.unwrap().unwrap();

    let mut exports = vec![spans.recv().await.unwrap()];
    // On a slow machine in several batches.
    exports.extend(std::iter::from_fn(|| spans.try_recv().ok()));
    let resource = exports[0].resource_spans[0].resource.as_ref().unwrap();
    let service = resource.attributes.iter().find(|a| a.key == "service.name").unwrap();
    assert_eq!(service.value.as_ref().unwrap().value, Some(Value::StringValue("sortie-server".to_owned())));
    assert!(!format!("{exports:?}").contains("never-in-a-span"));

    let resources = exports.iter().flat_map(|export| &export.resource_spans);
    let spans: Vec<&Span> = resources.flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans).collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert!(spans.iter().all(|s| hex(&s.trace_id) == trace));
    let whole = spans.iter().find(|s| s.name == "sortie.v1.EncoderService/Rerank").unwrap();
    assert_eq!(hex(&whole.parent_span_id), caller);
    let about = attributes(whole);
    assert_eq!(about["sortie.job_id"], Value::StringValue("job-7".to_owned()));
    assert_eq!(about["sortie.items"], Value::IntValue(2));
    assert_eq!(about["rpc.grpc.status_code"], Value::IntValue(0));
    let mut stages: Vec<_> = spans.iter().filter(|s| s.parent_span_id == whole.span_id).collect();
    stages.sort_by_key(|s| ["admit", "tokenize", "queue", "compute"].iter().position(|name| *name == s.name));
    let names: Vec<_> = stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["admit", "tokenize", "queue", "compute"]);
    for stage in stages {
        assert!(stage.start_time_unix_nano <= stage.end_time_unix_nano, "{stage:?}");
        assert!(whole.start_time_unix_nano <= stage.start_time_unix_nano, "{stage:?}");
        assert!(stage.end_time_unix_nano <= whole.end_time_unix_nano, "{stage:?}");
    }
    assert_eq!(spans.len(), 5);
}

/// Nobody listens: requests and the stop do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_not_there_holds_nothing_up() {
    // Bound, so that nobody else is given it, and not listening.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    let config = with_frontend(&["bert-base"], |f| f.otlp_endpoint = Some(endpoint));
    let (mut server, mut client) = serve_with(config).await;
    client.list_models(v1::ListModelsRequest {}).await.unwrap();
    drop(client);
    server.stop();
    tokio::time::timeout(std::time::Duration::from_secs(60), server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_endpoint_that_makes_no_sense_ends_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = with_frontend(&["bert-base"], |f| f.otlp_endpoint = Some("not a url".to_owned()));
    let error = sortie_server::serve(listener, config, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("otlp_endpoint"), "{error}");
}
