//! Keys: who may call, who that is, and that nobody reads them anywhere.

use std::process::Stdio;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sortie_frontend::config::ConfigDuration;
use sortie_proto::{metadata::TENANT, v1};
use sortie_server::ServerConfig;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_client::ServerReflectionClient};

use crate::support::{
    Client, Running,
    admin::{Admin, serve_with_admin},
    config, oracle, plain, read_soon, refused, text, with_frontend,
};

const KEY: &str = "the-first-key-of-team-a";
const OTHER: &str = "the-second-key-of-team-a";

/// A server that asks for the keys in the file of the folder.
async fn serve(keys: &str) -> (Running, Client, Admin, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    std::fs::write(&path, keys).unwrap();
    let config = with_frontend(&["bert-rerank"], |f| {
        f.api_keys = Some(path);
        f.reload_interval = ConfigDuration::millis(1);
    });
    let (running, client, admin) = serve_with_admin(config).await;
    (running, client, admin, dir)
}

fn with(header: &'static str, value: &str) -> Request<v1::RerankRequest> {
    let message = v1::RerankRequest { query: Some(text("w5")), documents: vec![text("w6")], ..Default::default() };
    let mut request = Request::new(message);
    request.metadata_mut().insert(header, value.parse().unwrap());
    request
}

fn bearer(key: &str) -> Request<v1::RerankRequest> {
    with("authorization", &format!("Bearer {key}"))
}

#[tokio::test]
async fn a_caller_shows_a_key_or_is_refused() {
    let (_server, mut client, admin, _dir) = serve(&format!("team-a:{KEY}\n")).await;
    client.rerank(bearer(KEY)).await.unwrap();
    client.rerank(with("x-api-key", KEY)).await.unwrap();
    for wrong in [bearer(OTHER), bearer(""), with("x-other", KEY), with("authorization", KEY)] {
        let want = plain(Code::Unauthenticated, "UNAUTHENTICATED");
        let status = refused(client.rerank(wrong).await, want, &["key"]);
        assert!(!status.message().contains("the-"), "{}", status.message());
    }
    // Looking is no exception.
    let probe = client.probe(v1::ProbeRequest::default()).await.unwrap_err();
    assert_eq!(probe.code(), Code::Unauthenticated);
    let series = "sortie_refusals_total{model=\"\",reason=\"UNAUTHENTICATED\"}";
    admin.becomes(series, 5.0).await;
}

#[tokio::test]
async fn probes_need_no_key_and_reflection_does() {
    let (server, _client, _admin, _dir) = serve(&format!("team-a:{KEY}\n")).await;
    let mut health = HealthClient::new(server.channel().await);
    health.check(HealthCheckRequest::default()).await.unwrap();
    let asking = || futures::stream::iter([ServerReflectionRequest::default()]);
    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let refused = reflection.server_reflection_info(asking()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut request = Request::new(asking());
    request.metadata_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    reflection.server_reflection_info(request).await.unwrap();
}

#[tokio::test]
async fn keys_change_while_the_server_runs() {
    let (_server, mut client, admin, dir) = serve(&format!("team-a:{KEY}\n")).await;
    let path = dir.path().join("keys");
    std::fs::write(&path, format!("team-a:{KEY}\nteam-a:{OTHER}\n")).unwrap();
    while client.rerank(bearer(OTHER)).await.is_err() {}
    client.rerank(bearer(KEY)).await.unwrap();
    std::fs::write(&path, format!("team-a:{OTHER}\n")).unwrap();
    while client.rerank(bearer(KEY)).await.is_ok() {}
    // A file that makes no sense changes nothing.
    std::fs::write(&path, "nonsense\n").unwrap();
    while admin.metric("sortie_reloads_total{file=\"keys\",result=\"error\"}").await < Some(1.0) {}
    client.rerank(bearer(OTHER)).await.unwrap();
}

#[tokio::test]
async fn a_file_that_makes_no_sense_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    std::fs::write(&path, format!("team-a:{KEY}\n{OTHER}\n")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = with_frontend(&["bert-rerank"], |f| f.api_keys = Some(path));
    let error = sortie_server::serve(listener, config, std::future::pending()).await.unwrap_err().to_string();
    assert!(error.contains("api_keys") && error.contains("line 2") && !error.contains(OTHER), "{error}");
}

#[tokio::test]
async fn models_change_only_with_a_key_where_keys_are_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    std::fs::write(&path, format!("operator:{KEY}\n")).unwrap();
    let config = ServerConfig { admin_models: true, admin_keys: Some(path), ..config(&["bert-rerank"]) };
    let (_server, _client, admin) = serve_with_admin(config).await;
    let body = json!({ "name": "late", "path": oracle("bert-base").to_str().unwrap() });
    assert_eq!(admin.ask(Method::POST, "/models", Some(body.clone())).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(admin.ask(Method::DELETE, "/models/bert-rerank", None).await.0, StatusCode::UNAUTHORIZED);
    let admin = admin.with_key(KEY);
    assert_eq!(admin.ask(Method::POST, "/models", Some(body)).await.0, StatusCode::CREATED);
}

/// Long before the next look at the file.
#[cfg(unix)]
#[tokio::test]
async fn sighup_reads_keys_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, address) = (dir.path().join("keys"), dir.path().join("addr"));
    std::fs::write(&keys, format!("team-a:{KEY}\n")).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sortie-server"));
    command.args(["--listen", "127.0.0.1:0", "--reload-interval", "1h", "--addr-file"]).arg(&address);
    command.arg("--api-keys").arg(&keys).arg("--model").arg(oracle("bert-rerank"));
    let child = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut client = Client::connect(format!("http://{}", read_soon(&address).await)).await.unwrap();
    client.rerank(bearer(OTHER)).await.unwrap_err();
    std::fs::write(&keys, format!("team-a:{OTHER}\n")).unwrap();
    let pid = child.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
    while client.rerank(bearer(OTHER)).await.is_err() {}
    client.rerank(bearer(KEY)).await.unwrap_err();
}

/// Everything the process writes, with the finest log there is.
#[cfg(unix)]
#[tokio::test]
async fn no_key_is_ever_logged() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, address) = (dir.path().join("keys"), dir.path().join("addr"));
    std::fs::write(&keys, format!("team-a:{KEY}\n")).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sortie-server"));
    let arguments = ["--listen", "127.0.0.1:0", "--log-format", "json", "--log-filter", "trace,h2=trace,hyper=trace"];
    command.args(arguments).arg("--addr-file").arg(&address).arg("--api-keys").arg(&keys);
    let child = command
        .arg("--model")
        .arg(oracle("bert-rerank"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = child.id().unwrap().to_string();
    // Its output is read from the first line on, or a full pipe would stop it before it listens.
    let output = tokio::spawn(child.wait_with_output());
    let address = read_soon(&address).await;
    called(pid, address).await;
    let output = output.await.unwrap().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(log.contains("\"team-a\""), "the tenant is the key's name, whatever the caller says");
    for secret in [KEY, OTHER, "somebody-else"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// Calls with a good key and a bad one, and stops the process.
async fn called(pid: String, address: String) {
    let mut client = Client::connect(format!("http://{address}")).await.unwrap();
    let mut good = bearer(KEY);
    good.metadata_mut().insert(TENANT, "somebody-else".parse().unwrap());
    client.rerank(good).await.unwrap();
    client.rerank(with("x-api-key", KEY)).await.unwrap();
    client.rerank(bearer(OTHER)).await.unwrap_err();
    drop(client);
    assert!(tokio::process::Command::new("kill").arg(&pid).status().await.unwrap().success());
}
