//! Server processes whose device sleeps, on loopback ports, restarted when they end.
//!
//! Invariant: each has one address for good, and a file that holds the process id it has now, so that `sortie bench`
//! can send it signals across restarts. Dropping them stops them and their keepers.

use std::{
    fmt, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};

use sortie_dispatch::Cost;
use xtask::{cache::Cache, interrupt, ort, process, workspace};

use crate::respawner::Respawner;

/// How long a server may take to accept connections: one of a real model reads it first, perhaps on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(180);

/// The programs, built.
#[derive(Debug)]
pub struct Programs {
    /// `sortie-server-timed`.
    pub server: PathBuf,
    /// `sortie`.
    pub sortie: PathBuf,
    /// The ONNX Runtime library; the server loads it though nothing runs on it.
    pub ort: PathBuf,
}

/// Where the programs come from.
#[derive(Debug, clap::Args)]
pub struct Build {
    /// Cargo profile of the programs
    #[arg(long, default_value = "release")]
    profile: String,
    /// Take `sortie` and `sortie-server-timed` from this folder instead of building them
    #[arg(long, value_name = "FOLDER", conflicts_with = "profile")]
    programs: Option<PathBuf>,
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.programs {
            Some(folder) => write!(f, "programs of {}", folder.display()),
            None => write!(f, "`{}` build", self.profile),
        }
    }
}

impl Build {
    /// Where cargo puts programs.
    fn folder(&self) -> anyhow::Result<PathBuf> {
        let profile = self.profile.as_str();
        Ok(workspace::target()?.join(if profile == "dev" { "debug" } else { profile }))
    }
}

/// Builds both programs, or finds them.
pub fn build(build: &Build) -> anyhow::Result<Programs> {
    let cache = Cache::open()?;
    let ort = ort::ensure(&cache)?;
    drop(cache);
    let of = |folder: &Path, ort| Programs {
        server: folder.join("sortie-server-timed"),
        sortie: folder.join("sortie"),
        ort,
    };
    if let Some(folder) = &build.programs {
        return Ok(of(folder, ort));
    }
    let profile = build.profile.as_str();
    for arguments in [
        &["-p", "sortie-server", "--features", "timed", "--bin", "sortie-server-timed"][..],
        &["-p", "sortie", "--bin", "sortie"][..],
    ] {
        process::run(workspace::cargo().args(["build", "--profile", profile]).args(arguments), "cargo build")?;
    }
    Ok(of(&build.folder()?, ort))
}

/// Builds `sortie-gateway` too, or finds it.
pub fn build_gateway(build: &Build) -> anyhow::Result<PathBuf> {
    let name = "sortie-gateway";
    if let Some(folder) = &build.programs {
        return Ok(folder.join(name));
    }
    let profile = build.profile.as_str();
    process::run(workspace::cargo().args(["build", "--profile", profile, "-p", name]), "cargo build")?;
    Ok(build.folder()?.join(name))
}

/// What a timed server is like.
#[derive(Clone, Debug)]
pub struct TimedDevice {
    /// Milliseconds of a batch.
    pub a_ms: f64,
    /// Microseconds of a token.
    pub b_us: f64,
    /// Deviation of the noise's logarithm.
    pub noise: f64,
    /// Most tokens in a batch.
    pub max_batch: u32,
}

impl TimedDevice {
    /// Tokens a second in full batches.
    pub fn capacity(&self) -> f64 {
        Cost { a_us: self.a_ms * 1e3, b_us: self.b_us }.rate(self.max_batch as usize)
    }
}

/// One server that is kept running.
#[derive(Debug)]
pub struct TimedServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Holds its process id.
    pub pid_file: PathBuf,
    /// Once this is there, it is not started again.
    pub gone_file: PathBuf,
    /// Holds the address of its admin port.
    admin_file: PathBuf,
    /// Holds the factor its batches take longer by.
    slow_file: PathBuf,
    stop: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
}

impl TimedServer {
    /// Starts one on `ip` and waits until it accepts connections. With `port` 0 it gets a free one.
    pub fn start(
        programs: &Programs,
        shape: &TimedDevice,
        name: &str,
        at: (Ipv4Addr, u16),
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        Self::start_with(programs, shape, &[], name, at, scratch)
    }

    /// The same with more flags.
    pub fn start_with(
        programs: &Programs,
        shape: &TimedDevice,
        more: &[String],
        name: &str,
        at: (Ipv4Addr, u16),
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        let slow_file = scratch.join(format!("{name}.slow"));
        let TimedDevice { a_ms, b_us, noise, max_batch } = shape;
        let model = format!("timed=timed:a_ms={a_ms},b_us={b_us},noise={noise},slow={}", slow_file.display());
        Self::start_model(programs, (&model, *max_batch), more, name, at, scratch)
    }

    /// Starts one with this model, most tokens in a batch, and more flags.
    pub fn start_model(
        programs: &Programs,
        (model, max_batch): (&str, u32),
        more: &[String],
        name: &str,
        (ip, port): (Ipv4Addr, u16),
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        let port = if port == 0 { free_port(ip)? } else { port };
        let address = SocketAddr::from((ip, port));
        let [pid_file, gone_file, admin_file, slow_file, log] =
            ["pid", "gone", "admin", "slow", "log"].map(|end| scratch.join(format!("{name}.{end}")));
        let mut arguments: Vec<String> = [
            "--listen",
            &address.to_string(),
            "--replica",
            name,
            "--admin",
            &format!("{ip}:0"),
            "--admin-addr-file",
            &admin_file.display().to_string(),
            "--max-batch-tokens",
            &max_batch.to_string(),
            "--ort-library",
            &programs.ort.display().to_string(),
            "--log-filter",
            "warn",
            "--model",
            model,
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend_from_slice(more);
        let stop = Arc::new(AtomicBool::new(false));
        let keeper = Respawner {
            program: programs.server.clone(),
            arguments,
            log: log.clone(),
            pid_file: pid_file.clone(),
            gone_file: gone_file.clone(),
            stop: Arc::clone(&stop),
        };
        let first = keeper.spawn()?;
        let keeper = thread::spawn(move || keeper.keep(first));
        let server = Self { address, pid_file, gone_file, admin_file, slow_file, stop, keeper: Some(keeper) };
        let up = interrupt::poll(Some(START_LIMIT), || Ok(TcpStream::connect(address).is_ok().then_some(())))?;
        if up.is_none() {
            bail!("{name} does not listen; its log says\n{}", fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(server)
    }

    /// Makes its batches take so many times as long from now on.
    pub fn slow(&self, factor: f64) -> anyhow::Result<()> {
        // Written whole or not at all: the server may be reading.
        let part = self.slow_file.with_extension("part");
        fs::write(&part, factor.to_string())
            .and_then(|()| fs::rename(&part, &self.slow_file))
            .with_context(|| format!("cannot write {}", self.slow_file.display()))
    }

    /// Where its metrics are.
    pub fn admin(&self) -> anyhow::Result<SocketAddr> {
        let text = fs::read_to_string(&self.admin_file);
        let text = text.with_context(|| format!("cannot read {}", self.admin_file.display()))?;
        text.trim().parse().with_context(|| format!("{} holds no address", self.admin_file.display()))
    }

    /// The process it is now.
    pub fn pid(&self) -> Option<i32> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }
}

impl Drop for TimedServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(keeper) = self.keeper.take() {
            // A keeper that panicked has nothing left to stop.
            let _ = keeper.join();
        }
    }
}

/// A port that is free now. Another process could take it before the server does; it would say so.
pub fn free_port(ip: Ipv4Addr) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((ip, 0)).with_context(|| format!("cannot listen on {ip}"))?;
    Ok(listener.local_addr().context("a listener has no address")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_that_of_full_batches() {
        let shape = TimedDevice { a_ms: 1.0, b_us: 1.0, noise: 0.0, max_batch: 1000 };
        assert!((shape.capacity() - 500_000.0).abs() < 1.0);
    }
}
