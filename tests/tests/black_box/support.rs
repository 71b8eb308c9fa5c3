//! Processes of servers and gateways, well-behaved clients of them, and waits with an end.

use std::{
    env, fs,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sortie_proto::v1::{
    Input, ProbeRequest, RerankRequest, RerankResponse, encoder_service_client::EncoderServiceClient, input::Kind,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Request, Status, transport::Channel};

/// Longest wait for anything: minutes above what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) type Client = EncoderServiceClient<Channel>;

/// The programs that are tested.
struct BuiltPrograms {
    server: PathBuf,
    gateway: PathBuf,
}

/// The programs: what `SORTIE_TIMED_SERVER` and `SORTIE_GATEWAY` name, else built once a test run.
fn programs() -> &'static BuiltPrograms {
    static PROGRAMS: OnceLock<BuiltPrograms> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let named = |variable| env::var_os(variable).map(PathBuf::from);
        if let (Some(server), Some(gateway)) = (named("SORTIE_TIMED_SERVER"), named("SORTIE_GATEWAY")) {
            return BuiltPrograms { server, gateway };
        }
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Of the whole workspace, so that what it is made of is what the tests were built with, and is not built anew.
        let timed = ["--features", "sortie-server/timed", "--bin", "sortie-server-timed", "--bin", "sortie-gateway"];
        cargo.args(["build", "--workspace"]).args(timed);
        // What cargo says of this test's package would make build scripts run again, and much be built anew.
        for (key, _) in env::vars_os().filter(|(key, _)| about_package(&key.to_string_lossy())) {
            cargo.env_remove(key);
        }
        cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let out = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(out.status.success(), "the programs cannot be built");
        let lines = String::from_utf8(out.stdout).expect("cargo prints text");
        let built = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let paths: Vec<_> = built.filter_map(|line| line["executable"].as_str().map(PathBuf::from)).collect();
        let built = |name| paths.iter().find(|path| path.file_stem().is_some_and(|stem| stem == name)).cloned();
        BuiltPrograms {
            server: built("sortie-server-timed").expect("cargo names the server"),
            gateway: built("sortie-gateway").expect("cargo names the gateway"),
        }
    })
}

/// Whether cargo sets a variable for the package whose program it runs.
fn about_package(key: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"].iter().any(|p| key.starts_with(p))
}

/// A process of ours; killed when dropped.
pub(crate) struct ChildProcess {
    child: Child,
    scratch: TempDir,
}

impl ChildProcess {
    /// Starts a program, with `what` for people, and waits until it listens.
    async fn start(what: &str, program: &Path, flags: &[&str]) -> (Self, SocketAddr) {
        let scratch = tempfile::tempdir().unwrap();
        let log = fs::File::create(scratch.path().join("log")).unwrap();
        let mut command = Command::new(program);
        for (key, _) in env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SORTIE_")) {
            command.env_remove(key);
        }
        command.args(flags).arg("--addr-file").arg(scratch.path().join("addr"));
        command.arg("--admin-addr-file").arg(scratch.path().join("admin"));
        command.arg("--http-addr-file").arg(scratch.path().join("http"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let mut process = Self { child, scratch };
        let address = until(&format!("the {what} listens"), async || {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("the {what} ended ({status}):\n{}", process.log());
            }
            process.address("addr")
        })
        .await;
        (process, address)
    }

    /// The address that it wrote to one of its files.
    fn address(&self, file: &str) -> Option<SocketAddr> {
        fs::read_to_string(self.scratch.path().join(file)).ok()?.trim().parse().ok()
    }

    /// The admin port, where it was asked for.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.address("admin").unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the process ends", async || self.child.try_wait().unwrap()).await
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

    /// Its metrics as text.
    pub(crate) async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.admin()).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// The sum of a metric's lines that hold `label`, all of it where that is empty.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.metrics().await;
        let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(of_it).filter(|line| line.contains(label));
        let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!values.is_empty(), "{name} with {label} is not among the metrics:\n{text}");
        values.iter().sum()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: ChildProcess,
}

impl Server {
    /// Starts one whose batches take `a_ms` and `b_us` for each token, and waits until it takes requests.
    pub(crate) async fn start(a_ms: f64, b_us: f64, flags: &[&str]) -> Self {
        let model = format!("timed=timed:a_ms={a_ms},b_us={b_us}");
        let flags = [&["--listen", "127.0.0.1:0", "--model", &model], flags].concat();
        let (process, address) = ChildProcess::start("server", &programs().server, &flags).await;
        Self { address, process }
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        EncoderServiceClient::new(channel)
    }

    /// Whether it runs, and answers a new and an old client.
    pub(crate) async fn is_well(&mut self, old: &mut Client) {
        assert_eq!(self.process.child.try_wait().unwrap(), None, "the server is gone: {}", self.log());
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
}

impl Deref for Server {
    type Target = ChildProcess;

    fn deref(&self) -> &ChildProcess {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut ChildProcess {
        &mut self.process
    }
}

/// A gateway process.
pub(crate) struct GatewayProcess {
    /// Where it takes HTTP.
    pub(crate) http: SocketAddr,
    process: ChildProcess,
}

impl GatewayProcess {
    /// Starts one before these servers, on free ports, and waits until it knows them.
    pub(crate) async fn start(servers: &[Server], flags: &[&str]) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(anywhere, anywhere, servers, flags).await
    }

    /// Starts one that listens there.
    pub(crate) async fn start_at(grpc: SocketAddr, http: SocketAddr, servers: &[Server], flags: &[&str]) -> Self {
        let endpoints = servers.iter().map(|server| format!("http://{}", server.address)).collect::<Vec<_>>().join(",");
        let [grpc, http] = [grpc, http].map(|address| address.to_string());
        let own = ["--listen", &grpc, "--http", &http, "--admin", "127.0.0.1:0", "--endpoint", &endpoints];
        let (process, _) = ChildProcess::start("gateway", &programs().gateway, &[&own, flags].concat()).await;
        let http = until("the gateway listens for HTTP", async || process.address("http")).await;
        let gateway = Self { http, process };
        until("the gateway knows its servers", async || {
            let ready = gateway.metric("sortie_gateway_endpoints", "ready").await as usize;
            (ready == servers.len() && gateway.http_is_up().await).then_some(())
        })
        .await;
        gateway
    }

    /// Whether it says over HTTP that it is well.
    async fn http_is_up(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.http).await else { return false };
        let sent = stream.write_all(b"GET /health HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n").await;
        let mut answer = String::new();
        sent.is_ok() && stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200")
    }
}

impl Deref for GatewayProcess {
    type Target = ChildProcess;

    fn deref(&self) -> &ChildProcess {
        &self.process
    }
}

impl DerefMut for GatewayProcess {
    fn deref_mut(&mut self) -> &mut ChildProcess {
        &mut self.process
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
