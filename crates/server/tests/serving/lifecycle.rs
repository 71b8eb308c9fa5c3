//! Start and stop: health, reflection, requests in flight, the address file, and
//! starts that fail by name.

use std::time::Duration;

use crate::support::{Running, config, folder, serve_with, spec, text, with_frontend};
use sortie_frontend::{LIVENESS, READINESS, config::ConfigDuration};
use sortie_proto::v1;
use tokio::net::TcpListener;
use tonic::{Code, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request,
        server_reflection_response,
    },
    v1alpha,
};

/// As the health protocol numbers them.
const SERVING: i32 = ServingStatus::Serving as i32;
const NOT_SERVING: i32 = ServingStatus::NotServing as i32;

/// Longer than any test may take.
const HOUR: ConfigDuration = ConfigDuration::secs(3_600);

async fn watch(server: &Running, service: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(server.channel().await).watch(request).await.unwrap().into_inner()
}

async fn check(server: &Running, service: &str) -> Result<i32, Code> {
    let mut health = HealthClient::new(server.channel().await);
    let request = HealthCheckRequest { service: service.to_owned() };
    health.check(request).await.map(|r| r.into_inner().status).map_err(|s| s.code())
}

#[tokio::test]
async fn health_names_the_process_and_each_model() {
    let (server, _client) = serve_with(config(&["bert-base", "bert-rerank"])).await;
    for service in ["", READINESS, LIVENESS, "bert-base", "bert-rerank", "sortie.v1.EncoderService"] {
        assert_eq!(check(&server, service).await, Ok(SERVING), "{service:?}");
    }
    assert_eq!(check(&server, "nobody").await, Err(Code::NotFound));
}

#[tokio::test]
async fn health_and_reflection_can_be_off() {
    let (server, _client) =
        serve_with(with_frontend(&["bert-base"], |f| (f.health, f.reflection) = (false, false))).await;
    assert_eq!(check(&server, "").await, Err(Code::Unimplemented));
    let request = ServerReflectionRequest::default();
    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let error = reflection.server_reflection_info(futures::stream::iter([request])).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

#[tokio::test]
async fn reflection_lists_services_and_knows_error_details() {
    let (server, _client) = serve_with(config(&["bert-base"])).await;
    let ask = |what| ServerReflectionRequest { host: String::new(), message_request: Some(what) };
    let requests = [
        ask(server_reflection_request::MessageRequest::ListServices(String::new())),
        ask(server_reflection_request::MessageRequest::FileContainingSymbol("google.rpc.RetryInfo".to_owned())),
        ask(server_reflection_request::MessageRequest::FileContainingSymbol("sortie.v1.RerankRequest".to_owned())),
    ];
    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let mut answers = reflection.server_reflection_info(futures::stream::iter(requests)).await.unwrap().into_inner();
    let mut next = async || answers.message().await.unwrap().unwrap().message_response.unwrap();
    let server_reflection_response::MessageResponse::ListServicesResponse(list) = next().await else {
        panic!("no list")
    };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for name in ["sortie.v1.EncoderService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for _ in 0..2 {
        let answer = next().await;
        assert!(matches!(answer, server_reflection_response::MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
    }
    // Old tools speak v1alpha.
    let mut old = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let what = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(what) };
    let mut answers = old.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
}

#[tokio::test]
async fn requests_in_flight_are_finished() {
    let (mut server, client) = serve_with(config(&["bert-rerank"])).await;
    let request = v1::RerankRequest {
        query: Some(text("w5")),
        documents: vec![text("w6 ".repeat(180)); 300],
        ..Default::default()
    };
    let mut asking = client.clone();
    let answer = tokio::spawn(async move { asking.rerank(request).await });
    let mut probe = client.clone();
    loop {
        let report = probe.probe(v1::ProbeRequest::default()).await.unwrap().into_inner().report.unwrap();
        if report.queued_tokens > 0 || report.running_tokens > 0 {
            break;
        }
    }
    server.stop();
    let answer = answer.await.unwrap().unwrap().into_inner();
    assert!(answer.scores.len() == 300 && answer.scores.iter().all(|s| s.is_finite()));
    server.task.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn health_says_not_serving_while_a_stop_is_announced() {
    let config = with_frontend(&["bert-base", "bert-rerank"], |f| f.drain_grace = HOUR);
    let (mut server, _client) = serve_with(config).await;
    let mut watch = watch(&server, "").await;
    assert_eq!(watch.message().await.unwrap().unwrap().status, SERVING);
    server.stop();
    assert_eq!(watch.message().await.unwrap().unwrap().status, NOT_SERVING);
    for service in ["", READINESS, "bert-base", "bert-rerank", "sortie.v1.EncoderService"] {
        // The names follow one another, so each is waited for.
        while check(&server, service).await != Ok(NOT_SERVING) {}
    }
    assert_eq!(check(&server, LIVENESS).await, Ok(SERVING), "the process lives and takes work");
    server.task.abort();
}

#[tokio::test]
async fn watches_end_and_do_not_hold_the_stop() {
    let (mut server, _client) = serve_with(with_frontend(&["bert-base"], |f| f.drain_timeout = HOUR)).await;
    let mut watches = vec![];
    for service in ["", READINESS, LIVENESS, "bert-base"] {
        let mut watch = watch(&server, service).await;
        assert_eq!(watch.message().await.unwrap().unwrap().status, SERVING, "{service:?}");
        watches.push((service, watch));
    }
    server.stop();
    for (service, mut watch) in watches {
        // A process that drains must not be restarted.
        if service != LIVENESS {
            assert_eq!(watch.message().await.unwrap().unwrap().status, NOT_SERVING, "{service:?}");
        }
        assert!(watch.message().await.unwrap().is_none(), "{service:?} is still watched");
    }
    tokio::time::timeout(Duration::from_secs(60), server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_before_the_models_are_loaded_is_obeyed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = with_frontend(&[], |f| f.addr_file = Some(dir.path().join("addr")));
    config.frontend.listen = "127.0.0.1:0".parse().unwrap();
    // Loading it would be an error.
    config.models.push(spec("missing", "/nowhere"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    sortie_server::serve(listener, config.clone(), std::future::ready(())).await.unwrap();
    sortie_server::run(config.clone(), std::future::ready(())).await.unwrap();
    assert!(!config.frontend.addr_file.unwrap().exists(), "it has served");
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up_after_the_grace() {
    let (mut server, _client) =
        serve_with(with_frontend(&["bert-rerank"], |f| f.drain_timeout = ConfigDuration::millis(50))).await;
    let channel = server.channel().await;
    let held = tokio::spawn(crate::support::raw::call(channel, "Rerank", futures::stream::pending()));
    server.stop();
    server.task.await.unwrap().unwrap();
    held.abort();
}

#[tokio::test]
async fn a_start_that_fails_names_the_model_and_the_file() {
    type Spoil = fn(&std::path::Path);
    let cases: [(&str, Spoil); 5] = [
        ("config.json", |f| std::fs::remove_file(f.join("config.json")).unwrap()),
        ("tokenizer.json", |f| std::fs::write(f.join("tokenizer.json"), "{").unwrap()),
        ("model.safetensors", |f| {
            let bytes = std::fs::read(f.join("model.safetensors")).unwrap();
            std::fs::write(f.join("model.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("model.safetensors", |f| folder::edit_tensors(f, |t| t.values_mut().for_each(|(_, n)| n[0] = f32::NAN))),
        ("tokenizer.json", |f| folder::edit_config(f, |c| c["vocab_size"] = 200.into())),
    ];
    for (file, spoil) in cases {
        let (_dir, folder) = folder::copy("bert-rerank");
        spoil(&folder);
        let mut config = config(&["bert-base"]);
        config.models.push(spec("spoilt", folder));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = sortie_server::serve(listener, config, std::future::pending()).await.unwrap_err();
        let message = format!("{:#}", anyhow::Error::from(error));
        assert!(
            message.contains("spoilt") && (message.contains(file) || message.contains("model.safetensors")),
            "{file}: {message}"
        );
    }
}

#[tokio::test]
async fn an_address_in_use_is_named_before_models_load() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = config(&[]);
    config.frontend.listen = address;
    config.models.push(spec("missing", "/nowhere"));
    let error = sortie_server::run(config, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
