//! Server processes whose device sleeps, on loopback ports, restarted when they end.
//!
//! Invariant: each has one address for good, and a file that holds the process id it has now, so that `sortie bench` can
//! send it signals across restarts. Dropping them stops them and their keepers.

use std::{
    env, fmt, fs,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{cache::Cache, interrupt, ort, process, workspace};

/// How long a server may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Between a server's end and its next start: a container's usual restart.
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// How often a keeper looks.
const LOOK: Duration = Duration::from_millis(10);

/// How long a server may take to leave before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// The programs, built.
#[derive(Debug)]
pub(super) struct Programs {
    /// `sortie-server-timed`.
    pub(super) server: PathBuf,
    /// `sortie`.
    pub(super) sortie: PathBuf,
    /// The ONNX Runtime library; the server loads it though nothing runs on it.
    pub(super) ort: PathBuf,
}

/// Where the programs come from.
#[derive(Debug, clap::Args)]
pub(super) struct Build {
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

/// Builds both programs, or finds them.
pub(super) fn build(build: &Build) -> anyhow::Result<Programs> {
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
    let folder = workspace::target()?.join(if profile == "dev" { "debug" } else { profile });
    Ok(of(&folder, ort))
}

/// What a timed server is like.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Milliseconds of a batch.
    pub(super) a_ms: f64,
    /// Microseconds of a token.
    pub(super) b_us: f64,
    /// Deviation of the noise's logarithm.
    pub(super) noise: f64,
    /// Most tokens in a batch.
    pub(super) max_batch: u32,
}

impl Shape {
    /// Tokens a second in full batches.
    pub(super) fn capacity(&self) -> f64 {
        let batch = f64::from(self.max_batch);
        batch * 1e6 / (self.a_ms * 1e3 + self.b_us * batch)
    }
}

/// One server that is kept running.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Holds its process id.
    pub(super) pid_file: PathBuf,
    /// Once this is there, it is not started again.
    pub(super) gone_file: PathBuf,
    /// Holds the factor its batches take longer by.
    slow_file: PathBuf,
    stop: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one on `ip` and waits until it accepts connections. With `port` 0 it gets a free one.
    pub(super) fn start(
        programs: &Programs,
        shape: &Shape,
        name: &str,
        (ip, port): (Ipv4Addr, u16),
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        let slow_file = scratch.join(format!("{name}.slow"));
        let Shape { a_ms, b_us, noise, max_batch } = shape;
        let model = format!("timed=timed:a_ms={a_ms},b_us={b_us},noise={noise},slow={}", slow_file.display());
        Self::start_model(programs, &model, *max_batch, name, (ip, port), scratch)
    }

    /// Starts one with the model of `spec`.
    pub(super) fn start_model(
        programs: &Programs,
        model: &str,
        max_batch: u32,
        name: &str,
        (ip, port): (Ipv4Addr, u16),
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        let port = if port == 0 { free_port(ip)? } else { port };
        let address = SocketAddr::from((ip, port));
        let [pid_file, gone_file, slow_file, log] =
            ["pid", "gone", "slow", "log"].map(|end| scratch.join(format!("{name}.{end}")));
        let arguments: Vec<String> = [
            "--listen",
            &address.to_string(),
            "--replica",
            name,
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
        let stop = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            program: programs.server.clone(),
            arguments,
            log: log.clone(),
            pid_file: pid_file.clone(),
            gone_file: gone_file.clone(),
            stop: Arc::clone(&stop),
        };
        let first = keeper.spawn()?;
        let keeper = thread::spawn(move || keeper.keep(first));
        let server = Self { address, pid_file, gone_file, slow_file, stop, keeper: Some(keeper) };
        let up = interrupt::poll(Some(START_LIMIT), || Ok(TcpStream::connect(address).is_ok().then_some(())))?;
        if up.is_none() {
            bail!("{name} does not listen; its log says\n{}", fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(server)
    }

    /// Makes its batches take so many times as long from now on.
    pub(super) fn slow(&self, factor: f64) -> anyhow::Result<()> {
        // Written whole or not at all: the server may be reading.
        let part = self.slow_file.with_extension("part");
        fs::write(&part, factor.to_string())
            .and_then(|()| fs::rename(&part, &self.slow_file))
            .with_context(|| format!("cannot write {}", self.slow_file.display()))
    }

    /// The process it is now.
    pub(super) fn pid(&self) -> Option<i32> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(keeper) = self.keeper.take() {
            // A keeper that panicked has nothing left to stop.
            let _ = keeper.join();
        }
    }
}

/// Starts a server again whenever it ends.
struct Keeper {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    pid_file: PathBuf,
    gone_file: PathBuf,
    stop: Arc<AtomicBool>,
}

impl Keeper {
    fn spawn(&self) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(&self.program);
        // Settings of the user's own servers must not reach these.
        for (key, _) in env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SORTIE_")) {
            command.env_remove(key);
        }
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        fs::write(&self.pid_file, child.id().to_string())
            .with_context(|| format!("cannot write {}", self.pid_file.display()))?;
        Ok(child)
    }

    fn keep(&self, mut child: Child) {
        let mut ended = None;
        while !self.stop.load(Ordering::Relaxed) {
            match (ended, child.try_wait()) {
                (None, Ok(None)) => {}
                (None, _) => {
                    // Its number may soon be another process's.
                    let _ = fs::remove_file(&self.pid_file);
                    ended = Some(Instant::now());
                }
                (Some(since), _) if since.elapsed() >= RESTART_AFTER && !self.gone_file.exists() => {
                    match self.spawn() {
                        Ok(next) => {
                            child = next;
                            ended = None;
                        }
                        Err(error) => eprintln!("warning: {error:#}"),
                    }
                }
                (Some(_), _) => {}
            }
            thread::sleep(LOOK);
        }
        leave(&mut child);
    }
}

/// Asks a process to leave, and kills it if it does not.
fn leave(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // One that is stopped must go on to hear of it.
        let _ = kill_process(pid, Signal::CONT);
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        thread::sleep(LOOK);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A port that is free now. Another process could take it before the server does; it would say so.
pub(super) fn free_port(ip: Ipv4Addr) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((ip, 0)).with_context(|| format!("cannot listen on {ip}"))?;
    Ok(listener.local_addr().context("a listener has no address")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_that_of_full_batches() {
        let shape = Shape { a_ms: 1.0, b_us: 1.0, noise: 0.0, max_batch: 1000 };
        assert!((shape.capacity() - 500_000.0).abs() < 1.0);
    }

    #[test]
    fn a_server_that_dies_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let [pid_file, gone_file, log] = ["pid", "gone", "log"].map(|end| dir.path().join(end));
        let arguments = ["600".to_owned()].to_vec();
        let keeper = Keeper {
            program: "sleep".into(),
            arguments,
            log,
            pid_file: pid_file.clone(),
            gone_file,
            stop: Arc::clone(&stop),
        };
        let first = keeper.spawn().unwrap();
        let old = first.id();
        let thread = thread::spawn(move || keeper.keep(first));
        let pid = || fs::read_to_string(&pid_file).ok().and_then(|t| t.parse::<u32>().ok());
        kill_process(Pid::from_raw(old as i32).unwrap(), Signal::KILL).unwrap();
        let new = loop {
            match pid() {
                Some(new) if new != old => break new,
                _ => thread::sleep(LOOK),
            }
        };
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        assert!(kill_process(Pid::from_raw(new as i32).unwrap(), Signal::CONT).is_err(), "it outlived its keeper");
    }
}
