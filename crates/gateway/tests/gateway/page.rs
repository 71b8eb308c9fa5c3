//! The page of the gateway: who may see it, what it tells of jobs, and that it tells nobody's texts.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use reqwest::{StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use sortie_gateway::GatewayConfig;
use sortie_testkit::texts;

use crate::support::{Running, config, fleet, until};

const KEY: &str = "0123456789abcdef";

/// A text that nobody else writes.
const SECRET: &str = "zebra-4711-quagga";

const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

/// A gateway with both ports that have a page.
struct Pages {
    _gateway: Running,
    http: reqwest::Client,
    files: [PathBuf; 2],
    _dir: tempfile::TempDir,
}

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Http,
    Admin,
}

const PORTS: [Port; 2] = [Port::Http, Port::Admin];

impl Pages {
    /// Both ports listen on `ip`.
    async fn start(mut config: GatewayConfig, ip: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = ["http", "admin"].map(|name| dir.path().join(name));
        let address = format!("{ip}:0").parse().unwrap();
        (config.frontend.http, config.frontend.admin) = (Some(address), Some(address));
        config.frontend.http_addr_file = Some(files[0].clone());
        config.frontend.admin_addr_file = Some(files[1].clone());
        let gateway = Running::start(config).await;
        until(async || files.iter().all(|file| file.exists())).await;
        let pages =
            Self { _gateway: gateway, http: reqwest::Client::builder().no_proxy().build().unwrap(), files, _dir: dir };
        until(async || pages.get(Port::Http, "/health", &[]).await.0 == 200).await;
        pages
    }

    fn url(&self, port: Port, path: &str) -> String {
        let address = std::fs::read_to_string(&self.files[port as usize]).unwrap();
        // What listens everywhere is reached on loopback.
        format!("http://{}{path}", address.trim().replace("0.0.0.0", "127.0.0.1"))
    }

    async fn get(&self, port: Port, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = self.http.get(self.url(port, path)).header("accept", HTML);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.headers().clone(), answer.text().await.unwrap())
    }

    async fn state(&self, port: Port, headers: &[(&str, &str)]) -> Value {
        serde_json::from_str(&self.get(port, "/page/state.json", headers).await.2).unwrap()
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> StatusCode {
        let mut request = self.http.post(self.url(Port::Http, path)).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.to_string()).send().await.unwrap().status()
    }

    /// Everything that the page is made of.
    async fn all(&self, port: Port, headers: &[(&str, &str)]) -> Vec<(StatusCode, HeaderMap, String)> {
        let mut answers = Vec::new();
        for path in ["/", "/page/state.json", "/page/page.js", "/page/page.css", "/page/icon.svg"] {
            answers.push(self.get(port, path, headers).await);
        }
        answers
    }
}

fn with_keys(mut config: GatewayConfig, dir: &Path) -> GatewayConfig {
    let path = dir.join("keys");
    std::fs::write(&path, format!("team-a:{KEY}\n")).unwrap();
    config.frontend.api_keys = Some(path);
    config
}

#[tokio::test]
async fn on_loopback_it_shows_what_is_served_on_both_ports() {
    let servers = fleet(3).await;
    let pages = Pages::start(config(&servers), "127.0.0.1").await;
    for port in PORTS {
        let (status, headers, html) = pages.get(port, "/", &[]).await;
        assert_eq!(status, 200, "{port:?}");
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"), "{headers:?}");
        assert!(html.contains("sortie-gateway") && html.contains("3 servers"), "{html}");
        let model = &pages.state(port, &[]).await["models"][0]["name"];
        assert!(html.contains(&format!("<h3>{}</h3>", model.as_str().unwrap())), "{model}: {html}");
        assert_eq!(html.contains("id=\"try\""), port == Port::Http);
        for (status, headers, _) in pages.all(port, &[]).await {
            assert_eq!((status, &headers["x-content-type-options"]), (StatusCode::OK, &"nosniff".parse().unwrap()));
        }
        // A name of elsewhere that leads here is not asked by this machine.
        for (status, ..) in pages.all(port, &[("host", "attacker.example")]).await {
            assert_eq!(status, 403);
        }
    }
    // Programs that ask at / are told of health as before.
    let plain = pages.http.get(pages.url(Port::Http, "/")).send().await.unwrap();
    assert_eq!((plain.status(), plain.text().await.unwrap().as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn jobs_are_told_chunk_by_chunk_and_nobodys_texts_are() {
    let servers = fleet(4).await;
    let pages = Pages::start(config(&servers), "127.0.0.1").await;
    let texts: Vec<_> = texts(1, 1_316).into_iter().map(|text| format!("{SECRET} {text}")).collect();
    let marked = [("x-request-id", SECRET), ("sortie-tenant", SECRET), ("traceparent", SECRET), ("user-agent", SECRET)];
    let body = json!({ "query": SECRET, "texts": texts, "user": SECRET });
    // How soon a job is cut over servers is the client's business; that it is told is ours.
    let servers_of = |job: &Value| -> BTreeSet<String> {
        let attempts = job["attempts"].as_array().unwrap();
        attempts.iter().map(|attempt| attempt["server"].as_str().unwrap().to_owned()).collect()
    };
    until(async || {
        assert_eq!(pages.post("/rerank", &marked, &body).await, 200);
        servers_of(&pages.state(Port::Admin, &[]).await["jobs"][0]).len() > 1
    })
    .await;
    // Refused ones too: their messages name what was wrong.
    let unknown = json!({ "query": SECRET, "texts": texts, "model": SECRET });
    assert_eq!(pages.post("/rerank", &marked, &unknown).await, 404);
    assert_eq!(pages.post("/tag", &marked, &json!({ "inputs": SECRET, "parameters": { "stride": 1 } })).await, 422);
    let mut grpc = pages._gateway.stub().await;
    let mut message = crate::support::rerank(&texts);
    message.model = SECRET.to_owned();
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("sortie-model", SECRET.parse().unwrap());
    // These servers answer for any name; it is told all the same to nobody.
    grpc.rerank(request).await.unwrap();

    let state = pages.state(Port::Admin, &[]).await;
    let jobs = state["jobs"].as_array().unwrap();
    let job = jobs.iter().find(|job| servers_of(job).len() > 1).unwrap();
    assert_eq!((&job["rpc"], &job["items"]), (&json!("Rerank"), &json!(1_316)), "{state}");
    let attempts = job["attempts"].as_array().unwrap();
    let addresses: BTreeSet<_> = servers.iter().map(|server| server.address()).collect();
    assert!(servers_of(job).is_subset(&addresses), "{job}");
    let items: u64 = attempts.iter().map(|attempt| attempt["items"].as_u64().unwrap()).sum();
    assert_eq!(items, 1_316);
    for attempt in attempts {
        let end = attempt["began_ms"].as_f64().unwrap() + attempt["took_ms"].as_f64().unwrap();
        assert!(attempt["outcome"] == "ok" && end <= job["took_ms"].as_f64().unwrap(), "{job}");
    }
    // The model of the other is one that nobody serves, by what the servers say.
    assert!(
        jobs.iter().any(|job| job["model"] == "")
            && jobs.iter().all(|job| ["", "m"].contains(&job["model"].as_str().unwrap())),
        "{state}"
    );
    assert_eq!(state["fleet"]["servers"].as_array().map(Vec::len), Some(4));
    assert!(state["times"][0]["jobs"].as_u64() >= Some(2), "{state}");

    for port in PORTS {
        for (_, headers, text) in pages.all(port, &[]).await {
            assert!(!text.contains("zebra") && !format!("{headers:?}").contains("zebra"), "{text}");
        }
    }
}

#[tokio::test]
async fn with_keys_every_part_of_it_asks_for_one_wherever_it_listens() {
    for ip in ["127.0.0.1", "0.0.0.0"] {
        let (servers, dir) = (fleet(1).await, tempfile::tempdir().unwrap());
        let pages = Pages::start(with_keys(config(&servers), dir.path()), ip).await;
        let bearer = format!("Bearer {KEY}");
        // "any:0123456789abcdef" and "any:wrong".
        let basic = "Basic YW55OjAxMjM0NTY3ODlhYmNkZWY=";
        for port in PORTS {
            for wrong in [&[] as &[_], &[("authorization", "Basic YW55Ondyb25n")], &[("authorization", "Bearer wrong")]]
            {
                for (status, headers, text) in pages.all(port, wrong).await {
                    assert_eq!(status, 401, "{ip} {port:?}");
                    assert!(headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
                    assert!(!text.contains("sortie-gateway") && !text.contains("models"), "{text}");
                }
            }
            for right in [("authorization", bearer.as_str()), ("x-api-key", KEY), ("authorization", basic)] {
                // A name of elsewhere does no harm: whoever knows a key may come by it.
                for (status, ..) in pages.all(port, &[right, ("host", "sortie.example")]).await {
                    assert_eq!(status, 200, "{ip} {port:?} {right:?}");
                }
            }
        }
        let body = json!({ "query": "q", "texts": ["a"] });
        assert_eq!(pages.post("/rerank", &[("authorization", basic)], &body).await, 200, "what the page asks for");
        assert_eq!(pages.post("/rerank", &[], &body).await, 401);
    }
}

#[tokio::test]
async fn without_keys_it_is_off_where_others_can_reach_it() {
    let servers = fleet(1).await;
    let pages = Pages::start(config(&servers), "0.0.0.0").await;
    for port in PORTS {
        for (status, _, text) in pages.all(port, &[]).await {
            assert_eq!(status, 403, "{port:?}");
            assert!(text.contains("off") && !text.contains("sortie-gateway"), "{text}");
        }
    }
    assert_eq!(pages.post("/rerank", &[], &json!({ "query": "q", "texts": ["a"] })).await, 200, "work goes on");
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let servers = fleet(1).await;
    let mut config = config(&servers);
    config.frontend.page = false;
    let pages = Pages::start(config, "127.0.0.1").await;
    let (status, _, body) = pages.get(Port::Http, "/", &[]).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, ""), "browsers are answered as everybody");
    for (port, path) in [(Port::Http, "/page/state.json"), (Port::Admin, "/"), (Port::Admin, "/page/state.json")] {
        assert_eq!(pages.get(port, path, &[]).await.0, 404, "{port:?} {path}");
    }
}
