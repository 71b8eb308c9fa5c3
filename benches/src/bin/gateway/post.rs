//! One HTTP POST in TEI's form, as any program would send it: keep-alive over HTTP/1.1.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, Serialize};

use crate::{texts::TextJob, ways::WayAnswer};

/// Longest that an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A caller with connections of its own.
#[derive(Clone, Debug)]
pub(super) struct PostCaller {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

#[derive(Serialize)]
struct RerankPost<'a> {
    query: &'a str,
    texts: &'a [String],
}

#[derive(Deserialize)]
struct ScoredText {
    index: usize,
    score: f32,
}

impl PostCaller {
    /// Calls what listens there.
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, url: format!("http://{address}/rerank") }
    }

    /// Scores of a job in the order of its documents: from texts to numbers, JSON both ways included.
    pub(super) async fn scores(&self, job: &TextJob) -> anyhow::Result<WayAnswer> {
        let started = Instant::now();
        let body = encode(job)?;
        let ready = Instant::now();
        let answer = self.send(body).await?;
        let answered = Instant::now();
        let ranked: Vec<ScoredText> = serde_json::from_slice(&answer).context("the answer is no ranking")?;
        let mut scores = vec![f32::NAN; job.documents.len()];
        for ScoredText { index, score } in ranked {
            *scores.get_mut(index).with_context(|| format!("there is no document {index}"))? = score;
        }
        Ok(WayAnswer { scores, took: started.elapsed(), own_json: ready - started + answered.elapsed() })
    }

    /// Sends a body and takes the whole answer.
    pub(super) async fn send(&self, body: Bytes) -> anyhow::Result<Bytes> {
        let request =
            http::Request::post(&self.url).header("content-type", "application/json").body(Full::new(body))?;
        let exchange = async {
            let answer = self.client.request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            if !status.is_success() {
                bail!("{status}: {}", String::from_utf8_lossy(&body));
            }
            Ok(body)
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("no answer in time")?
    }
}

/// The body of a job.
pub(super) fn encode(job: &TextJob) -> anyhow::Result<Bytes> {
    let post = RerankPost { query: &job.query, texts: &job.documents };
    Ok(serde_json::to_vec(&post).context("a job is no JSON")?.into())
}
