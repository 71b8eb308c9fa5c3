//! Equal items computed once, and answers that are kept: the same answers, less work, never an old model's.

use std::path::PathBuf;

use prost::Message as _;
use serde_json::json;
use sortie_frontend::config::ConfigDuration;
use sortie_proto::{
    tei::{self, rerank_client::RerankClient},
    v1,
};
use sortie_testkit::{Reply, TestServer, score_of, texts, tokens_of};
use tonic::Request;

use crate::support::{Running, Stub, config, fleet, inputs, rerank, until};

/// A gateway that keeps answers and tells its metrics.
struct Keeping {
    gateway: Running,
    stub: Stub,
    dir: tempfile::TempDir,
}

impl Keeping {
    async fn start(servers: &[TestServer]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(servers);
        config.cache_bytes = 4 << 20;
        config.frontend.admin = Some("127.0.0.1:0".parse().unwrap());
        config.frontend.admin_addr_file = Some(dir.path().join("admin"));
        config.frontend.http = Some("127.0.0.1:0".parse().unwrap());
        config.frontend.http_addr_file = Some(dir.path().join("http"));
        let (gateway, stub) = Running::ready(config).await;
        Self { gateway, stub, dir }
    }

    fn url(&self, file: &str, path: &str) -> String {
        let file: PathBuf = self.dir.path().join(file);
        format!("http://{}{path}", std::fs::read_to_string(file).unwrap().trim())
    }

    async fn metric(&self, line: &str) -> u64 {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let text = http.get(self.url("admin", "/metrics")).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no such metric\n{text}")).parse().unwrap()
    }

    /// Lookups that found, that did not, and that were not made.
    async fn lookups(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for (count, result) in counts.iter_mut().zip(["hit", "miss", "skipped"]) {
            *count = self.metric(&format!("sortie_gateway_cache_lookups_total{{result=\"{result}\"}}")).await;
        }
        counts
    }
}

fn asked(servers: &[TestServer]) -> usize {
    servers.iter().flat_map(|server| server.calls()).map(|call| call.texts.len()).sum()
}

#[tokio::test]
async fn a_kept_answer_is_the_answer_in_every_dialect_and_nothing_is_sent() {
    let servers = fleet(3).await;
    let mut keeping = Keeping::start(&servers).await;
    let documents = [texts(1, 60), texts(1, 20)].concat();
    let fresh = keeping.stub.rerank(rerank(&documents)).await.unwrap().into_inner();
    assert_eq!(asked(&servers), 60, "20 are duplicates");
    assert_eq!(keeping.metric("sortie_gateway_duplicate_items_total").await, 20);
    let mut kept = keeping.stub.rerank(rerank(&documents)).await.unwrap().into_inner();
    assert_eq!(asked(&servers), 60, "all of it was kept");
    let chunk = kept.chunk.take().unwrap();
    assert_eq!((chunk.model.as_str(), chunk.model_revision.as_str(), chunk.replica.as_str()), ("m", "r1", "g1"));
    assert_eq!((chunk.tokens, chunk.compute_us), (0, 0), "nothing was computed");
    assert!(!chunk.job_id.is_empty());
    let bare = v1::RerankResponse { chunk: None, ..fresh };
    assert_eq!(bare.encode_to_vec(), kept.encode_to_vec());

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({ "query": "a query", "documents": documents, "top_n": 5 }).to_string();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let post = http.post(keeping.url("http", "/v1/rerank")).header("content-type", "application/json");
        let answer = post.body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        answers.push((answer["results"].clone(), answer["usage"].clone()));
    }
    assert_eq!(answers[0], answers[1]);
    let tokens: u32 = documents.iter().map(|text| tokens_of(text)).sum();
    assert_eq!(answers[1].1["total_tokens"], tokens, "usage is of what was sent to the gateway");

    let before = asked(&servers);
    let mut client = RerankClient::new(keeping.gateway.channel().await);
    let message = tei::RerankRequest { query: "a query".to_owned(), texts: documents.clone(), ..Default::default() };
    let first = client.rerank(message.clone()).await.unwrap().into_inner().ranks;
    assert_eq!(asked(&servers), before + 60, "TEI cuts longest first: another question");
    let again = client.rerank(message).await.unwrap().into_inner().ranks;
    assert_eq!((first, asked(&servers)), (again, before + 60));

    let [hits, misses, skipped] = keeping.lookups().await;
    assert!(hits >= 3 * 80 && misses >= 2 * 60 && skipped == 0, "{hits} {misses} {skipped}");
    let entries = keeping.metric("sortie_gateway_cache_entries").await;
    assert!(entries >= 120 && keeping.metric("sortie_gateway_cache_bytes").await > 32 * entries);
}

#[tokio::test]
async fn without_a_cache_equal_items_are_still_computed_once() {
    let servers = fleet(1).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    let documents = ["a", "b", "a"].map(str::to_owned);
    for n in 1..3 {
        let answer = stub.rerank(rerank(&documents)).await.unwrap().into_inner();
        assert_eq!(answer.scores, documents.each_ref().map(|text| score_of(text)));
        assert_eq!(asked(&servers), 2 * n);
    }
}

#[tokio::test]
async fn only_missing_documents_go_out() {
    let servers = fleet(3).await;
    let mut keeping = Keeping::start(&servers).await;
    let documents = texts(2, 90);
    keeping.stub.rerank(rerank(&documents[..50])).await.unwrap();
    let answer = keeping.stub.rerank(rerank(&documents)).await.unwrap().into_inner();
    assert_eq!(asked(&servers), 90);
    let scores: Vec<f32> = documents.iter().map(|text| score_of(text)).collect();
    assert_eq!(answer.scores, scores);
    assert_eq!(keeping.lookups().await, [50, 90, 0]);
}

#[tokio::test]
async fn a_rolling_update_never_serves_the_old_models_answer() {
    let servers = fleet(2).await;
    let mut keeping = Keeping::start(&servers).await;
    let documents = texts(3, 10);
    keeping.stub.rerank(rerank(&documents[..5])).await.unwrap();
    assert_eq!(asked(&servers), 5);
    // Both answer by a new revision before the gateway has asked: what was kept does not stand beside their answers.
    for server in &servers {
        server.always(Reply::answer().revision("r2"));
    }
    let answer = keeping.stub.rerank(rerank(&documents)).await.unwrap().into_inner();
    assert_eq!(answer.chunk.unwrap().model_revision, "r2");
    // The first server says so now: while they differ nothing kept is served.
    servers[0].model(|info| info.revision = "r2".to_owned());
    let get = async |keeping: &mut Keeping| {
        let before = keeping.lookups().await;
        let answer = keeping.stub.rerank(rerank(&documents[..5])).await.unwrap().into_inner();
        let after = keeping.lookups().await;
        (answer.chunk.unwrap().model_revision, [after[0] - before[0], after[1] - before[1], after[2] - before[2]])
    };
    until(async || get(&mut keeping).await.1 == [0, 0, 5]).await;
    for _ in 0..3 {
        assert_eq!(get(&mut keeping).await, ("r2".to_owned(), [0, 0, 5]));
    }
    servers[1].model(|info| info.revision = "r2".to_owned());
    until(async || {
        let (revision, lookups) = get(&mut keeping).await;
        assert_eq!(revision, "r2", "{lookups:?}");
        lookups == [5, 0, 0]
    })
    .await;
    // Another way to serve the same revision is another model too.
    for server in &servers {
        server.model(|info| info.precision = "f16".to_owned());
    }
    until(async || get(&mut keeping).await.1 == [0, 5, 0]).await;
}

#[tokio::test]
async fn answers_of_a_server_that_was_not_asked_yet_are_not_kept() {
    let servers = fleet(2).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("servers");
    std::fs::write(&file, servers[0].address()).unwrap();
    let mut config = config(&[]);
    config.cache_bytes = 4 << 20;
    config.endpoint_file = Some(file.clone());
    config.frontend.reload_interval = ConfigDuration::millis(20);
    // One round, of the first server alone.
    config.refresh_interval = ConfigDuration::secs(3_600);
    let (_gateway, mut stub) = Running::ready(config).await;
    std::fs::write(&file, servers[1].address()).unwrap();
    // Other texts each time, so that every job is sent.
    let mut seed = 100;
    until(async || {
        seed += 1;
        stub.rerank(rerank(&texts(seed, 4))).await.is_ok() && !servers[1].calls().is_empty()
    })
    .await;
    let before = asked(&servers);
    for n in 1..=3 {
        stub.rerank(rerank(&texts(7, 5))).await.unwrap();
        assert_eq!(asked(&servers), before + 5 * n, "the second server may serve the same revision otherwise");
    }
}

#[tokio::test]
async fn failures_are_not_kept() {
    let servers = fleet(1).await;
    let mut keeping = Keeping::start(&servers).await;
    let documents = texts(4, 3);
    servers[0].then(Reply::answer().item_error(1, "TOO_LONG", "the text has too many tokens"));
    let answer = keeping.stub.rerank(rerank(&documents)).await.unwrap().into_inner();
    assert!(answer.scores[1].is_nan());
    servers[0].then(Reply::refuse(|| tonic::Status::invalid_argument("no")));
    keeping.stub.rerank(rerank(&documents)).await.unwrap_err();
    let answer = keeping.stub.rerank(rerank(&documents)).await.unwrap().into_inner();
    assert_eq!(answer.scores[1], score_of(&documents[1]));
}

#[tokio::test]
async fn tenants_share_nothing() {
    let servers = fleet(1).await;
    let mut keeping = Keeping::start(&servers).await;
    let documents = texts(5, 4);
    let mut counts = Vec::new();
    for tenant in ["a", "b", "a", "b"] {
        let mut request = Request::new(v1::EmbedRequest { inputs: inputs(&documents), ..Default::default() });
        request.metadata_mut().insert("sortie-tenant", tenant.parse().unwrap());
        keeping.stub.embed(request).await.unwrap();
        counts.push(asked(&servers));
    }
    assert_eq!(counts, [4, 8, 8, 8]);
}
