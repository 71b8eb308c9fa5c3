//! A server process, well-behaved clients of it, and waits with an end.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sortie_proto::v1::{
    Input, ProbeRequest, RerankRequest, RerankResponse, encoder_service_client::EncoderServiceClient, input::Kind,
};
use tempfile::TempDir;
use tonic::{Request, Status, transport::Channel};

/// Longest wait for anything: minutes above what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) type Client = EncoderServiceClient<Channel>;

/// The program: what `SORTIE_TIMED_SERVER` names, else built once a test run.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = env::var_os("SORTIE_TIMED_SERVER") {
            return path.into();
        }
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Of the whole workspace, so that what it is made of is what the tests were built with, and is not built anew.
        let timed = ["--features", "sortie-server/timed", "--bin", "sortie-server-timed"];
        cargo.args(["build", "--workspace"]).args(timed);
        // What cargo says of this test's package would make build scripts run again, and much be built anew.
        for (key, _) in env::vars_os().filter(|(key, _)| about_package(&key.to_string_lossy())) {
            cargo.env_remove(key);
        }
        cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let out = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(out.status.success(), "the server cannot be built");
        let lines = String::from_utf8(out.stdout).expect("cargo prints text");
        let built = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut paths = built.filter_map(|line| line["executable"].as_str().map(PathBuf::from));
        paths.next().expect("cargo names the program")
    })
}

/// Whether cargo sets a variable for the package whose program it runs.
fn about_package(key: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"].iter().any(|p| key.starts_with(p))
}

/// A server process; killed when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    scratch: TempDir,
}

impl Server {
    /// Starts one whose batches take `a_ms` and `b_us` for each token, and waits until it takes requests.
    pub(crate) async fn start(a_ms: f64, b_us: f64, flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let addr_file = scratch.path().join("addr");
        let log = fs::File::create(scratch.path().join("log")).unwrap();
        let mut command = Command::new(program());
        for (key, _) in env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SORTIE_")) {
            command.env_remove(key);
        }
        command.args(["--listen", "127.0.0.1:0", "--model", &format!("timed=timed:a_ms={a_ms},b_us={b_us}")]);
        command.arg("--addr-file").arg(&addr_file).args(flags);
        command.arg("--admin-addr-file").arg(scratch.path().join("admin"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().unwrap();
        let address = until("the server takes requests", async || {
            if let Some(status) = child.try_wait().unwrap() {
                let log = fs::read_to_string(scratch.path().join("log")).unwrap_or_default();
                panic!("the server ended ({status}):\n{log}");
            }
            fs::read_to_string(&addr_file).ok()?.trim().parse().ok()
        })
        .await;
        Self { address, child, scratch }
    }

    /// The admin port, where it was asked for.
    pub(crate) fn admin(&self) -> SocketAddr {
        fs::read_to_string(self.scratch.path().join("admin")).unwrap().trim().parse().unwrap()
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        EncoderServiceClient::new(channel)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the server ends", async || self.child.try_wait().unwrap()).await
    }

    /// Whether it runs, and answers a new and an old client.
    pub(crate) async fn is_well(&mut self, old: &mut Client) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the server is gone: {}", self.log());
        let mut new = self.client().await;
        for client in [old, &mut new] {
            let answer = rerank(client, &["well"]).await;
            assert_eq!(answer.expect("a good client is answered").scores.len(), 1);
        }
    }

    /// Tokens that wait or run.
    pub(crate) async fn tokens(&self, client: &mut Client) -> u64 {
        let report = client.probe(ProbeRequest::default()).await.unwrap().into_inner().report.unwrap();
        report.queued_tokens + report.running_tokens
    }

    /// Resident memory in MiB.
    pub(crate) fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Open files and sockets.
    pub(crate) fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A rerank of these documents, which must be answered within a time that a test can wait.
pub(crate) async fn rerank(client: &mut Client, documents: &[&str]) -> Result<RerankResponse, Status> {
    let text = |text: &str| Input { kind: Some(Kind::Text(text.to_owned())) };
    let mut request = Request::new(RerankRequest {
        query: Some(text("query")),
        documents: documents.iter().map(|document| text(document)).collect(),
        ..RerankRequest::default()
    });
    request.set_timeout(PATIENCE);
    Ok(client.rerank(request).await?.into_inner())
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
}
