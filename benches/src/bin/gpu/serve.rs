//! Rows 3 and 4: a server of its own process on this host, text in and scores out over
//! gRPC on loopback. Idle: one job of 200 pairs at a time. Full load: jobs side by side,
//! in tokens a second.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use sortie_benches::rerank_items;
use sortie_client::{ChunkReport, Client, Report};
use sortie_engine::write_sample;

use crate::{Common, Shape, median, rivals};

/// Jobs side by side at full load: enough that the queue is never empty.
const SIDE_BY_SIDE: usize = 12;

/// How long a server may take to load and capture its graphs.
const START: Duration = Duration::from_secs(180);

/// Tokens of the query: a sentence of a search box.
const QUERY_WORDS: usize = 9;

/// `[CLS]`, and `[SEP]` twice.
const SPECIALS: usize = 3;

/// Prints the tables.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start tokio")?;
    for &shape in common.shapes.iter().filter(|s| !matches!(s, Shape::Large)) {
        runtime.block_on(one(common, shape)).with_context(|| format!("shape {}", shape.name()))?;
    }
    Ok(())
}

async fn one(common: &Common, shape: Shape) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    write_sample(folder.path(), shape.sample(), true)?;
    let real = common.models.as_ref().map(|m| m.join("reranker"));
    let Some(real) = real.filter(|f| f.join("tokenizer.json").is_file()) else {
        println!("\nServing is left out: --models names no folder with reranker/tokenizer.json");
        return Ok(());
    };
    for name in ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"] {
        if real.join(name).is_file() {
            std::fs::copy(real.join(name), folder.path().join(name))?;
        }
    }
    let words = words(&real.join("tokenizer.json"))?;
    let (query, documents, tokens) = texts(&words)?;
    let server = Server::start(common, folder.path())?;
    let client = Client::builder().endpoint(format!("http://{}", server.address)).connect().await?;
    let client = Arc::new(client);
    let documents: Arc<Vec<String>> = Arc::new(documents);

    let mut times = Vec::new();
    let mut chunks = Vec::new();
    for i in 0..common.rounds + 5 {
        let start = Instant::now();
        let report = job(&client, &query, &documents).await?;
        // The first few warm connections and estimates.
        if i >= 5 {
            times.push(start.elapsed().as_secs_f64());
            chunks.extend(report.chunks);
        }
    }
    let idle = median(&mut times);

    let done = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(common.seconds);
    let mut jobs = tokio::task::JoinSet::new();
    let start = Instant::now();
    for _ in 0..SIDE_BY_SIDE {
        let (client, query, documents, done) =
            (Arc::clone(&client), query.clone(), Arc::clone(&documents), Arc::clone(&done));
        jobs.spawn(async move {
            while Instant::now() < until {
                job(&client, &query, &documents).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = jobs.join_next().await {
        ended??;
    }
    let rate = (done.load(Ordering::Relaxed) * tokens as u64) as f64 / start.elapsed().as_secs_f64();
    drop(server);

    println!("\n## {} behind gRPC on loopback, {tokens} tokens a job\n", shape.name());
    println!("| 200 pairs, text in, scores out | ms |\n| --- | ---: |");
    println!("| Sortie, idle server, p50 | {:.2} |", idle * 1e3);
    for (how, seconds) in rivals::sentence(common, folder.path(), &query, &documents)? {
        println!("| {how} | {:.2} |", seconds * 1e3);
    }
    breakdown(&chunks);
    println!("\nFull load, {SIDE_BY_SIDE} jobs side by side: {rate:.0} tokens/s.");
    Ok(())
}

async fn job(client: &Client, query: &str, documents: &[String]) -> anyhow::Result<Report> {
    let answer = client.rerank(query, documents.iter().map(String::as_str)).await?;
    ensure!(answer.ranking().len() == documents.len(), "not every document has a score");
    Ok(answer.report)
}

/// Where the time of a job on an idle server went: medians of what its one chunk says.
fn breakdown(chunks: &[ChunkReport]) {
    let ms = |of: fn(&ChunkReport) -> Duration| {
        let mut all: Vec<f64> = chunks.iter().map(|chunk| of(chunk).as_secs_f64() * 1e3).collect();
        median(&mut all)
    };
    println!(
        "\nOf an idle server's: round trip {:.2} ms, in the server {:.2}, tokenizing {:.2}, first item queued {:.2}, on the device {:.2}.",
        ms(|chunk| chunk.rtt),
        ms(|chunk| chunk.total),
        ms(|chunk| chunk.tokenize),
        ms(|chunk| chunk.queue),
        ms(|chunk| chunk.compute),
    );
    if let Some(chunk) = chunks.last() {
        let batches: Vec<String> =
            chunk.batches.iter().map(|b| format!("{} in {:.2} ms", b.tokens, b.duration.as_secs_f64() * 1e3)).collect();
        println!("Tokens of the last job's batches: {}.", batches.join(", "));
    }
}

/// Whole words of a WordPiece vocabulary: each is one token.
fn words(tokenizer: &Path) -> anyhow::Result<Vec<String>> {
    let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(tokenizer)?)?;
    let vocab = value.pointer("/model/vocab").and_then(|v| v.as_object()).context("the tokenizer has no vocabulary")?;
    let mut words: Vec<String> =
        vocab.keys().filter(|w| w.len() > 2 && w.bytes().all(|b| b.is_ascii_lowercase())).cloned().collect();
    words.sort();
    if words.len() < 1_000 {
        bail!("{} whole words are too few", words.len());
    }
    Ok(words)
}

/// A query, 200 documents whose pairs have the committed lengths, and their tokens in all.
fn texts(words: &[String]) -> anyhow::Result<(String, Vec<String>, usize)> {
    let lengths: Vec<usize> = rerank_items()?.iter().map(Vec::len).collect();
    let mut at = 0_usize;
    let mut text = |n: usize| {
        let picked: Vec<&str> = (0..n)
            .filter_map(|_| {
                at = at.wrapping_add(7_919);
                words.get(at % words.len()).map(String::as_str)
            })
            .collect();
        picked.join(" ")
    };
    let query = text(QUERY_WORDS);
    let documents = lengths.iter().map(|&n| text(n.saturating_sub(QUERY_WORDS + SPECIALS).max(1))).collect();
    Ok((query, documents, lengths.iter().sum()))
}

/// A server that ends with this value.
struct Server {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(common: &Common, model: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("address");
        let mut command = Command::new(&common.server);
        command.args(["--listen", "127.0.0.1:0", "--device", &common.device.to_string(), "--addr-file"]).arg(&file);
        command.arg("--model").arg(format!("reranker={}", model.display())).stdin(Stdio::null());
        command.args(["--precision", common.precision.name()]);
        command.args(["--gelu", common.gelu.name()]);
        command.arg(format!("--cuda-graphs={}", !common.no_graphs));
        if let Some(library) = &common.ort_library {
            command.arg("--ort-library").arg(library);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", common.server.display()))?;
        let mut server = Self { child, address: String::new(), _folder: folder };
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended: {status}");
            }
            if let Ok(address) = std::fs::read_to_string(&file) {
                server.address = address.trim().to_owned();
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("the server was not ready in {START:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
