//! The admin port as an operator's tools use it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use sortie_server::ServerConfig;

use super::{Client, Running};

/// Longest wait for a series to come to its value.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a server's admin port is.
pub(crate) struct Admin {
    address: String,
    http: reqwest::Client,
    key: Option<String>,
    /// Holds the address file.
    _dir: tempfile::TempDir,
}

/// Turns the admin port of `config` on; its address comes into the file.
pub(crate) fn switch_on(mut config: ServerConfig) -> (ServerConfig, tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin");
    config.frontend.admin = Some("127.0.0.1:0".parse().unwrap());
    config.frontend.admin_addr_file = Some(file.clone());
    (config, dir, file)
}

/// A server with an admin port.
pub(crate) async fn serve_with_admin(config: ServerConfig) -> (Running, Client, Admin) {
    let (config, dir, file) = switch_on(config);
    let (running, client) = super::serve_with(config).await;
    let admin = Admin::of(dir, &file).await;
    while admin.get("/readyz").await.0 != StatusCode::OK {
        assert!(!running.task.is_finished(), "the server did not start");
    }
    (running, client, admin)
}

impl Admin {
    /// Waits for the address in `file`.
    pub(crate) async fn of(dir: tempfile::TempDir, file: &Path) -> Self {
        let address = loop {
            if let Ok(text) = std::fs::read_to_string(file) {
                break text.trim().to_owned();
            }
            tokio::task::yield_now().await;
        };
        Self { address, http: reqwest::Client::builder().no_proxy().build().unwrap(), key: None, _dir: dir }
    }

    /// Shows a key from now on.
    pub(crate) fn with_key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> (StatusCode, String) {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        self.ask(Method::GET, path, None).await
    }

    /// The value of one time series of a scrape, written as Prometheus writes it.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let (code, text) = self.get("/metrics").await;
        assert_eq!(code, StatusCode::OK, "{text}");
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until a series has its value: a caller may have its answer before the server has counted it.
    pub(crate) async fn becomes(&self, series: &str, value: f64) {
        let begun = Instant::now();
        loop {
            let now = self.metric(series).await;
            if now == Some(value) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{series} is {now:?}, not {value}");
        }
    }
}
