//! Start, health, drain, deadlines, callers that go away, keys, metrics.

use std::{path::Path, time::Duration};

use sortie_frontend::{LIVENESS, READINESS, config::ConfigDuration};
use sortie_testkit::{Gate, Reply, texts};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{Running, config, fleet, rerank, until};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

async fn health(gateway: &Running, service: &str) -> Option<i32> {
    let mut client = HealthClient::new(gateway.channel().await);
    let request = HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.ok().map(|answer| answer.into_inner().status)
}

async fn admin(file: &Path, path: &str) -> (u16, String) {
    let address = std::fs::read_to_string(file).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(format!("http://{}{path}", address.trim())).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn health_and_readiness_follow_the_fleet() {
    let mut servers = fleet(1).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin");
    let mut config = config(&servers);
    config.frontend.admin = Some("127.0.0.1:0".parse().unwrap());
    config.frontend.admin_addr_file = Some(file.clone());
    let (gateway, _stub) = Running::ready(config).await;
    for name in ["", READINESS, "m", "sortie.v1.EncoderService"] {
        until(async || health(&gateway, name).await == Some(SERVING)).await;
    }
    assert_eq!(admin(&file, "/readyz").await.0, 200);
    servers[0].kill().await;
    until(async || health(&gateway, READINESS).await == Some(NOT_SERVING)).await;
    let (code, why) = admin(&file, "/readyz").await;
    assert_eq!((code, why.trim()), (503, "waiting: no server is ready"));
    assert_eq!(health(&gateway, LIVENESS).await, Some(SERVING));
    assert_eq!(health(&gateway, "m").await, None, "no server says that it has the model");
    servers[0].revive().unwrap();
    until(async || health(&gateway, READINESS).await == Some(SERVING)).await;
    until(async || health(&gateway, "m").await == Some(SERVING)).await;
}

#[tokio::test]
async fn a_server_that_is_held_up_serves_what_it_served() {
    let mut servers = fleet(1).await;
    let (gateway, mut stub) = Running::ready(config(&servers)).await;
    servers[0].freeze();
    // Over several rounds, each of which ends without an answer.
    let end = tokio::time::Instant::now() + Duration::from_secs(4);
    while tokio::time::Instant::now() < end {
        let listed = stub.list_models(sortie_proto::v1::ListModelsRequest {}).await.unwrap().into_inner().models;
        assert_eq!(listed.len(), 1);
        assert_eq!(health(&gateway, READINESS).await, Some(SERVING));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    servers[0].thaw();
    stub.rerank(rerank(&texts(1, 3))).await.unwrap();
    servers[0].kill().await;
    until(async || health(&gateway, READINESS).await == Some(NOT_SERVING)).await;
}

#[tokio::test]
async fn a_stop_lets_jobs_finish_and_takes_no_more() {
    let servers = fleet(1).await;
    let gate = Gate::new();
    servers[0].always(Reply::answer().gated(&gate));
    let mut config = config(&servers);
    config.frontend.drain_timeout = ConfigDuration::secs(3_600);
    let (mut gateway, mut stub) = Running::ready(config).await;
    let mut other = stub.clone();
    let running = tokio::spawn(async move { other.rerank(rerank(&texts(1, 3))).await });
    gate.entered(1).await;
    gateway.stop();
    until(async || stub.rerank(rerank(&texts(1, 3))).await.is_err_and(|status| status.code() == Code::Unavailable))
        .await;
    gate.open();
    assert_eq!(running.await.unwrap().unwrap().into_inner().scores.len(), 3);
    gateway.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_job_with_it() {
    let servers = fleet(4).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    let gate = Gate::new();
    servers.iter().for_each(|server| {
        server.always(Reply::answer().gated(&gate));
    });
    let call = tokio::spawn(async move { stub.rerank(rerank(&texts(1, 120))).await });
    gate.entered(2).await;
    call.abort();
    gate.dropped(2).await;
}

#[tokio::test]
async fn one_deadline_holds_for_the_whole_job() {
    let servers = fleet(1).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    servers[0].always(Reply::answer().gated(&Gate::new()));
    let mut request = Request::new(rerank(&texts(1, 3)));
    request.set_timeout(Duration::from_secs(2));
    let error = stub.rerank(request).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
}

#[tokio::test]
async fn a_key_says_who_calls_and_the_servers_hear_it() {
    let servers = fleet(1).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    std::fs::write(&path, "team-a:0123456789abcdef\n").unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "the-gateways-own-key\n").unwrap();
    let mut config = config(&servers);
    config.frontend.api_keys = Some(path);
    config.endpoint_token_file = Some(token);
    let gateway = Running::start(config).await;
    let mut stub = gateway.stub().await;
    let error = stub.rerank(rerank(&texts(1, 1))).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    let mut request = Request::new(rerank(&texts(1, 1)));
    request.metadata_mut().insert("authorization", "Bearer 0123456789abcdef".parse().unwrap());
    request.metadata_mut().insert("sortie-tenant", "somebody-else".parse().unwrap());
    stub.rerank(request).await.unwrap();
    let call = servers[0].calls().remove(0);
    assert_eq!((call.tenant.as_str(), call.authorization.as_str()), ("team-a", "Bearer the-gateways-own-key"));
}

#[tokio::test]
async fn servers_of_a_file_come_and_go_with_it() {
    let servers = fleet(2).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("servers");
    std::fs::write(&path, format!("# one\n{}\n", servers[0].address())).unwrap();
    let mut config = config(&[]);
    config.endpoint_file = Some(path.clone());
    config.frontend.reload_interval = ConfigDuration::millis(5);
    let (_gateway, mut stub) = Running::ready(config).await;
    stub.rerank(rerank(&texts(1, 2))).await.unwrap();
    assert_eq!(servers[0].calls().len(), 1);
    std::fs::write(&path, servers[1].address()).unwrap();
    until(async || {
        stub.rerank(rerank(&texts(1, 2))).await.unwrap();
        !servers[1].calls().is_empty()
    })
    .await;
}

#[tokio::test]
async fn metrics_show_requests_the_fleet_and_what_the_client_counts() {
    let servers = fleet(2).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin");
    let mut config = config(&servers);
    config.frontend.admin = Some("127.0.0.1:0".parse().unwrap());
    config.frontend.admin_addr_file = Some(file.clone());
    let (_gateway, mut stub) = Running::ready(config).await;
    stub.rerank(rerank(&texts(1, 40))).await.unwrap();
    let line = "sortie_requests_total{code=\"OK\",model=\"m\",rpc=\"Rerank\"} 1";
    until(async || admin(&file, "/metrics").await.1.contains(line)).await;
    let (_, scrape) = admin(&file, "/metrics").await;
    for series in [
        "sortie_gateway_endpoints{state=\"known\"} 2",
        "sortie_items_total{model=\"m\",result=\"ok\"} 40",
        "sortie_client_jobs_total{",
        "sortie_client_job_seconds_bucket{",
        "sortie_build_info{",
    ] {
        assert!(scrape.contains(series), "{series}\n{scrape}");
    }
    let documents = [
        include_str!("../../../../docs/metrics.md"),
        include_str!("../../../../docs/client.md"),
        include_str!("../../../../docs/gateway.md"),
    ];
    for name in scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        let documented = name.starts_with("process_") || documents.iter().any(|document| document.contains(name));
        assert!(documented, "{name} is in no document");
    }
    // What alerts and dashboard go by is there before the first fault.
    let asked = [
        include_str!("../../../../deploy/helm/sortie/files/alerts.yaml"),
        include_str!("../../../../deploy/helm/sortie/files/dashboard.json"),
    ];
    let words = asked.iter().flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    let wanted: std::collections::BTreeSet<_> = words.filter(|word| word.starts_with("sortie_gateway_")).collect();
    assert!(wanted.len() > 2, "{wanted:?}");
    for name in wanted {
        assert!(scrape.contains(&format!("\n{name}{{")) || scrape.contains(&format!("\n{name} ")), "{name}\n{scrape}");
    }
}

#[tokio::test]
async fn reflection_names_the_service() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let servers = fleet(1).await;
    let (gateway, _stub) = Running::ready(config(&servers)).await;
    let mut client = ServerReflectionClient::new(gateway.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["sortie.v1.EncoderService", "grpc.health.v1.Health", "tei.v1.Embed", "tei.v1.Rerank"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
}
