//! The binary itself: the address file, signals, exit codes.

use std::{process::Stdio, time::Duration};

use prost::Message as _;
use sortie_proto::v1;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};
use tonic::Code;

use crate::support::text;

/// The binary itself: the address file, a signal, the exit code.
#[cfg(unix)]
#[tokio::test]
async fn the_process_serves_and_ends_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("addr");
    let child = Command::new(env!("CARGO_BIN_EXE_sortie-server"))
        .args(["--listen", "127.0.0.1:0", "--log-format", "json", "--log-filter", "debug", "--addr-file"])
        .arg(&file)
        .arg("--model")
        .arg(format!("m={}", crate::support::oracle("bert-rerank").display()))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let address = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Ok(text) = std::fs::read_to_string(&file) {
                break text.trim().to_owned();
            }
            tokio::task::yield_now().await;
        }
    });
    let address = address.await.unwrap();
    let mut client = crate::support::Client::connect(format!("http://{address}")).await.unwrap();
    let secret = "w5 never-in-the-log";
    let request = v1::RerankRequest { query: Some(text(secret)), documents: vec![text(secret)], ..Default::default() };
    assert!(request.encoded_len() > 0);
    client.rerank(request).await.unwrap();
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let log = String::from_utf8(ended.stderr).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let listening =
        lines.iter().find(|l| l["message"].as_str().is_some_and(|m| m.starts_with("listening on "))).unwrap();
    assert_eq!(listening["address"], address.as_str());
    let request = lines.iter().find(|l| l["message"] == "request").unwrap();
    assert_eq!((request["rpc"].as_str(), request["code"].as_str()), (Some("Rerank"), Some("Ok")));
    assert!(!log.contains("never-in-the-log"));
}

/// Callers that keep calling: each request is answered, or refused in words that send it elsewhere.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_no_accepted_request() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("addr");
    let mut child = Command::new(env!("CARGO_BIN_EXE_sortie-server"))
        .args(["--listen", "127.0.0.1:0", "--addr-file"])
        .arg(&file)
        .arg("--model")
        .arg(crate::support::oracle("bert-rerank"))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    while !file.exists() {
        tokio::task::yield_now().await;
    }
    let address = std::fs::read_to_string(&file).unwrap();
    let address = format!("http://{}", address.trim());
    let answered = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut callers = Vec::new();
    for _ in 0..8 {
        let answered = std::sync::Arc::clone(&answered);
        let mut client = crate::support::Client::connect(address.clone()).await.unwrap();
        callers.push(tokio::spawn(async move {
            loop {
                let documents = vec![text("w6 ".repeat(100)); 20];
                let request = v1::RerankRequest { query: Some(text("w5")), documents, ..Default::default() };
                match client.rerank(request).await {
                    Ok(answer) => assert_eq!(answer.into_inner().scores.len(), 20),
                    Err(status) => return status,
                }
                answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }));
    }
    while answered.load(std::sync::atomic::Ordering::Relaxed) < 50 {
        assert!(callers.iter().all(|c| !c.is_finished()), "a caller was refused before the stop");
        tokio::task::yield_now().await;
    }
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
    for caller in callers {
        let status = caller.await.unwrap();
        // In words, by a port that is closed, by the client's own transport before anything was sent, or by a last
        // GOAWAY that names an earlier stream as the last one that the server took.
        let words = format!("{status:?}");
        let unsent = ["hyper::Error(Canceled, \"connection closed\")", "GoAway(b\"\", NO_ERROR"];
        let unsent = unsent.iter().any(|said| words.contains(said));
        assert!(status.code() == Code::Unavailable || unsent, "{status:?}");
    }
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

/// A first signal waits for the request in flight, a second one for nothing.
#[cfg(unix)]
#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sortie-server"))
        .args(["--listen", "127.0.0.1:0", "--log-format", "json", "--max-concurrent-requests", "1", "--model"])
        .arg(crate::support::oracle("bert-rerank"))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line = async |start: &str| loop {
        let line: serde_json::Value = serde_json::from_str(&log.next_line().await.unwrap().unwrap()).unwrap();
        if line["message"].as_str().is_some_and(|m| m.starts_with(start)) {
            break line;
        }
    };
    let address = line("listening on ").await["address"].as_str().unwrap().to_owned();
    let channel = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let (held, _) = crate::support::raw::hold(channel).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
    line("SIGTERM: stopping").await;
    assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
    line("SIGTERM again").await;
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    held.call.abort();
}

/// Orchestrators set variables that nobody filled in.
#[tokio::test]
async fn blank_variables_are_unset_ones() {
    let said = Command::new(env!("CARGO_BIN_EXE_sortie-server"))
        .args(["--print-config", "--model", "m=/x"])
        .envs(
            ["SORTIE_ADMIN", "SORTIE_API_KEYS", "SORTIE_CONFIG", "SORTIE_LOG_FORMAT", "SORTIE_HEALTH"].map(|n| (n, "")),
        )
        .env("SORTIE_MAX_ITEMS", " ")
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&said.stderr);
    assert_eq!((said.status.code(), error.as_ref()), (Some(0), ""));
    let config = String::from_utf8(said.stdout).unwrap();
    assert!(config.contains("log_format = \"text\"") && !config.contains("api_keys"), "{config}");
}

#[tokio::test]
async fn a_folder_is_inspected_without_serving_it() {
    let inspect = async |folder: std::path::PathBuf| {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_sortie-server"));
        let said = command.arg("inspect").arg(folder).arg("--json").output().await.unwrap();
        (said.status.code(), String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap())
    };
    let folder = crate::support::folder::assemble("pylate");
    let (code, said, _) = inspect(folder.path().to_owned()).await;
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, json["task"].as_str(), json["query_length"].as_u64()),
        (Some(0), Some("late interaction"), Some(12))
    );
    let (code, said, error) = inspect(folder.path().join("nowhere")).await;
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(error.contains("nowhere"), "{error}");
}
