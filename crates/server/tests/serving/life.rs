//! Models that come, go and change places while requests keep coming.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sortie_proto::v1;
use sortie_server::ServerConfig;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Client, Running,
    admin::{Admin, serve_with_admin},
    config, folder, oracle, text,
};

async fn serve(models: &[&str]) -> (Running, Client, Admin) {
    serve_with_admin(ServerConfig { admin_models: true, ..config(models) }).await
}

fn rerank(model: &str) -> v1::RerankRequest {
    let documents = vec![text("w6 w7"), text("w8")];
    v1::RerankRequest { model: model.to_owned(), query: Some(text("w5")), documents, ..Default::default() }
}

fn path(name: &str) -> String {
    oracle(name).to_str().unwrap().to_owned()
}

fn field<'v>(answer: &'v Value, key: &str) -> &'v str {
    answer[key].as_str().unwrap()
}

#[tokio::test]
async fn a_model_is_loaded_served_listed_and_unloaded() {
    let (server, mut client, admin) = serve(&["bert-base"]).await;
    let body = json!({ "name": "late", "path": path("bert-rerank") });
    let (code, answer) = admin.ask(Method::POST, "/models", Some(body.clone())).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((field(&answer, "state"), field(&answer, "task")), ("READY", "RERANK"));

    let mut health = HealthClient::new(server.channel().await);
    let of = || HealthCheckRequest { service: "late".to_owned() };
    assert_eq!(health.check(of()).await.unwrap().into_inner().status, 1);
    let chunk = client.rerank(rerank("late")).await.unwrap().into_inner().chunk.unwrap();
    assert_eq!(chunk.model_revision, field(&answer, "revision"));
    let (_, list) = admin.get("/models").await;
    assert!(list.contains("\"bert-base\"") && list.contains("\"late\""), "{list}");
    assert_eq!(admin.metric("sortie_model_ready{model=\"late\"}").await, Some(1.0));

    // Loading it again is a slip.
    assert_eq!(admin.ask(Method::POST, "/models", Some(body)).await.0, StatusCode::CONFLICT);

    assert_eq!(admin.ask(Method::DELETE, "/models/late", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.rerank(rerank("late")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(health.check(of()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(admin.ask(Method::DELETE, "/models/late", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(admin.metric("sortie_model_ready{model=\"late\"}").await, None);
}

/// Requests run all through the swap: every one is answered, by one revision or the other, and none
/// by the old one once the swap was answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_drops_no_request() {
    let (_server, client, admin) = serve(&["bert-rerank"]).await;
    let (_dir, other) = folder::copy("bert-rerank");
    folder::edit_tensors(&other, |t| t.values_mut().for_each(|(_, n)| n.iter_mut().for_each(|x| *x *= 0.5)));
    let mut asking = client.clone();
    let before = asking.rerank(rerank("")).await.unwrap().into_inner();
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, done) = (client.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    client.rerank(rerank("")).await?;
                }
                Ok::<_, tonic::Status>(())
            })
        })
        .collect();
    for round in 0..3 {
        let to = if round % 2 == 0 { other.to_str().unwrap().to_owned() } else { path("bert-rerank") };
        let (code, answer) = admin.ask(Method::PUT, "/models/bert-rerank", Some(json!({ "path": to }))).await;
        assert_eq!(code, StatusCode::OK, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let chunk = asking.rerank(rerank("")).await.unwrap().into_inner().chunk.unwrap();
        assert_eq!(chunk.model_revision, field(&answer, "revision"), "round {round}");
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    let after = asking.rerank(rerank("")).await.unwrap().into_inner();
    assert_ne!(before.chunk.unwrap().model_revision, after.chunk.unwrap().model_revision);
    assert_ne!(before.scores, after.scores);
}

/// The old model is given back once its last request is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_found_the_old_model_is_answered_by_it() {
    let (server, mut client, admin) = serve(&["bert-rerank"]).await;
    let (send, message) = futures::channel::oneshot::channel::<Vec<u8>>();
    let mut asking = client.clone();
    let documents = vec![text("w6 ".repeat(180)); 500];
    let long = v1::RerankRequest { documents, ..rerank("") };
    let old = client.rerank(rerank("")).await.unwrap().into_inner().chunk.unwrap().model_revision;
    let long = tokio::spawn(async move { asking.rerank(long).await });
    while admin.metric("sortie_running_tokens{model=\"bert-rerank\"}").await.unwrap() < 1.0 {
        assert!(!long.is_finished(), "the job was too small to be seen");
    }
    assert_eq!(admin.ask(Method::DELETE, "/models/bert-rerank", None).await.0, StatusCode::NO_CONTENT);
    let chunk = long.await.unwrap().unwrap().into_inner().chunk.unwrap();
    assert_eq!(chunk.model_revision, old);
    assert_eq!(client.rerank(rerank("bert-rerank")).await.unwrap_err().code(), Code::NotFound);
    drop((send, message, server));
}

/// The old model's threads end, and with them what they hold.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_went_is_given_back() {
    let threads = |name: &str| {
        // The system cuts names of threads at 15 characters.
        let start = format!("sortie-{name}-");
        let all = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        all.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|n| n.starts_with(&start)))
            .count()
    };
    let (_server, mut client, admin) = serve(&["bert-base"]).await;
    let body = json!({ "name": "back", "path": path("bert-rerank") });
    assert_eq!(admin.ask(Method::POST, "/models", Some(body.clone())).await.0, StatusCode::CREATED);
    client.rerank(rerank("back")).await.unwrap();
    let one = threads("back");
    assert!(one > 0);
    assert_eq!(admin.ask(Method::PUT, "/models/back", Some(body)).await.0, StatusCode::OK);
    while threads("back") > one {
        tokio::task::yield_now().await;
    }
    client.rerank(rerank("back")).await.unwrap();
    assert_eq!(admin.ask(Method::DELETE, "/models/back", None).await.0, StatusCode::NO_CONTENT);
    while threads("back") > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_model_that_does_not_load_leaves_the_old_one_alone() {
    let (_server, mut client, admin) = serve(&["bert-rerank"]).await;
    let (_dir, broken) = folder::copy("bert-rerank");
    std::fs::write(broken.join("tokenizer.json"), "{").unwrap();
    let body = json!({ "path": broken.to_str().unwrap() });
    let (code, answer) = admin.ask(Method::PUT, "/models/bert-rerank", Some(body)).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    assert!(answer.contains("tokenizer.json"), "{answer}");
    client.rerank(rerank("bert-rerank")).await.unwrap();
}

#[tokio::test]
async fn slips_are_named() {
    let (_server, _client, admin) = serve(&["bert-rerank"]).await;
    for (method, at, body, code, word) in [
        (Method::PUT, "/models/nobody", json!({ "path": path("bert-base") }), StatusCode::NOT_FOUND, "nobody"),
        (Method::PUT, "/models/a", json!({ "name": "b", "path": "/x" }), StatusCode::BAD_REQUEST, "path names"),
        (Method::POST, "/models", json!({ "path": "" }), StatusCode::BAD_REQUEST, "empty"),
        (Method::POST, "/models", json!({ "pth": "/x" }), StatusCode::BAD_REQUEST, "pth"),
        (Method::POST, "/models", json!({ "name": "liveness", "path": "/x" }), StatusCode::BAD_REQUEST, "health"),
    ] {
        let (got, answer) = admin.ask(method.clone(), at, Some(body)).await;
        assert!(got == code && answer.contains(word), "{method} {at}: {got} {answer}");
    }
}

#[tokio::test]
async fn models_change_only_where_that_was_allowed() {
    let (_server, _client, admin) = serve_with_admin(config(&["bert-rerank"])).await;
    assert_eq!(
        admin.ask(Method::POST, "/models", Some(json!({ "path": "/x" }))).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(admin.ask(Method::DELETE, "/models/bert-rerank", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(admin.get("/models").await.0, StatusCode::OK);
}
