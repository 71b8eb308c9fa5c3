//! Probes of the admin port, before, while and after work is taken.

use reqwest::StatusCode;
use sortie_frontend::config::ConfigDuration;
use sortie_proto::v1;

use crate::support::{
    Running,
    admin::{Admin, serve_with_admin, switch_on},
    config, text, with_frontend,
};

#[tokio::test]
async fn a_process_that_serves_is_live_and_ready() {
    let (_server, _client, admin) = serve_with_admin(config(&["bert-base"])).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(admin.get(path).await, (StatusCode::OK, "ok\n".to_owned()), "{path}");
    }
    assert_eq!(admin.get("/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_page_tells_a_servers_jobs_and_nobodys_texts() {
    let (_server, mut client, admin) = serve_with_admin(config(&["bert-base"])).await;
    let (code, page) = admin.get("/").await;
    assert!(code == StatusCode::OK && page.contains("<h3>bert-base</h3>"), "{page}");
    let inputs = vec![text("zebra w1 w2"), text("w3")];
    let mut request = tonic::Request::new(v1::EmbedRequest { inputs, ..v1::EmbedRequest::default() });
    request.metadata_mut().insert("sortie-job-id", "zebra".parse().unwrap());
    client.embed(request).await.unwrap();
    let refused = v1::EmbedRequest { model: "zebra".to_owned(), ..v1::EmbedRequest::default() };
    client.embed(refused).await.unwrap_err();
    let (code, state) = admin.get("/page/state.json").await;
    assert!(code == StatusCode::OK && !state.contains("zebra"), "{state}");
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert!(state["fleet"].is_null() && state["models"][0]["load"]["state"] == "ready", "{state}");
    let [refused, job] = state["jobs"].as_array().unwrap().as_slice() else { panic!("{state}") };
    assert_eq!((&refused["code"], &refused["model"]), (&"NOT_FOUND".into(), &"".into()));
    assert_eq!((&job["rpc"], &job["items"], &job["model"]), (&"Embed".into(), &2.into(), &"bert-base".into()));
    let attempt = &job["attempts"][0];
    assert!(attempt["compute_ms"].as_f64().unwrap() > 0.0 && attempt["tokens"] == job["tokens"], "{job}");
}

#[tokio::test]
async fn without_the_setting_there_is_no_admin_port() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin");
    let (_server, _client) =
        crate::support::serve_with(with_frontend(&["bert-base"], |f| f.admin_addr_file = Some(file.clone()))).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn a_draining_process_is_live_and_not_ready_and_can_be_scraped() {
    let config = with_frontend(&["bert-base"], |f| f.drain_grace = ConfigDuration::secs(3_600));
    let (mut server, _client, admin) = serve_with_admin(config).await;
    assert_eq!(admin.metric("sortie_ready").await, Some(1.0));
    server.stop();
    loop {
        let (code, why) = admin.get("/readyz").await;
        if code == StatusCode::SERVICE_UNAVAILABLE {
            assert!(why.starts_with("draining"), "{why}");
            break;
        }
    }
    assert_eq!(admin.get("/livez").await.0, StatusCode::OK);
    assert_eq!(admin.metric("sortie_ready").await, Some(0.0));
    server.task.abort();
}

/// The model comes from a hub that takes the request and never answers.
#[cfg(unix)]
#[tokio::test]
async fn probes_are_answered_while_models_load() {
    let (_, dir, file) = switch_on(config(&[]));
    let hub = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_sortie-server"))
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--model", "org/never", "--admin-addr-file"])
        .arg(&file)
        .env("HF_ENDPOINT", format!("http://{}", hub.local_addr().unwrap()))
        .env("HF_HOME", dir.path().join("hub"))
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let admin = Admin::of(dir, &file).await;
    assert_eq!(admin.get("/livez").await.0, StatusCode::OK);
    let (code, why) = admin.get("/readyz").await;
    assert!(code == StatusCode::SERVICE_UNAVAILABLE && why.starts_with("starting"), "{code} {why}");
    assert_eq!(admin.metric("sortie_ready").await, Some(0.0));
    assert_eq!(admin.get("/models").await.0, StatusCode::SERVICE_UNAVAILABLE);
    // A stop is obeyed meanwhile.
    let pid = child.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").arg(&pid).status().await.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_the_admin_port_waits_behind_work() {
    let (server, client, admin) = serve_with_admin(config(&["bert-rerank"])).await;
    let mut asking = client.clone();
    let documents = vec![text("w6 ".repeat(180)); 5_000];
    let job = v1::RerankRequest { query: Some(text("w5")), documents, ..Default::default() };
    let job = tokio::spawn(async move { asking.rerank(job).await });
    // While this holds the queue is not empty, and everything is answered.
    while admin.metric("sortie_queue_tokens{model=\"bert-rerank\"}").await.unwrap() < 1.0 {
        assert!(!job.is_finished(), "the job was too small to be seen");
    }
    for path in ["/livez", "/readyz", "/metrics", "/models"] {
        assert_eq!(admin.get(path).await.0, StatusCode::OK, "{path}");
    }
    let still: &Running = &server;
    assert!(!still.task.is_finished());
    job.abort();
}
