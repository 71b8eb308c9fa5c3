//! What a job costs the process before the servers, when callers ask as fast as they are answered.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use sortie_benches::{report::cell, samples::processor_time};

use crate::{
    post::{PostCaller, encode},
    texts::JobShape,
};

/// WayCallers at once: several for each core that answers them.
const CALLERS: u64 = 16;

/// The head of its table.
pub(super) const HEADER: &str = "| before the servers | jobs | jobs/s | its cores | its processor ms a job | jobs/s a core |\n\
    | --- | --- | ---: | ---: | ---: | ---: |\n";

/// Asks the process `pid` at `address` for a while and returns the line of the table.
pub(super) async fn line(
    name: &str,
    (address, pid): (SocketAddr, i32),
    shape: JobShape,
    (warm_up, counted): (Duration, Duration),
) -> anyhow::Result<String> {
    let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..CALLERS {
        let (caller, body) = (PostCaller::new(address), encode(&shape.job(n))?);
        let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                caller.send(body.clone()).await?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    tokio::time::sleep(warm_up).await;
    let taken = || processor_time(pid).context("the system has no /proc");
    let (from, before, jobs) = (Instant::now(), taken()?, answered.load(Ordering::Relaxed));
    tokio::time::sleep(counted).await;
    let (wall, processor) = (from.elapsed().as_secs_f64(), (taken()? - before).as_secs_f64());
    let jobs = (answered.load(Ordering::Relaxed) - jobs) as f64;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended?.with_context(|| format!("a job of {name} failed"))?;
    }
    Ok(format!(
        "| {name} | {shape} | {} | {} | {} | {} |\n",
        cell(jobs / wall, 0),
        cell(processor / wall, 2),
        cell(processor / jobs * 1e3, 3),
        cell(jobs / processor, 0)
    ))
}
