//! A server of its own process on this host, and what can be seen of it from outside: its metrics, its memory, its threads.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::Common;

/// How long a server may take to load and capture its graphs.
const START: Duration = Duration::from_secs(180);

/// Between two looks at whether it is ready.
const LOOK: Duration = Duration::from_millis(20);

/// Name of the served model, short: names of threads have 15 letters.
pub(crate) const MODEL: &str = "r";

/// Clock ticks a second in `/proc`, the same on every Linux of today.
const TICKS: f64 = 100.0;

/// A server that ends with this value.
pub(crate) struct WatchedServer {
    child: Child,
    pub(crate) address: String,
    admin: String,
    /// From its start until it took requests.
    pub(crate) start_up: Duration,
    folder: tempfile::TempDir,
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
        let (file, admin_file) = (folder.path().join("address"), folder.path().join("admin"));
        let mut command = Command::new(&common.server);
        command.args(["--listen", "127.0.0.1:0", "--device", devices, "--addr-file"]).arg(&file);
        command.args(["--admin", "127.0.0.1:0", "--admin-addr-file"]).arg(&admin_file);
        command.arg("--model").arg(format!("{MODEL}={}", model.display())).stdin(Stdio::null());
        command.args(["--precision", common.precision.name()]);
        command.args(["--gelu", common.gelu.name()]);
        command.arg(format!("--cuda-graphs={}", !common.no_graphs));
        command.envs(variables.iter().copied());
        let log = fs::File::create(folder.path().join("log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        if let Some(library) = &common.ort_library {
            command.arg("--ort-library").arg(library);
        }
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {}", common.server.display()))?;
        let (address, admin, start_up) = (String::new(), String::new(), Duration::ZERO);
        let mut server = Self { child, address, admin, start_up, folder };
        while begun.elapsed() < START {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended: {status}\n{}", server.log());
            }
            if let Ok(address) = fs::read_to_string(&file)
                && !address.trim().is_empty()
            {
                server.start_up = begun.elapsed();
                server.address = format!("http://{}", address.trim());
                server.admin = fs::read_to_string(&admin_file)?.trim().to_owned();
                return Ok(server);
            }
            thread::sleep(LOOK);
        }
        bail!("the server was not ready in {START:?}\n{}", server.log())
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Whether it runs.
    pub(crate) fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Status line and body of a page of its admin port.
    pub(crate) fn page(&self, path: &str) -> anyhow::Result<(String, String)> {
        let mut stream = TcpStream::connect(&self.admin)?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.admin)?;
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
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib >> 10)
    }

    /// Seconds of processor time so far, by the threads' names without their numbers.
    pub(crate) fn threads(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        threads(self.child.id())
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

impl Drop for WatchedServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
