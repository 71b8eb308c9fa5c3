//! Starts jobs at their moments, whatever became of earlier ones.
//!
//! A thread of its own sleeps from start to start: the runtime's timer counts in milliseconds, and a busy runtime must
//! not hold arrivals back. What lateness remains is measured and reported.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::mpsc};

use super::{drive::StrategyDriver, jobs::BenchJob, record::BenchJobEnd};

/// Longest sleep at a time, so that an end is noticed.
const LOOK: Duration = Duration::from_millis(50);

/// A job that ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// When it was meant to start, from the start of the round.
    pub(crate) at: Duration,
    /// From its intended start to its end.
    pub(crate) latency: Duration,
    /// From its intended start to its sending.
    pub(crate) late: Duration,
    /// How.
    pub(crate) ended: BenchJobEnd,
}

/// Ends the thread when dropped.
#[derive(Debug)]
pub(crate) struct Generator {
    stop: Arc<AtomicBool>,
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Starts the jobs before `end`, counted from `start`. Each ends as one [`Done`]; the channel closes with the last.
pub(crate) fn generate(
    jobs: impl Iterator<Item = BenchJob> + Send + 'static,
    driver: StrategyDriver,
    start: Instant,
    end: Duration,
) -> std::io::Result<(Generator, mpsc::UnboundedReceiver<Done>)> {
    let (done, ended) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, runtime) = (Arc::clone(&stop), Handle::current());
    thread::Builder::new().name("arrivals".to_owned()).spawn(move || {
        for job in jobs.take_while(|job| job.at < end) {
            if !sleep_until(start + job.at, &stopped) {
                return;
            }
            let (driver, done) = (driver.clone(), done.clone());
            runtime.spawn(async move {
                let intended = start + job.at;
                let late = intended.elapsed();
                let (at, cancel) = (job.at, job.cancel);
                let ended = match cancel {
                    None => driver.drive(job).await,
                    Some(patience) => {
                        tokio::time::timeout(patience, driver.drive(job)).await.unwrap_or(BenchJobEnd::Cancelled)
                    }
                };
                // Nobody listens any more once the benchmark was interrupted.
                let _ = done.send(Done { at, latency: intended.elapsed(), late, ended });
            });
        }
    })?;
    Ok((Generator { stop }, ended))
}

/// So many callers until `end`, counted from `start`: each starts a job when its last has ended.
pub(crate) fn closed_loop(
    jobs: impl Iterator<Item = BenchJob> + Send + 'static,
    callers: u32,
    driver: &StrategyDriver,
    start: Instant,
    end: Duration,
) -> mpsc::UnboundedReceiver<Done> {
    let (done, ended) = mpsc::unbounded_channel();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..callers {
        let (jobs, driver, done) = (Arc::clone(&jobs), driver.clone(), done.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(start.into()).await;
            while start.elapsed() < end {
                let Some(job) = jobs.lock().next() else { return };
                let (sent, at) = (Instant::now(), start.elapsed());
                let ended = driver.drive(job).await;
                if done.send(Done { at, latency: sent.elapsed(), late: Duration::ZERO, ended }).is_err() {
                    return;
                }
            }
        });
    }
    ended
}

/// Sleeps until `moment`; false when it was stopped.
fn sleep_until(moment: Instant, stopped: &AtomicBool) -> bool {
    loop {
        if stopped.load(Ordering::Relaxed) {
            return false;
        }
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(LOOK));
    }
}
