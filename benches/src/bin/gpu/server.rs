//! A server of its own process on this host, and what can be seen of it from outside: its metrics, its memory, its threads.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use xtask::server_process::{ServerProcess, unset_settings};

use crate::Common;

/// How long a server may take to load and capture its graphs.
const START: Duration = Duration::from_secs(180);

/// Name of the served model, short: names of threads have 15 letters.
pub(crate) const MODEL: &str = "r";

/// Clock ticks a second in `/proc`, the same on every Linux of today.
const TICKS: f64 = 100.0;

/// A server that ends with this value.
pub(crate) struct WatchedServer {
    process: ServerProcess,
    /// Where clients reach it.
    pub(crate) address: String,
    /// From its start until it took requests.
    pub(crate) start_up: Duration,
    _folder: tempfile::TempDir,
}

impl WatchedServer {
    /// Starts one with `model` on `devices`, with these variables too.
    pub(crate) fn start(
        common: &Common,
        model: &Path,
        devices: &str,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(&common.server);
        command.args(["--listen", "127.0.0.1:0", "--device", devices]);
        command.arg("--model").arg(format!("{MODEL}={}", model.display()));
        command.args(["--precision", common.precision.name(), "--gelu", common.gelu.name()]);
        command.arg(format!("--cuda-graphs={}", !common.no_graphs));
        unset_settings(&mut command).envs(variables.iter().copied());
        if let Some(library) = &common.ort_library {
            command.arg("--ort-library").arg(library);
        }
        let begun = Instant::now();
        let mut process = ServerProcess::spawn(command, "server", folder.path(), true)?;
        ServerProcess::wait_ready(std::slice::from_mut(&mut process), START)?;
        let address = format!("http://{}", process.address());
        Ok(Self { process, address, start_up: begun.elapsed(), _folder: folder })
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Whether it runs.
    pub(crate) fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// Status line and body of a page of its admin port.
    pub(crate) fn page(&self, path: &str) -> anyhow::Result<(String, String)> {
        let mut stream = TcpStream::connect(self.process.admin())?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.process.admin())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
    }

    /// Its metrics: name with labels, value.
    pub(crate) fn metrics(&self) -> anyhow::Result<Scrape> {
        let (status, body) = self.page("/metrics")?;
        ensure!(status.contains(" 200 "), "{status}");
        let rows = body.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Scrape(rows.collect()))
    }

    /// MiB that are resident.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib >> 10)
    }

    /// Seconds of processor time so far, by the threads' names without their numbers.
    pub(crate) fn threads(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        threads(self.process.id())
    }
}

/// Seconds of processor time so far of a process, by the threads' names without their numbers.
pub(crate) fn threads(process: u32) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut all = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may have ended since it was listed.
        let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')) else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // utime and stime are the 14th and 15th field, the state behind the name is the third.
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
        *all.entry(name).or_insert(0.0) += (ticks(11) + ticks(12)) / TICKS;
    }
    Ok(all)
}

/// A scrape.
pub(crate) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// The sum over all series of a metric.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let is = |full: &str| full == name || full.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        self.0.iter().filter(|(full, _)| is(full)).map(|(_, value)| value).sum()
    }

    /// Series of a metric, as they are written.
    pub(crate) fn series(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().filter(move |(full, _)| full.starts_with(name)).map(|(full, value)| (full.as_str(), *value))
    }
}
