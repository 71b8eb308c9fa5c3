//! Random jobs for a while, on one server over all devices: memory of the devices and of the host must end where it stood once
//! the largest had been seen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sortie_client::Client;

use crate::{
    Common,
    server::WatchedServer,
    texts::{self, RerankJob, ServableModel},
};

/// Jobs side by side for each device: their tokens are far from what a queue may hold.
const SIDE_BY_SIDE: usize = 6;

/// Rows of the table.
const ROWS: u32 = 12;

/// Most documents of a job.
const DOCUMENTS: usize = 400;

/// Most words of a document, so that no pair is cut.
const WORDS: usize = 490;

/// Prints the tables.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    texts::for_each_model(common, one)
}

/// A cheap generator of numbers below a bound.
fn random(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        // Knuth's MMIX generator; its high bits are good enough here.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
    }
}

async fn one(common: &Common, model: &ServableModel) -> anyhow::Result<()> {
    let words = Arc::new(model.words.clone());
    let server = WatchedServer::start(common, model.folder.path(), &common.devices, &[])?;
    let client = Arc::new(Client::builder().endpoint(&server.address).connect().await?);
    let [answered, failed, tokens] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
    let lasting = Duration::from_secs(common.soak);
    let begun = Instant::now();
    let mut jobs = tokio::task::JoinSet::new();
    for seed in 0..(SIDE_BY_SIDE * common.devices.split(',').count()) as u64 {
        let (client, words) = (Arc::clone(&client), Arc::clone(&words));
        let (answered, failed, tokens) = (Arc::clone(&answered), Arc::clone(&failed), Arc::clone(&tokens));
        jobs.spawn(async move {
            let mut next = random(seed);
            while begun.elapsed() < lasting {
                let documents = 1 + next(DOCUMENTS);
                let longest = 1 + next(WORDS);
                let lengths: Vec<usize> = (0..documents).map(|_| 1 + next(longest)).collect();
                let job = RerankJob::of(&words, lengths.into_iter(), &mut || next(usize::MAX));
                match job.run(&client).await {
                    Ok(_) => answered.fetch_add(1, Ordering::Relaxed),
                    Err(_) => failed.fetch_add(1, Ordering::Relaxed),
                };
                tokens.fetch_add(job.tokens as u64, Ordering::Relaxed);
            }
        });
    }
    println!("\n## {}: random jobs on {} for {lasting:?}\n", model.shape.name(), common.devices);
    println!(
        "| second | jobs answered | failed | tokens, millions | batches | device MiB used, each | arenas' MiB held | arenas' MiB in use at most | server, MiB resident |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for row in 1..=ROWS {
        tokio::time::sleep_until((begun + lasting * row / ROWS).into()).await;
        let metrics = server.metrics()?;
        let mib = |name: &str| {
            let all: Vec<String> = metrics.series(name).map(|(_, bytes)| format!("{:.0}", bytes / 1048576.0)).collect();
            all.join(", ")
        };
        let used: Vec<String> =
            common.runtime()?.gpus()?.iter().map(|gpu| ((gpu.total - gpu.free) >> 20).to_string()).collect();
        println!(
            "| {:.0} | {} | {} | {:.0} | {} | {} | {} | {} | {} |",
            begun.elapsed().as_secs_f64(),
            answered.load(Ordering::Relaxed),
            failed.load(Ordering::Relaxed),
            tokens.load(Ordering::Relaxed) as f64 / 1e6,
            metrics.sum("sortie_batches_total"),
            used.join(", "),
            mib("sortie_device_memory_bytes"),
            mib("sortie_device_memory_peak_bytes"),
            server.resident()?,
        );
    }
    while let Some(ended) = jobs.join_next().await {
        ended?;
    }
    Ok(())
}
