//! What balancers read of a server's load, in trailers and as a stream. Real balancers: `cargo xtask bench balancers`.

use std::time::Duration;

use sortie_proto::{
    metadata::ORCA,
    orca::{OrcaLoadReport, OrcaLoadReportRequest, open_rca_service_client::OpenRcaServiceClient},
    v1,
};
use tonic::{Code, Request};

use crate::support::{raw::hold, report, serve, serve_with, text, with_frontend};

/// Every interval that a stream may be asked for is longer than the least.
const AT_ONCE: prost_types::Duration = prost_types::Duration { seconds: 0, nanos: 1 };

const KEY: &str = "the-first-key-of-a-balancer";

/// As gRFC A58 weighs a server, where neither number may be zero.
fn weight(report: &OrcaLoadReport) -> f64 {
    assert!(report.rps_fractional > 0.0 && report.application_utilization > 0.0, "{report:?}");
    report.rps_fractional / (report.application_utilization + report.eps / report.rps_fractional)
}

#[tokio::test]
async fn an_idle_server_has_a_weight_and_its_header_is_padded() {
    let (_server, mut client) = serve(&["bert-rerank", "bert-base"]).await;
    let answer = client.list_models(v1::ListModelsRequest {}).await.unwrap();
    let encoded = answer.metadata().get_bin(ORCA).unwrap().as_encoded_bytes();
    assert_eq!(encoded.len() % 4, 0);
    let report = report(answer.metadata()).unwrap();
    assert!(weight(&report) > 0.0);
    assert!(report.named_metrics.is_empty(), "no model was asked: {report:?}");
}

#[tokio::test]
async fn a_refused_request_costs_weight_and_a_wrong_one_does_not() {
    let (server, mut client) = serve_with(with_frontend(&["bert-base"], |f| f.max_concurrent_requests = 1)).await;
    let embed = || v1::EmbedRequest { inputs: vec![text("w5")], ..Default::default() };
    client.embed(embed()).await.unwrap();
    let wrong = client.embed(v1::EmbedRequest::default()).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let after = client.embed(embed()).await.unwrap();
    assert_eq!(report(after.metadata()).unwrap().eps, 0.0);

    let (held, status) = hold(server.channel().await).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    drop(held.end);
    held.call.await.unwrap().unwrap_err();
    let after = client.embed(embed()).await.unwrap();
    assert!(report(after.metadata()).unwrap().eps > 0.0);
}

#[tokio::test]
async fn reports_stream_until_the_server_leaves() {
    let (mut server, mut client) = serve(&["bert-rerank"]).await;
    let mut balancer = OpenRcaServiceClient::new(server.channel().await);
    let ask = OrcaLoadReportRequest { report_interval: Some(AT_ONCE), ..Default::default() };
    let mut reports = balancer.stream_core_metrics(ask).await.unwrap().into_inner();
    let idle = reports.message().await.unwrap().unwrap();
    assert!(weight(&idle) > 0.0 && idle.named_metrics.is_empty(), "{idle:?}");
    let request = v1::RerankRequest { query: Some(text("w5")), documents: vec![text("w6")], ..Default::default() };
    client.rerank(request).await.unwrap();
    weight(&reports.message().await.unwrap().unwrap());
    server.stop();
    // Whatever was on its way, the stream ends, and with it the server.
    while let Ok(Some(_)) = reports.message().await {}
    drop((client, balancer));
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_needs_a_key_where_requests_do() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("balancer:{KEY}\n")).unwrap();
    let config = with_frontend(&["bert-base"], |f| f.api_keys = Some(keys));
    let (server, _client) = serve_with(config).await;
    let mut balancer = OpenRcaServiceClient::new(server.channel().await);
    let refused = balancer.stream_core_metrics(OrcaLoadReportRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut request = Request::new(OrcaLoadReportRequest::default());
    request.set_timeout(Duration::from_secs(60));
    request.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
    assert!(balancer.stream_core_metrics(request).await.unwrap().into_inner().message().await.unwrap().is_some());
}
