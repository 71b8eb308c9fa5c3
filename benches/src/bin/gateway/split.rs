//! `baseten-performance-client` in a Python process: a fixed split by count, all chunks sent at once to one address.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};
use xtask::{cache::Cache, site::Site, workspace};

use crate::{texts::TextJob, ways::WayAnswer};

/// What it is pinned by.
const LOCK: &str = "benches/gateway/requirements.txt";

/// What runs it.
const PROGRAM: &str = "benches/gateway/fixed_split.py";

/// The packages.
#[derive(Debug)]
pub(super) struct SplitClient(Site);

/// One that runs.
#[derive(Debug)]
pub(super) struct SplitCaller {
    // Killed when dropped.
    _child: Child,
    jobs: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SplitAnswer {
    Failed { error: String },
    Scored { seconds: f64, scores: Vec<f32> },
}

impl SplitClient {
    /// Finds or fetches it.
    pub(super) fn find(cache: &Cache) -> anyhow::Result<Self> {
        Ok(Self(Site::ensure(cache, "fixed-split", LOCK)?))
    }

    /// Starts one that sends chunks of so many documents to `address`.
    pub(super) fn start(&self, address: SocketAddr, chunk: usize) -> anyhow::Result<SplitCaller> {
        let mut command = Command::from(self.0.python());
        command.arg(workspace::root().join(PROGRAM)).args([format!("http://{address}"), chunk.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start Python")?;
        let (jobs, answers) = (child.stdin.take(), child.stdout.take());
        let (jobs, answers) = jobs.zip(answers).context("Python has no pipes")?;
        Ok(SplitCaller { _child: child, jobs, answers: BufReader::new(answers).lines() })
    }
}

impl SplitCaller {
    /// Scores of a job, and how long they took there.
    pub(super) async fn scores(&mut self, job: &TextJob) -> anyhow::Result<WayAnswer> {
        let mut line = serde_json::to_vec(job).context("a job is no JSON")?;
        line.push(b'\n');
        self.jobs.write_all(&line).await.context("Python takes no jobs")?;
        self.jobs.flush().await.context("Python takes no jobs")?;
        let answer = self.answers.next_line().await?.with_context(|| format!("{PROGRAM} ended"))?;
        match serde_json::from_str(&answer).context("Python printed something else")? {
            SplitAnswer::Failed { error } => bail!("{error}"),
            SplitAnswer::Scored { seconds, scores } => {
                Ok(WayAnswer { scores, took: Duration::try_from_secs_f64(seconds)?, own_json: Duration::ZERO })
            }
        }
    }
}
