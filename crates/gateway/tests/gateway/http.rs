//! The HTTP port: the dialects of `sortie-http` over the fleet, by the gateway's own stack.

use std::path::PathBuf;

use serde_json::{Value, json};
use sortie_gateway::GatewayConfig;
use sortie_testkit::{Gate, Reply, score_of, texts};

use crate::support::{Running, config, fleet, until};

/// A gateway with an HTTP port, and a client of it.
struct Http {
    gateway: Running,
    http: reqwest::Client,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Http {
    async fn start(mut config: GatewayConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("http");
        config.frontend.http = Some("127.0.0.1:0".parse().unwrap());
        config.frontend.http_addr_file = Some(file.clone());
        let gateway = Running::start(config).await;
        until(async || file.exists()).await;
        Self { gateway, http: reqwest::Client::builder().no_proxy().build().unwrap(), file, _dir: dir }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", std::fs::read_to_string(&self.file).unwrap().trim())
    }

    async fn get(&self, path: &str) -> u16 {
        self.http.get(self.url(path)).send().await.unwrap().status().as_u16()
    }

    async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = self.http.post(self.url(path)).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = request.body(body.to_string()).send().await.unwrap();
        let code = answer.status().as_u16();
        (code, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }
}

#[tokio::test]
async fn one_post_becomes_a_job_over_the_fleet() {
    let servers = fleet(4).await;
    let http = Http::start(config(&servers)).await;
    until(async || http.get("/health").await == 200).await;
    let documents = texts(1, 1_316);
    let (code, answer) = http.post("/rerank", None, &json!({ "query": "q", "texts": documents })).await;
    assert_eq!(code, 200, "{answer}");
    let ranks = answer.as_array().unwrap();
    assert_eq!(ranks.len(), 1_316, "every text has its place");
    for rank in ranks {
        let index = rank["index"].as_u64().unwrap() as usize;
        assert_eq!(rank["score"].as_f64().unwrap() as f32, score_of(&documents[index]));
    }
    let asked = servers.iter().filter(|server| !server.calls().is_empty()).count();
    assert!(asked > 1, "{asked} of 4 servers were asked");
    let (code, answer) = http.post("/v1/rerank", None, &json!({ "query": "q", "documents": ["a", "b"] })).await;
    assert_eq!((code, answer["results"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
}

#[tokio::test]
async fn health_follows_the_fleet_and_keys_are_those_of_grpc() {
    let mut servers = fleet(1).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    std::fs::write(&path, "team-a:0123456789abcdef\n").unwrap();
    let mut config = config(&servers);
    config.frontend.api_keys = Some(path);
    let http = Http::start(config).await;
    until(async || http.get("/health").await == 200).await;
    let body = json!({ "query": "q", "texts": ["a"] });
    assert_eq!(http.post("/rerank", None, &body).await.0, 401);
    assert_eq!(http.post("/rerank", Some("0123456789abcdef"), &body).await.0, 200);
    assert_eq!(servers[0].calls()[0].tenant, "team-a");
    servers[0].kill().await;
    until(async || http.get("/health").await == 503).await;
}

#[tokio::test]
async fn a_connection_that_closes_takes_its_job_with_it() {
    let servers = fleet(1).await;
    let http = Http::start(config(&servers)).await;
    until(async || http.get("/health").await == 200).await;
    let gate = Gate::new();
    servers[0].always(Reply::answer().gated(&gate));
    let body = json!({ "query": "q", "texts": ["a", "b"] }).to_string();
    let request = http.http.post(http.url("/rerank")).header("content-type", "application/json").body(body).send();
    let call = tokio::spawn(request);
    gate.entered(1).await;
    call.abort();
    gate.dropped(1).await;
}

#[tokio::test]
async fn a_stop_lets_http_requests_finish() {
    let servers = fleet(1).await;
    let mut http = Http::start(config(&servers)).await;
    until(async || http.get("/health").await == 200).await;
    let gate = Gate::new();
    servers[0].always(Reply::answer().gated(&gate));
    let url = http.url("/rerank");
    let body = json!({ "query": "q", "texts": ["a", "b"] }).to_string();
    let call = tokio::spawn(http.http.post(url).header("content-type", "application/json").body(body).send());
    gate.entered(1).await;
    http.gateway.stop();
    gate.open();
    assert_eq!(call.await.unwrap().unwrap().status().as_u16(), 200);
    http.gateway.task.await.unwrap().unwrap();
}
