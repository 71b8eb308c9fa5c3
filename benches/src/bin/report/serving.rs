//! A server of a real model in a process of its own, until it is dropped.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use sortie_benches::timed::{TimedServer, free_port};
use sortie_lab::bench::BenchTask;
use xtask::{interrupt, process::Owned, workspace};

use crate::{
    contender::{Contender, GivenContender, GivenPlace},
    tools::ReportTools,
};

/// How long one may take to listen: a first import of PyTorch from a slow disk, or OpenVINO's conversion.
const START_LIMIT: Duration = Duration::from_secs(240);

/// Tokens of a batch of our server: its default on processors.
const BATCH: u32 = 1_024;

/// What serves the libraries.
const SHIM: &str = "benches/rivals/shim.py";

/// One that runs, or that runs elsewhere.
pub(crate) struct ServingContender {
    /// Where it is asked.
    pub(crate) endpoint: String,
    /// What it is to be asked for.
    pub(crate) model: String,
    _process: Option<Owned>,
    _server: Option<TimedServer>,
}

impl ServingContender {
    /// Starts it with the model of a task.
    pub(crate) fn start(
        contender: &Contender,
        task: BenchTask,
        tools: &ReportTools,
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        let folder = model_folder(contender, task, tools, scratch)?;
        let port = free_port(Ipv4Addr::LOCALHOST)?;
        let name = task.name();
        let mut command = match contender {
            Contender::Sortie => {
                let model = format!("{name}={}", folder.display());
                let at = (Ipv4Addr::LOCALHOST, 0);
                let server = TimedServer::start_model(&tools.programs, (&model, BATCH), &[], name, at, scratch)?;
                return Ok(Self {
                    endpoint: format!("http://{}", server.address),
                    model: name.to_owned(),
                    _process: None,
                    _server: Some(server),
                });
            }
            Contender::Shim(backend) => {
                let mut command = tools.rivals()?.python();
                command.arg(workspace::root().join(SHIM)).arg(backend).arg(&folder).args([name, &port.to_string()]);
                command
            }
            Contender::Infinity => {
                let mut command = tools.infinity()?.module("infinity_emb.cli");
                command.args([
                    "v2",
                    "--engine",
                    "torch",
                    "--device",
                    "cpu",
                    "--url-prefix",
                    "/v1",
                    "--host",
                    "127.0.0.1",
                ]);
                command.args(["--port", &port.to_string(), "--served-model-name", name, "--model-id"]).arg(&folder);
                command
            }
            Contender::Given(GivenContender { place: GivenPlace::Address(_, address), .. }) => {
                let endpoint = address.clone();
                return Ok(Self { endpoint, model: name.to_owned(), _process: None, _server: None });
            }
            Contender::Given(GivenContender { name: kind, place: GivenPlace::Program(program) }) => {
                let mut command = Command::new(program);
                if kind == "vllm" {
                    command.arg("serve").arg(&folder).args(["--served-model-name", name, "--host", "127.0.0.1"]);
                } else {
                    command.arg("--model-id").arg(&folder).args(["--hostname", "127.0.0.1"]);
                    command.args(["--max-client-batch-size", "1024"]);
                }
                command.args(["--port", &port.to_string()]);
                command
            }
        };
        let log = scratch.join(format!("{}.log", contender.name()));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot share the log file")?;
        // Nothing may be fetched or told while something is measured.
        command.env("HF_HUB_OFFLINE", "1").env("DO_NOT_TRACK", "1").env("INFINITY_ANONYMOUS_USAGE_STATS", "0");
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let mut process = Owned::spawn(&mut command, contender.name())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let up = interrupt::poll(Some(START_LIMIT), || {
            if let Some(status) = process.ended()? {
                bail!("it ended ({status}); its log ends with\n{}", tail(&log));
            }
            Ok(TcpStream::connect(address).is_ok().then_some(()))
        })?;
        if up.is_none() {
            bail!("it does not listen after {} s; its log ends with\n{}", START_LIMIT.as_secs(), tail(&log));
        }
        let endpoint = format!("http://{address}");
        Ok(Self { endpoint, model: name.to_owned(), _process: Some(process), _server: None })
    }
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
}

/// The folder that a contender reads: the model's own, or one with an ONNX file in it.
fn model_folder(
    contender: &Contender,
    task: BenchTask,
    tools: &ReportTools,
    scratch: &Path,
) -> anyhow::Result<PathBuf> {
    match (task, contender.reads_onnx()) {
        (BenchTask::Embed, false) => tools.model("minilm"),
        (_, false) => tools.model("reranker"),
        (BenchTask::Embed, true) => {
            // The export has few of the files that libraries read; they are those of the model it was made of.
            let (model, export) = (tools.model("minilm")?, tools.model("minilm-onnx")?);
            let folder = scratch.join("minilm-with-onnx");
            fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            for item in fs::read_dir(&model).context("the model has no folder")? {
                let item = item?;
                symlink(item.path(), folder.join(item.file_name())).context("cannot link a file of the model")?;
            }
            symlink(export.join("onnx"), folder.join("onnx")).context("cannot link the export")?;
            Ok(folder)
        }
        (_, true) => tools.exported_reranker(),
    }
}
