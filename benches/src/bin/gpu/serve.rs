//! Rows 3 and 4: a server of its own process on this host, text in and scores out over
//! gRPC on loopback. Idle: one job of 200 pairs at a time. Full load: jobs side by side,
//! in tokens a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sortie_client::{ChunkReport, Client};
use sortie_lab::stats::quantile;

use crate::{
    Common, rivals,
    server::WatchedServer,
    texts::{self, RerankJob, ServableModel},
};

/// Jobs side by side at full load of one device: enough that the queue is never empty.
pub(crate) const SIDE_BY_SIDE: usize = 12;

/// Jobs that warm connections and estimates before any counts.
const UNCOUNTED: usize = 5;

/// Prints the tables.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    texts::for_each_model(common, one)
}

async fn one(common: &Common, model: &ServableModel) -> anyhow::Result<()> {
    let job = Arc::new(RerankJob::of_200(&model.words)?);
    let server = WatchedServer::start(common, model.folder.path(), &common.device.to_string(), &[])?;
    let client = Arc::new(Client::builder().endpoint(&server.address).connect().await?);
    let (times, chunks) = idle(&client, &job, common.rounds).await?;
    let idle = quantile(&times, 0.5);
    let rate = full(&client, &job, SIDE_BY_SIDE, Duration::from_secs(common.seconds)).await?;
    drop(server);

    println!("\n## {} behind gRPC on loopback, {} tokens a job\n", model.shape.name(), job.tokens);
    println!("| 200 pairs, text in, scores out | ms |\n| --- | ---: |");
    println!("| Sortie, idle server, p50 | {:.2} |", idle * 1e3);
    for (how, seconds) in rivals::sentence(common, model.folder.path(), &job.query, &job.documents)? {
        println!("| {how} | {:.2} |", seconds * 1e3);
    }
    breakdown(&chunks);
    println!("\nFull load, {SIDE_BY_SIDE} jobs side by side: {rate:.0} tokens/s.");
    Ok(())
}

/// One job after the other: seconds of each, and what their chunks say.
pub(crate) async fn idle(
    client: &Client,
    job: &RerankJob,
    rounds: usize,
) -> anyhow::Result<(Vec<f64>, Vec<ChunkReport>)> {
    let mut times = Vec::new();
    let mut chunks = Vec::new();
    for i in 0..rounds + UNCOUNTED {
        let start = Instant::now();
        let (_, report) = job.run(client).await?;
        if i >= UNCOUNTED {
            times.push(start.elapsed().as_secs_f64());
            chunks.extend(report.chunks);
        }
    }
    Ok((times, chunks))
}

/// So many jobs side by side: tokens a second.
pub(crate) async fn full(
    client: &Arc<Client>,
    job: &Arc<RerankJob>,
    side_by_side: usize,
    lasting: Duration,
) -> anyhow::Result<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let mut jobs = tokio::task::JoinSet::new();
    let start = Instant::now();
    for _ in 0..side_by_side {
        let (client, job, done) = (Arc::clone(client), Arc::clone(job), Arc::clone(&done));
        jobs.spawn(async move {
            while start.elapsed() < lasting {
                job.run(&client).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = jobs.join_next().await {
        ended??;
    }
    Ok((done.load(Ordering::Relaxed) * job.tokens as u64) as f64 / start.elapsed().as_secs_f64())
}

/// Where the time of a job on an idle server went: medians of what its one chunk says.
pub(crate) fn breakdown(chunks: &[ChunkReport]) {
    let ms = |of: fn(&ChunkReport) -> Duration| {
        let all: Vec<f64> = chunks.iter().map(|chunk| of(chunk).as_secs_f64() * 1e3).collect();
        quantile(&all, 0.5)
    };
    println!(
        "\nOf an idle server's: attempt {:.2} ms, in the server {:.2}, tokenizing {:.2}, first item queued {:.2}, on the device {:.2}.",
        ms(|chunk| chunk.elapsed),
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
