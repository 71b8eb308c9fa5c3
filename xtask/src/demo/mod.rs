//! `cargo xtask demo`: real documents reranked by a real model on three real
//! server processes, from a fresh checkout.
//!
//! Builds the server, the gateway and the command-line tool, fetches what they need, starts
//! the servers, and does what a user would: calls `sortie rerank`, then
//! `sortie bench` while one server is slow, then `curl` to a gateway.

mod bench;
mod comparison;
mod corpus;
mod http;
mod outcome;
mod readme;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::{
    cache::Cache,
    fleet::{
        gateway::{GatewayPlan, LocalGateway},
        programs,
        servers::{FleetPlan, LocalFleet},
    },
    interrupt, models, ort,
    print::print,
    process, workspace,
};
use corpus::Document;

/// Servers: the fewest that show work being spread unevenly enough to be interesting.
const SERVERS: usize = 3;

/// Documents: a usual size of a reranking list.
const DOCUMENTS: usize = 200;

/// Results shown.
const SHOWN: &str = "10";

/// Deadline of the job: one slow core needs half a minute for it.
const DEADLINE: &str = "5m";

/// Name the servers give the model.
const MODEL: &str = "reranker";

/// `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to ask
    #[arg(default_value = "parse command line arguments")]
    query: String,
    /// Seconds each strategy is measured while a server gets slow half-way; 0 leaves that out
    #[arg(long, default_value_t = comparison::SECONDS)]
    seconds: u64,
    /// Take `sortie`, `sortie-server` and `sortie-gateway` from this folder instead of building them
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Leave the servers and the gateway running until Ctrl-C, and print calls to try and the page's address
    #[arg(long)]
    keep: bool,
}

/// Sets up, asks, prints, cleans up.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (ort, model) = {
        let cache = Cache::open()?;
        (ort::ensure(&cache)?, models::ensure(&cache, MODEL)?)
    };
    let bin = args.programs.clone().map_or_else(programs::build, Ok)?;
    let documents = corpus::collect(DOCUMENTS)?;
    if documents.len() < DOCUMENTS {
        println!("cargo's registry has only {} different READMEs to rank, fewer than {DOCUMENTS}", documents.len());
    }
    let scratch =
        tempfile::Builder::new().prefix("sortie-demo-").tempdir().context("cannot make a temporary folder")?;
    let threads = (workspace::cores() / SERVERS).max(1);
    println!("starting {SERVERS} servers, {threads} thread{} each", if threads == 1 { "" } else { "s" });
    let plan = FleetPlan {
        server: &bin.join("sortie-server"),
        ort: &ort,
        models: &[(MODEL.to_owned(), model)],
        threads,
        name: "demo",
        first_port: None,
        admin: false,
        scratch: scratch.path(),
    };
    let mut fleet = LocalFleet::start(&plan, SERVERS)?;
    for (name, address) in fleet.addresses() {
        println!("  {name} at {address}");
    }
    println!("asking {:?} of {} README openings", args.query, documents.len());
    let cli = bin.join("sortie");
    let lines = write_lines(&documents, scratch.path())?;
    let wall = ask(&cli, &fleet, &args.query, &lines).or_else(|error| {
        fleet.check()?;
        Err(error)
    })?;
    println!("the whole command took {:.2} s", wall.as_secs_f64());
    println!("the scores are those of a small model that was trained for this demo (docs/setup.md)");
    if args.seconds > 0 {
        let comparison = comparison::Comparison {
            cli: &cli,
            query: &args.query,
            seconds: args.seconds,
            bytes_s: documents.iter().map(|d| d.text.len()).sum::<usize>() as f64 / wall.as_secs_f64(),
        };
        print(&comparison.run(&fleet, &documents, scratch.path()).or_else(|error| {
            fleet.check()?;
            Err(error)
        })?)?;
    }
    let plan =
        GatewayPlan { program: &bin.join("sortie-gateway"), scratch: scratch.path(), name: "demo-gateway", port: None };
    let mut gateway = LocalGateway::start(&plan, &fleet)?;
    let job =
        http::HttpJob { cli: &cli, query: &args.query, documents: &documents, lines: &lines, scratch: scratch.path() };
    job.run(&gateway, &fleet).or_else(|error| {
        fleet.check()?;
        gateway.check()?;
        Err(error)
    })?;
    if args.keep {
        keep(&mut fleet, &mut gateway, &cli)?;
    }
    Ok(())
}

/// Writes the documents down as the command-line tool takes them.
fn write_lines(documents: &[Document], scratch: &Path) -> anyhow::Result<PathBuf> {
    let file = scratch.join("documents.jsonl");
    let lines: String = documents.iter().map(|d| format!("{}\n", json!({ "id": d.name, "text": d.text }))).collect();
    fs::write(&file, lines).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Asks through the command-line tool, which prints the best and where the time went; returns how long it took.
fn ask(cli: &Path, fleet: &LocalFleet, query: &str, lines: &Path) -> anyhow::Result<Duration> {
    let mut command = Command::new(cli);
    command
        .args(["rerank", query, "--model", MODEL, "--deadline", DEADLINE, "--top", SHOWN, "--timings", "--docs"])
        .arg(lines);
    command.env_remove("SORTIE_ENDPOINT").env_remove("SORTIE_TOKEN");
    for (_, address) in fleet.addresses() {
        command.arg("--endpoint").arg(format!("http://{address}"));
    }
    let start = Instant::now();
    let status = process::status(&mut command, "sortie")?;
    if !status.success() {
        bail!("sortie rerank failed ({status})");
    }
    Ok(start.elapsed())
}

/// Keeps the servers and the gateway until the user stops us.
fn keep(fleet: &mut LocalFleet, gateway: &mut LocalGateway, cli: &Path) -> anyhow::Result<()> {
    let Some(address) = fleet.addresses().next().map(|(_, a)| a.to_owned()) else { return Ok(()) };
    let endpoints: Vec<_> = fleet.addresses().map(|(_, a)| format!("http://{a}")).collect();
    let body = json!({
        "query": { "text": "parse command line arguments" },
        "documents": [{ "text": "A command line parser." }, { "text": "A hash map." }],
    });
    print(&format!(
        "\nthe servers and the gateway run until Ctrl-C; a page to try them on, and to watch them: http://{}/\n\
         or try\n\
         \x20 grpcurl -plaintext {address} list\n\
         \x20 grpcurl -plaintext -d '{body}' {address} sortie.v1.EncoderService/Rerank\n\
         \x20 {} --endpoint {} rerank 'a question' 'one text' 'another text'\n",
        gateway.http(),
        cli.display(),
        endpoints.join(",")
    ))?;
    // Ends by the signal or by a server's death.
    match interrupt::poll::<()>(None, || fleet.check().and_then(|()| gateway.check()).map(|()| None)) {
        Err(error) if error.is::<interrupt::Interrupted>() => Ok(()),
        other => other.map(drop),
    }
}
