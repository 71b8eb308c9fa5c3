//! The real gateway program before real servers, over HTTP as its callers use it: large and many posts, callers that
//! leave, gateways and servers that die.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::{Response, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::support::{GatewayProcess, Server, rerank, until};

/// Longest wait for one post: minutes above what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A caller with connections of its own.
#[derive(Clone)]
struct HttpCaller {
    http: reqwest::Client,
    address: SocketAddr,
}

impl HttpCaller {
    fn of(gateway: &GatewayProcess) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(1).build().unwrap();
        Self { http, address: gateway.http }
    }

    /// The answer as it comes; an error where none came.
    async fn post<T: AsRef<str>>(&self, texts: &[T]) -> reqwest::Result<Response> {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let body = json!({ "query": "query", "texts": texts, "raw_scores": true }).to_string();
        let post = self.http.post(format!("http://{}/rerank", self.address));
        post.header("content-type", "application/json").body(body).send().await
    }

    /// Scores in the order of the texts; the status and the body of a refusal.
    async fn scores<T: AsRef<str>>(&self, texts: &[T]) -> reqwest::Result<Result<Vec<f32>, (StatusCode, String)>> {
        let answer = self.post(texts).await?;
        let (status, body) = (answer.status(), answer.text().await?);
        if status != StatusCode::OK {
            return Ok(Err((status, body)));
        }
        let ranks: Vec<Value> = serde_json::from_str(&body).unwrap();
        let mut scores = vec![f32::NAN; texts.len()];
        for rank in ranks {
            scores[rank["index"].as_u64().unwrap() as usize] = rank["score"].as_f64().unwrap() as f32;
        }
        Ok(Ok(scores))
    }
}

/// Texts of several lengths, no two alike.
fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("text {n} {}", "word ".repeat(n * 7 % 40))).collect()
}

/// What gRPC says of these texts.
async fn by_grpc(server: &Server, texts: &[String]) -> Vec<f32> {
    let documents: Vec<&str> = texts.iter().map(String::as_str).collect();
    rerank(&mut server.client().await, &documents).await.unwrap().scores
}

async fn fleet(count: usize, a_ms: f64, b_us: f64) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(Server::start(a_ms, b_us, &["--admin", "127.0.0.1:0"]).await);
    }
    servers
}

#[tokio::test(flavor = "multi_thread")]
async fn thirteen_hundred_documents_in_one_post() {
    let servers = fleet(3, 1.0, 5.0).await;
    let gateway = GatewayProcess::start(&servers, &[]).await;
    let documents = texts(1_316);
    let scores = HttpCaller::of(&gateway).scores(&documents).await.unwrap().unwrap();
    assert_eq!(scores, by_grpc(&servers[0], &documents).await);
    let mut at_work = 0;
    for server in &servers {
        at_work += usize::from(server.metric("sortie_chunks_ended_total", "answered").await > 0.0);
    }
    assert!(at_work > 1, "one server of three did all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_posts_at_once_are_all_answered() {
    let servers = fleet(3, 1.0, 5.0).await;
    // On a busy machine a caller among a thousand may take long from its connection to its first byte.
    let gateway = GatewayProcess::start(&servers, &["--handshake-timeout", "2m"]).await;
    let documents = texts(1_000);
    let expected = by_grpc(&servers[0], &documents).await;
    let caller = HttpCaller::of(&gateway);
    let mut posts = JoinSet::new();
    for (n, text) in documents.into_iter().enumerate() {
        let caller = caller.clone();
        posts.spawn(async move { (n, caller.scores(&[text]).await) });
    }
    let mut answered = 0;
    while let Some(ended) = posts.join_next().await {
        let (n, answer) = ended.unwrap();
        assert_eq!(answer.unwrap().unwrap(), [expected[n]], "text {n}");
        answered += 1;
    }
    assert_eq!(answered, 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_frees_its_tokens() {
    // A batch takes three seconds: time for all of it on a busy machine.
    let flags = ["--admin", "127.0.0.1:0", "--max-batch-tokens", "65536", "--warm-up=false"];
    let servers = [Server::start(3_000.0, 0.0, &flags).await];
    let [server] = &servers;
    let gateway = GatewayProcess::start(&servers, &[]).await;
    let mut client = server.client().await;
    let mut blocker = client.clone();
    let blocked = tokio::spawn(async move { rerank(&mut blocker, &["the batch that runs"]).await });
    until("the device is busy", async || (server.metric("sortie_running_tokens", "").await > 0.0).then_some(())).await;
    let caller = HttpCaller::of(&gateway);
    let post = tokio::spawn(async move { caller.post(&texts(200)).await });
    until("the post waits in the queue", async || {
        (server.metric("sortie_queue_tokens", "").await > 2_000.0).then_some(())
    })
    .await;
    assert!(gateway.metric("sortie_gateway_in_flight_tokens", "").await > 0.0);
    post.abort();
    until("nothing waits", async || (server.metric("sortie_queue_tokens", "").await == 0.0).then_some(())).await;
    blocked.await.unwrap().expect("the batch that ran is answered");
    // Whatever had stayed of the post would be in this batch or before it.
    rerank(&mut client, &["the last"]).await.unwrap();
    let ran = server.metric("sortie_device_tokens_total", "").await;
    let answered = server.metric("sortie_tokens_total", "").await;
    assert_eq!(ran, answered, "the device ran nothing that nobody waited for");
    assert!(server.metric("sortie_chunks_ended_total", "cancelled").await >= 1.0);
    until("the gateway counts it as cancelled", async || {
        let text = gateway.metrics().await;
        let counted = text.lines().any(|line| line.starts_with("sortie_requests_total{code=\"CANCELLED\""));
        counted.then_some(())
    })
    .await;
    assert_eq!(gateway.metric("sortie_gateway_in_flight_tokens", "").await, 0.0);
}

/// Keeps a port for processes that come and go: while none listens, the system gives it to nobody.
fn kept_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    // As the program's own listener does, or it would be refused the address.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_retry_outlive_a_gateway_that_is_killed() {
    let servers = fleet(2, 1.0, 5.0).await;
    let ((_kept, grpc), (_kept_too, http)) = (kept_port(), kept_port());
    let mut gateway = GatewayProcess::start_at(grpc, http, &servers, &[]).await;
    let documents = Arc::new(texts(5));
    let expected = by_grpc(&servers[0], &documents).await;
    let (answered, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (caller, documents, stop) = (HttpCaller::of(&gateway), Arc::clone(&documents), Arc::clone(&stop));
        let (expected, answered, failed) = (expected.clone(), Arc::clone(&answered), Arc::clone(&failed));
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                match caller.scores(&documents).await {
                    Ok(Ok(scores)) => {
                        assert_eq!(scores, expected);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    // Nobody listens, the connection broke, or its servers are not known yet: come again.
                    Ok(Err((status, body))) => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}"),
                    Err(_) => {
                        failed.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        });
    }
    let more_than = |count: &Arc<AtomicUsize>, least: usize| {
        let count = Arc::clone(count);
        async move { until("enough posts", async || (count.load(Ordering::Relaxed) > least).then_some(())).await }
    };
    more_than(&answered, 50).await;
    gateway.signal(Signal::KILL);
    gateway.ended().await;
    more_than(&failed, 8).await;
    let before = answered.load(Ordering::Relaxed);
    let _gateway = GatewayProcess::start_at(grpc, http, &servers, &[]).await;
    more_than(&answered, before + 50).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_under_load_fails_no_call() {
    let servers = fleet(3, 2.0, 20.0).await;
    let gateway = GatewayProcess::start(&servers, &[]).await;
    let documents = Arc::new(texts(40));
    let expected = by_grpc(&servers[0], &documents).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..12 {
        let (caller, documents, stop) = (HttpCaller::of(&gateway), Arc::clone(&documents), Arc::clone(&stop));
        let (expected, answered) = (expected.clone(), Arc::clone(&answered));
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let scores = caller.scores(&documents).await.expect("a connection").expect("a call that is answered");
                assert_eq!(scores, expected);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let reach = async |least: usize, callers: &mut JoinSet<()>| {
        until("enough posts", async || {
            if let Some(ended) = callers.try_join_next() {
                ended.expect("no call fails");
            }
            (answered.load(Ordering::Relaxed) >= least).then_some(())
        })
        .await;
    };
    reach(100, &mut callers).await;
    servers[0].signal(Signal::KILL);
    let before = answered.load(Ordering::Relaxed);
    reach(before + 300, &mut callers).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("no call fails");
    }
}

/// Posts that one caller makes, one after the other.
const IN_TURN: usize = 120;

/// Milliseconds of a batch: so long that what a busy machine adds is noise beside it. Where it is more than the work, servers differ.
const BATCH_MS: f64 = 40.0;

/// Least share of them that each of three servers gets.
const LEAST_SHARE: f64 = 0.2;

/// Posts one text over this connection, which must stay open, and reads the whole answer.
async fn post_over(connection: &mut TcpStream, text: &str) {
    let body = json!({ "query": "query", "texts": [text], "raw_scores": true }).to_string();
    let head = "POST /rerank HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    connection.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut piece) = (String::new(), [0; 1 << 12]);
    let rest = |answer: &str| {
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
        length.checked_sub(body.len())
    };
    while rest(&answer) != Some(0) {
        let read = connection.read(&mut piece).await.unwrap();
        assert!(read > 0, "the connection was closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_kept_alive_connection_loads_all_servers() {
    let servers = fleet(3, BATCH_MS, 5.0).await;
    let gateway = GatewayProcess::start(&servers, &[]).await;
    let mut connection = TcpStream::connect(gateway.http).await.unwrap();
    for n in 0..IN_TURN {
        post_over(&mut connection, &format!("document {n}")).await;
    }
    let mut shares = Vec::new();
    for server in &servers {
        shares.push(server.metric("sortie_items_total", "ok").await / IN_TURN as f64);
    }
    println!("shares of {IN_TURN} posts over one connection: {shares:.2?}");
    assert!(shares.iter().all(|share| *share >= LEAST_SHARE), "{shares:?}");
}
