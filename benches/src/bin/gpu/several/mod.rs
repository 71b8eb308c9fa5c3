//! Several GPUs of one host: one server over all of them, one over each behind one client, and what one alone does.
//!
//! ```text
//! gpu several   start-up, one job on an idle server, full load, and whether the devices' scores are the same
//! gpu lost      one device is lost while all are loaded
//! gpu soak      random jobs for a while, and what they leave behind
//! ```

mod lost;
mod soak;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use sortie_client::{ChunkReport, Client};
use sortie_lab::stats::quantile;

use crate::{
    Common, ModelShape,
    serve::{SIDE_BY_SIDE, breakdown, full, idle},
    server::{WatchedServer, threads},
    texts::{self, RerankJob, ServableModel},
};

pub(crate) use self::{lost::run as lost, soak::run as soak};

/// Threads below this share of a core are left out of the table.
const LEAST_CORES: f64 = 0.05;

/// Servers, by the devices of each.
struct Setup {
    name: String,
    servers: Vec<String>,
    /// Jobs side by side are so many times those of one device.
    devices: usize,
}

/// What one setup came to.
struct SetupRow {
    name: String,
    start_up: Duration,
    /// Seconds of a job on an idle server.
    idle: Vec<f64>,
    /// What the last of them said of itself.
    chunks: Vec<ChunkReport>,
    /// Tokens a second at full load.
    rate: f64,
    /// Of the devices' time, the share that a batch ran.
    busy: f64,
    /// Cores at work, by threads of the servers.
    cores: BTreeMap<String, f64>,
    client_cores: f64,
    /// Tokens in a batch.
    batch: f64,
    resident: u64,
    scores: Vec<f32>,
}

/// Prints the tables.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    texts::for_each_model(common, one)
}

/// Each device alone, all behind one queue, a server each, and the first one twice.
fn setups(common: &Common) -> Vec<Setup> {
    let all: Vec<&str> = common.devices.split(',').map(str::trim).collect();
    let mut setups: Vec<Setup> = all
        .iter()
        .map(|device| Setup { name: format!("`{device}`"), servers: vec![(*device).to_owned()], devices: 1 })
        .collect();
    if all.len() > 1 {
        let name = format!("`{}`", common.devices);
        setups.push(Setup { name, servers: vec![common.devices.clone()], devices: all.len() });
        let servers = all.iter().map(|device| (*device).to_owned()).collect();
        setups.push(Setup { name: "a server each, one client".to_owned(), servers, devices: all.len() });
    }
    if let Some(first) = all.first() {
        setups.push(Setup {
            name: format!("`{first},{first}`"),
            servers: vec![format!("{first},{first}")],
            devices: 1,
        });
    }
    setups
}

async fn one(common: &Common, model: &ServableModel) -> anyhow::Result<()> {
    let job = Arc::new(RerankJob::of_200(&model.words)?);
    let mut rows = Vec::new();
    for setup in setups(common) {
        rows.push(measure(common, model.folder.path(), &setup, &job).await.with_context(|| setup.name.clone())?);
    }
    table(model.shape, &rows, job.tokens);
    Ok(())
}

async fn measure(common: &Common, model: &Path, setup: &Setup, job: &Arc<RerankJob>) -> anyhow::Result<SetupRow> {
    let mut servers = Vec::new();
    for devices in &setup.servers {
        servers.push(WatchedServer::start(common, model, devices, &[])?);
    }
    let start_up = servers.iter().map(|server| server.start_up).max().unwrap_or_default();
    let client = Client::builder().endpoints(servers.iter().map(|server| server.address.clone())).connect().await?;
    let client = Arc::new(client);
    let (times, chunks) = idle(&client, job, common.rounds).await?;
    let (scores, _) = job.run(&client).await?;

    let before = Totals::now(&servers)?;
    let lasting = Duration::from_secs(common.seconds);
    let rate = full(&client, job, SIDE_BY_SIDE * setup.devices, lasting).await?;
    let after = Totals::now(&servers)?;
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let cores = after
        .threads
        .iter()
        .map(|(name, used)| (name.clone(), (used - before.threads.get(name).copied().unwrap_or(0.0)) / seconds));
    Ok(SetupRow {
        name: setup.name.clone(),
        start_up,
        idle: times,
        chunks,
        rate,
        busy: (after.busy - before.busy)
            / seconds
            / setup.servers.iter().map(|s| s.split(',').count()).sum::<usize>() as f64,
        cores: cores.collect(),
        client_cores: (after.client - before.client) / seconds,
        batch: (after.tokens - before.tokens) / (after.batches - before.batches).max(1.0),
        resident: servers.iter().map(WatchedServer::resident).sum::<anyhow::Result<u64>>()?,
        scores,
    })
}

/// What all servers and this process did so far.
struct Totals {
    at: std::time::Instant,
    /// Seconds that the devices were at work.
    busy: f64,
    batches: f64,
    tokens: f64,
    threads: BTreeMap<String, f64>,
    client: f64,
}

impl Totals {
    fn now(servers: &[WatchedServer]) -> anyhow::Result<Self> {
        let client = threads(std::process::id())?.values().sum();
        let (at, threads) = (std::time::Instant::now(), BTreeMap::new());
        let mut seen = Self { at, busy: 0.0, batches: 0.0, tokens: 0.0, threads, client };
        for server in servers {
            let metrics = server.metrics()?;
            seen.busy += metrics.sum("sortie_device_busy_seconds_total");
            seen.batches += metrics.sum("sortie_batches_total");
            seen.tokens += metrics.sum("sortie_device_tokens_total");
            for (name, used) in server.threads()? {
                *seen.threads.entry(name).or_insert(0.0) += used;
            }
        }
        Ok(seen)
    }
}

fn table(shape: ModelShape, rows: &[SetupRow], tokens: usize) {
    println!("\n## {} on several GPUs, jobs of 200 pairs and {tokens} tokens over gRPC\n", shape.name());
    println!(
        "| servers | start-up, s | one job, idle: p50 ms (p10 to p90) | full load, tokens/s | times the first | devices busy | tokens a batch | cores: servers, client | resident, MiB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let first = rows.first().map_or(f64::NAN, |row| row.rate);
    for row in rows {
        let idle = |q| quantile(&row.idle, q) * 1e3;
        println!(
            "| {} | {:.1} | {:.2} ({:.2} to {:.2}) | {:.0} | {:.2} | {:.0}% | {:.0} | {:.1}, {:.1} | {} |",
            row.name,
            row.start_up.as_secs_f64(),
            idle(0.5),
            idle(0.1),
            idle(0.9),
            row.rate,
            row.rate / first,
            row.busy * 1e2,
            row.batch,
            row.cores.values().sum::<f64>(),
            row.client_cores,
            row.resident,
        );
    }
    for row in rows {
        println!("\n{}:", row.name);
        breakdown(&row.chunks);
        let mut cores: Vec<_> = row.cores.iter().filter(|(_, cores)| **cores >= LEAST_CORES).collect();
        cores.sort_by(|a, b| b.1.total_cmp(a.1));
        let cores: Vec<String> = cores.iter().map(|(name, cores)| format!("{name} {cores:.2}")).collect();
        println!("Cores of the servers' threads at full load: {}.", cores.join(", "));
    }
    println!(
        "\n| scores beside those of {} | the same bits | largest difference |\n| --- | ---: | ---: |",
        rows[0].name
    );
    for row in &rows[1..] {
        let (same, most) = compare(&rows[0].scores, &row.scores);
        println!("| {} | {same} of {} | {most:.1e} |", row.name, row.scores.len());
    }
}

/// How many scores are the same to the bit, and the largest difference over max(1, |score|).
fn compare(one: &[f32], other: &[f32]) -> (usize, f32) {
    let same = one.iter().zip(other).filter(|(a, b)| a.to_bits() == b.to_bits()).count();
    let most = one.iter().zip(other).map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f32::max);
    (same, most)
}
