//! One of several devices is lost while all of them are loaded, by a library that `--fault` names and that is preloaded into the
//! server: a store to an address that nobody has (`gpu_fault.cu`), or copies that are refused on one device (`gpu_refuse.c`).
//! First with one server over all devices, then with a server each, behind one client.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use parking_lot::Mutex;
use sortie_client::Client;

use super::compare;
use crate::{
    Common,
    serve::SIDE_BY_SIDE,
    server::WatchedServer,
    texts::{self, RerankJob, ServableModel},
};

/// Rows of the table.
const ROWS: u32 = 10;

/// The fault comes as so many of them are over.
const FAULT_AFTER: u32 = 3;

/// A caller whose job failed waits so long.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Variables of the faulty library.
const FAULT_DEVICE: &str = "SORTIE_FAULT_DEVICE";
const FAULT_FILE: &str = "SORTIE_FAULT_FILE";

/// What became of jobs.
#[derive(Default)]
struct Ends {
    answered: AtomicU64,
    retries: AtomicU64,
    failed: Mutex<Vec<String>>,
    /// Largest difference of a score, as the bits of a float.
    most: Mutex<f32>,
}

/// Prints the tables.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    texts::for_each_model(common, one)
}

async fn one(common: &Common, model: &ServableModel) -> anyhow::Result<()> {
    let job = Arc::new(RerankJob::of_200(&model.words)?);
    let each: Vec<String> = common.devices.split(',').map(|device| device.trim().to_owned()).collect();
    for servers in [std::slice::from_ref(&common.devices), &each] {
        lose(common, model.folder.path(), servers, &job)
            .await
            .with_context(|| format!("{} on {}", model.shape.name(), servers.join(" and ")))?;
    }
    Ok(())
}

/// A server for each of `servers`, of which the last one loses its last device.
async fn lose(common: &Common, model: &Path, servers: &[String], job: &Arc<RerankJob>) -> anyhow::Result<()> {
    let devices: Vec<&str> = servers.iter().flat_map(|devices| devices.split(',')).map(str::trim).collect();
    let last = devices.last().and_then(|device| device.strip_prefix("cuda:")).unwrap_or("0");
    let signal = tempfile::tempdir()?;
    let file = signal.path().join("now");
    let (file_name, library) = (file.display().to_string(), common.fault.as_ref().map(|f| f.display().to_string()));
    let mut variables = vec![(FAULT_DEVICE, last), (FAULT_FILE, file_name.as_str())];
    variables.extend(library.as_deref().map(|library| ("LD_PRELOAD", library)));
    let mut all = Vec::new();
    for (i, devices) in servers.iter().enumerate() {
        let variables = if i + 1 == servers.len() { &variables[..] } else { &[] };
        all.push(WatchedServer::start(common, model, devices, variables)?);
    }
    let client = Client::builder().endpoints(all.iter().map(|server| server.address.clone())).connect().await?;
    let client = Arc::new(client);
    let (scores, _) = job.run(&client).await?;

    let (ends, over) = (Arc::new(Ends::default()), Arc::new(AtomicBool::new(false)));
    let mut jobs = tokio::task::JoinSet::new();
    for _ in 0..SIDE_BY_SIDE * devices.len() {
        let (client, job, ends, over, scores) =
            (Arc::clone(&client), Arc::clone(job), Arc::clone(&ends), Arc::clone(&over), scores.clone());
        jobs.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                match job.run(&client).await {
                    Ok((got, report)) => {
                        ends.answered.fetch_add(1, Ordering::Relaxed);
                        ends.retries.fetch_add(u64::from(report.retries), Ordering::Relaxed);
                        let (_, most) = compare(&scores, &got);
                        let mut before = ends.most.lock();
                        *before = before.max(most);
                    }
                    Err(error) => {
                        ends.failed.lock().push(format!("{error:#}"));
                        tokio::time::sleep(AFTER_FAILURE).await;
                    }
                }
            }
        });
    }
    let how = library.as_deref().unwrap_or("nothing").rsplit('/').next().unwrap_or_default();
    println!(
        "\n## cuda:{last} of {} is lost under full load by {how}, {} tokens a job\n",
        servers.join(" and "),
        job.tokens
    );
    println!(
        "| second | tokens/s | jobs answered | failed | tried again | servers | devices at work | lost | made anew | items handed on | ready |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    let step = Duration::from_secs(common.seconds) / ROWS;
    let (begun, mut before, mut since) = (Instant::now(), 0, Instant::now());
    for row in 1..=ROWS {
        tokio::time::sleep_until((begun + step * row).into()).await;
        let answered = ends.answered.load(Ordering::Relaxed);
        let rate = (answered - before) as f64 * job.tokens as f64 / since.elapsed().as_secs_f64();
        (before, since) = (answered, Instant::now());
        let mut running = Vec::new();
        for server in &mut all {
            // It may end between two calls.
            if server.runs()?
                && let Ok(metrics) = server.metrics()
                && let Ok((ready, _)) = server.page("/readyz")
            {
                running.push((metrics, ready));
            }
        }
        let of = |name: &str| running.iter().map(|(metrics, _)| metrics.sum(name)).sum::<f64>();
        println!(
            "| {:.1} | {rate:.0} | {answered} | {} | {} | {} | {} | {} | {} | {} | {} |",
            begun.elapsed().as_secs_f64(),
            ends.failed.lock().len(),
            ends.retries.load(Ordering::Relaxed),
            running.len(),
            of("sortie_devices"),
            of("sortie_devices_lost_total"),
            of("sortie_devices_rebuilt_total"),
            of("sortie_items_handed_on_total"),
            running.iter().map(|(_, ready)| ready.as_str()).collect::<Vec<_>>().join(", "),
        );
        if row == FAULT_AFTER {
            std::fs::write(&file, "")?;
        }
    }
    over.store(true, Ordering::Relaxed);
    while jobs.join_next().await.is_some() {}
    println!("\nLargest difference of a score from the first job's: {:.1e}.", *ends.most.lock());
    for error in ends.failed.lock().iter().take(5) {
        println!("A job failed: {error}");
    }
    println!("\nWhat the servers said above INFO:\n");
    for line in
        all.iter().map(WatchedServer::log).collect::<String>().lines().filter(|line| !line.contains(" INFO ")).take(20)
    {
        println!("    {}", line.chars().take(300).collect::<String>());
    }
    Ok(())
}
