//! A client that shares no code with us: `buf curl`, which knows the server by reflection alone.
//!
//! `cargo xtask test` fetches it and says where it is in `SORTIE_BUF`; without, the set-up's cache is looked at.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
};

use rustix::process::Signal;

use crate::support::{Server, until};

/// The tool.
fn buf() -> PathBuf {
    if let Some(path) = env::var_os("SORTIE_BUF") {
        return path.into();
    }
    let var = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let user_cache = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let cache = var("SORTIE_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(user_cache)))?.join("sortie")));
    let cache = cache.expect("there is a home");
    let tools = fs::read_dir(cache.join("tools")).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = tools.map(|folder| folder.join("buf")).find(|path| path.is_file());
    found.expect("buf is not in the cache; `cargo xtask test` or `cargo xtask check` fetches it")
}

/// One call; what it printed.
async fn curl(server: &Server, rpc: &str, message: &str) -> (bool, String, String) {
    let mut command = Command::new(buf());
    command.args(["curl", "-v", "--http2-prior-knowledge", "--protocol", "grpc", "-d", message]);
    command.arg(format!("http://{}/{rpc}", server.address));
    let run = tokio::task::spawn_blocking(move || command.output());
    let Output { status, stdout, stderr } = run.await.unwrap().expect("buf runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.success(), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sees_answers_load_and_refusals() {
    let server = Server::start(1.0, 1.0, &[]).await;
    let message = r#"{"query": {"text": "q"}, "documents": [{"text": "a"}, {"text": "b"}]}"#;
    let (answered, answer, wire) = curl(&server, "sortie.v1.EncoderService/Rerank", message).await;
    assert!(answered, "{wire}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["scores"].as_array().unwrap().len(), 2, "{answer}");
    assert!(wire.to_lowercase().contains("endpoint-load-metrics-bin"), "no load in the trailers:\n{wire}");

    let message = r#"{"query": {"text": "q"}, "documents": []}"#;
    let (answered, _, wire) = curl(&server, "sortie.v1.EncoderService/Rerank", message).await;
    assert!(!answered);
    for word in ["invalid_argument", "documents is empty", "google.rpc.ErrorInfo", "google.rpc.BadRequest"] {
        assert!(wire.contains(word), "{word} is missing:\n{wire}");
    }
    assert!(wire.to_lowercase().contains("endpoint-load-metrics-bin"), "no load with the refusal:\n{wire}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sees_health_flip() {
    let mut server = Server::start(1.0, 1.0, &["--drain-grace", "1h"]).await;
    let health = "grpc.health.v1.Health/Check";
    for name in ["", "readiness", "liveness", "timed"] {
        let (answered, answer, wire) = curl(&server, health, &format!(r#"{{"service": "{name}"}}"#)).await;
        assert!(answered && answer.contains("\"SERVING\""), "{name}: {answer}\n{wire}");
    }
    server.signal(Signal::TERM);
    let server_ref = &server;
    until("readiness goes", async || {
        let (_, answer, _) = curl(server_ref, health, r#"{"service": "readiness"}"#).await;
        answer.contains("\"NOT_SERVING\"").then_some(())
    })
    .await;
    let (_, answer, _) = curl(&server, health, r#"{"service": "liveness"}"#).await;
    assert!(answer.contains("\"SERVING\""), "a server that drains is alive: {answer}");
    // Once more ends the grace of an hour.
    server.signal(Signal::TERM);
    let _ = server.ended().await;
}
