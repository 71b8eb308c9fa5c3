//! What is put under load: timed devices and the real model, servers over them, and what they can do.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};

use sortie_benches::timed::{Programs, TimedDevice, TimedServer};
use xtask::{cache::Cache, models};

use crate::{
    bodies::Bodies,
    generator,
    load::{JobResult, JobSample, LoadGenerator, LoadSpec},
    pin::Pins,
};

/// A mid-sized device, slow enough that two cores can offer several times its load.
pub(super) const FAST: TimedDevice = TimedDevice { a_ms: 1.0, b_us: 4.6, noise: NOISE, max_batch: 4_096 };

/// As slow as the real model on one core.
const SLOW: TimedDevice = TimedDevice { a_ms: 0.0, b_us: 160.0, noise: NOISE, max_batch: 1_024 };

/// Deviation of batch times: a processor that others use too.
const NOISE: f64 = 0.15;

/// Batch of the real model: the server's default on a CPU.
const MODEL_BATCH: u32 = 1_024;

/// The burst that measures the real model: jobs a second, for how long, and how long they may take.
const BURST: (f64, f64, f64) = (300.0, 0.5, 90.0);

/// Devices by the names of the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum BenchDevice {
    /// Timed: 1 ms a batch and 4.6 µs a token, batches of 4,096, 15% noise
    Fast,
    /// Timed: 160 µs a token, batches of 1,024, 15% noise
    Slow,
    /// The demo's reranker on the processor
    Model,
}

impl BenchDevice {
    /// The word of the flag.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Slow => "slow",
            Self::Model => "model",
        }
    }

    /// Longest a job may take.
    pub(super) fn deadline(self) -> Duration {
        Duration::from_millis(if self == Self::Fast { 300 } else { 1_000 })
    }

    /// Tokens of a job: on the fast one so many that one core can offer eight times what it can do.
    pub(super) fn job_tokens(self) -> u64 {
        if self == Self::Fast { 2_000 } else { 440 }
    }

    /// Whether its time is arithmetic.
    pub(super) fn is_timed(self) -> bool {
        self != Self::Model
    }
}

/// Some servers over one kind of device.
#[derive(Debug)]
pub(super) struct BenchFleet {
    pub(super) device: BenchDevice,
    pub(super) servers: Vec<TimedServer>,
    pub(super) bodies: Bodies,
    /// Jobs a second that all servers together can do.
    pub(super) capacity: f64,
}

impl BenchFleet {
    /// Starts them, each on the servers' cores, and finds out what they can do.
    pub(super) fn start(
        device: BenchDevice,
        count: usize,
        programs: &Programs,
        pins: &Pins,
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        let bodies = Bodies::make(device.job_tokens(), device.name(), scratch)?;
        let start = |number: usize| {
            let name = format!("{}-{count}-{number}", device.name());
            let place = (Ipv4Addr::LOCALHOST, 0);
            match device {
                BenchDevice::Fast => TimedServer::start(programs, &FAST, &name, place, scratch),
                BenchDevice::Slow => TimedServer::start(programs, &SLOW, &name, place, scratch),
                BenchDevice::Model => {
                    let cache = Cache::open()?;
                    let folder = models::ensure(&cache, "reranker")?;
                    drop(cache);
                    let spec = format!("reranker={}", folder.display());
                    let threads = pins.servers.count().to_string();
                    let more = ["--threads", &threads, "--tokenize-threads", &threads].map(str::to_owned);
                    TimedServer::start_model(programs, (&spec, MODEL_BATCH), &more, &name, place, scratch)
                }
            }
        };
        let servers = pins.servers.run(|| (0..count).map(start).collect::<anyhow::Result<Vec<_>>>())?;
        let mut fleet = Self { device, servers, bodies, capacity: 0.0 };
        fleet.capacity = match device {
            BenchDevice::Fast => FAST.capacity() / fleet.bodies.tokens * count as f64,
            BenchDevice::Slow => SLOW.capacity() / fleet.bodies.tokens * count as f64,
            BenchDevice::Model => fleet.measure(programs, pins, scratch)?,
        };
        Ok(fleet)
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// Where their metrics are.
    pub(super) fn admins(&self) -> anyhow::Result<Vec<SocketAddr>> {
        self.servers.iter().map(TimedServer::admin).collect()
    }

    /// Jobs a second of a burst that waits without end: the server's own word is not taken for it.
    fn measure(&self, programs: &Programs, pins: &Pins, scratch: &Path) -> anyhow::Result<f64> {
        let (rate, seconds, deadline) = BURST;
        let spec = LoadSpec {
            by: LoadGenerator::Whole,
            addresses: self.addresses(),
            bodies: &self.bodies,
            phases: vec![(rate, seconds)],
            deadline: Duration::from_secs_f64(deadline),
            tenant: None,
            seed: 1,
            programs,
            pins,
            scratch,
            rivals: None,
        };
        let result = generator::run(&spec)?;
        let answered: Vec<_> = result.jobs.iter().filter(|job| job.outcome == JobResult::Answered).collect();
        let end = |job: &&JobSample| job.at + job.late + job.took;
        let begin = answered.iter().map(|job| job.at).fold(f64::INFINITY, f64::min);
        let last = answered.iter().map(end).fold(0.0, f64::max);
        if answered.len() < 20 {
            bail!(
                "the model answered {} of a burst of {} jobs: it cannot be measured",
                answered.len(),
                result.jobs.len()
            );
        }
        let rate = answered.len() as f64 / (last - begin);
        eprintln!("the model on {}: {rate:.1} jobs/s, {} jobs of a burst", pins.servers, answered.len());
        Some(rate).filter(|rate| rate.is_finite()).context("the burst took no time")
    }
}
