//! The load generator: a Go program over grpc-go, built by `go` (benches/balancers/load).

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use xtask::{
    cache::Cache,
    digest,
    process::{self, Keep},
    workspace,
};

use crate::request::METHOD;

/// Where its source is.
const SOURCE: &str = "benches/balancers/load";

/// Files of it.
const FILES: [&str; 3] = ["main.go", "go.mod", "go.sum"];

/// Longest a request may take: queues of the slow server are refused before.
const DEADLINE: Duration = Duration::from_secs(2);

/// The program.
#[derive(Debug)]
pub(super) struct GrpcGenerator {
    program: PathBuf,
}

/// gRPC's balancers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcPolicy {
    RoundRobin,
    /// By load reports in trailers.
    WeightedByTrailers,
    /// By load reports as a stream.
    WeightedByStream,
}

/// What is offered.
#[derive(Debug)]
pub(super) struct Offered<'a> {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) policy: GrpcPolicy,
    /// File of the encoded request.
    pub(super) body: &'a Path,
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) warm_up: Duration,
    pub(super) counted: Duration,
}

/// What became of it.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Found {
    /// By server.
    answered: BTreeMap<String, u64>,
    /// By status code.
    failed: BTreeMap<String, u64>,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl GrpcGenerator {
    /// Builds it, once for its source.
    pub(super) fn build(cache: &Cache) -> anyhow::Result<Self> {
        let source = workspace::root().join(SOURCE);
        let mut all = Vec::new();
        for file in FILES {
            let path = source.join(file);
            all.extend(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        let folder = cache.entry("tools/grpc-go-load", &digest::bytes(&all), |folder| {
            eprintln!("building {SOURCE} (minutes the first time)");
            let mut go = Command::new("go");
            go.args(["build", "-mod=readonly", "-o"]).arg(folder.join("load")).arg(".");
            let out = process::output(go.env("CGO_ENABLED", "0").current_dir(&source), "go", Keep::Both)?;
            if !out.status.success() {
                bail!("go build failed: {}", out.stderr.trim());
            }
            Ok(())
        })?;
        Ok(Self { program: folder.join("load") })
    }

    /// Offers it.
    pub(super) fn run(&self, offered: &Offered<'_>) -> anyhow::Result<Found> {
        let Offered { addresses, policy, body, rate, warm_up, counted } = offered;
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let policy_name = match policy {
            GrpcPolicy::RoundRobin => "round_robin",
            GrpcPolicy::WeightedByTrailers | GrpcPolicy::WeightedByStream => "weighted_round_robin",
        };
        let mut command = Command::new(&self.program);
        command
            .args(["-addresses", &addresses.join(","), "-policy", policy_name, "-method", METHOD])
            .args(["-rate", &rate.to_string(), "-deadline", &format!("{}ms", DEADLINE.as_millis())])
            .args(["-warm-up", &format!("{}ms", warm_up.as_millis())])
            .args(["-counted", &format!("{}ms", counted.as_millis())])
            .arg(format!("-oob={}", *policy == GrpcPolicy::WeightedByStream))
            .arg("-body")
            .arg(body);
        let out = process::output(&mut command, "the load generator", Keep::Both)?;
        if !out.status.success() {
            bail!("the load generator failed: {}", out.stderr.trim());
        }
        serde_json::from_str(&out.stdout).context("the load generator printed something else than its figures")
    }
}

impl Found {
    /// Requests that were answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered.values().sum()
    }

    /// The others, by code.
    pub(super) fn failures(&self) -> String {
        if self.failed.is_empty() {
            return "0".to_owned();
        }
        self.failed.iter().map(|(code, n)| format!("{code} {n}")).collect::<Vec<_>>().join(", ")
    }
}
