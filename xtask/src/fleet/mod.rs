//! `cargo xtask fleet N`: a fleet with a gateway before it on one machine, to try clients, alerts and
//! dashboards on without Kubernetes.
//!
//! The servers share the machine's cores evenly. One that dies, or is killed to see
//! what clients do, is told of and the others go on.

pub(crate) mod gateway;
pub(crate) mod programs;
mod prometheus;
pub(crate) mod servers;

use std::{
    fs,
    num::{NonZeroU8, NonZeroUsize},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::{cache::Cache, interrupt, models, ort, print::print, workspace};
use gateway::{GatewayPlan, LocalGateway};
pub(crate) use prometheus::ALERTS;
use servers::{FleetPlan, LocalFleet};

/// Name that the demo's model is served under.
const MODEL: &str = "reranker";

/// `cargo xtask fleet`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many servers
    #[arg(default_value = "3")]
    servers: NonZeroU8,
    /// A model to serve, as NAME=FOLDER; repeat it for several; without it the demo's reranker
    #[arg(long, value_parser = model)]
    model: Vec<(String, PathBuf)>,
    /// Port of the first server, the next ones counting up, then the gateway's for gRPC and for HTTP; without it any
    /// free ones
    #[arg(long)]
    port: Option<u16>,
    /// Leave the gateway out
    #[arg(long)]
    no_gateway: bool,
    /// Threads of each server; without it the cores are shared out
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Where logs and prometheus.yml go; without it a folder that is removed at the end
    #[arg(long)]
    folder: Option<PathBuf>,
}

fn model(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, folder)) if !name.is_empty() && !folder.is_empty() => Ok((name.to_owned(), folder.into())),
        _ => Err("as NAME=FOLDER".to_owned()),
    }
}

/// Sets up, starts, prints, watches, ends.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (ort, models) = {
        let cache = Cache::open()?;
        let ort = ort::ensure(&cache)?;
        let demo = args.model.is_empty().then(|| models::ensure(&cache, MODEL)).transpose()?;
        (ort, demo.map_or_else(|| args.model.clone(), |folder| vec![(MODEL.to_owned(), folder)]))
    };
    let bin = programs::build()?;
    let scratch =
        tempfile::Builder::new().prefix("sortie-fleet-").tempdir().context("cannot make a temporary folder")?;
    let folder = args.folder.as_deref().unwrap_or(scratch.path());
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let count = usize::from(args.servers.get());
    let threads = args.threads.map_or_else(|| (workspace::cores() / count).max(1), NonZeroUsize::get);
    print(&format!("starting {count} servers, threads each: {threads}\n"))?;
    let plan = FleetPlan {
        server: &bin.join("sortie-server"),
        ort: &ort,
        models: &models,
        threads,
        scratch: folder,
        name: "fleet",
        first_port: args.port,
        admin: true,
    };
    let mut fleet = LocalFleet::start(&plan, count)?;
    let mut gateway = if args.no_gateway { None } else { Some(before(&fleet, args.port, &bin, folder)?) };
    let prometheus = folder.join("prometheus.yml");
    let admin: Vec<_> = fleet.admin_addresses().collect();
    let Some(first) = models.first() else { bail!("there is no model to serve") };
    let text = prometheus::config(&admin, gateway.as_ref().map(LocalGateway::admin), &first.0, &workspace::root());
    fs::write(&prometheus, text).with_context(|| format!("cannot write {}", prometheus.display()))?;
    print(&summary(&fleet, gateway.as_ref(), &bin, folder, &prometheus))?;
    match watch(&mut fleet, &mut gateway) {
        Err(error) if error.is::<interrupt::Interrupted>() => Ok(()),
        other => other,
    }
}

/// Starts the gateway; its ports follow the servers'.
fn before(fleet: &LocalFleet, first: Option<u16>, bin: &Path, folder: &Path) -> anyhow::Result<LocalGateway> {
    let port = first.map(|first| u16::try_from(usize::from(first) + fleet.addresses().count())).transpose();
    let port = port.context("the gateway would have a port above 65535")?;
    let plan = GatewayPlan { program: &bin.join("sortie-gateway"), scratch: folder, name: "gateway", port };
    LocalGateway::start(&plan, fleet)
}

/// What is there and what to try.
fn summary(fleet: &LocalFleet, gateway: Option<&LocalGateway>, bin: &Path, folder: &Path, prometheus: &Path) -> String {
    let mut text = String::new();
    for ((name, address), admin) in fleet.addresses().zip(fleet.admin_addresses()) {
        text += &format!("  {name} at {address}, metrics at http://{admin}/metrics\n");
    }
    let mut http = String::new();
    if let Some(gateway) = gateway {
        text += &format!(
            "  gateway at {} (gRPC) and http://{}/ (HTTP), metrics at http://{}/metrics\n",
            gateway.address(),
            gateway.http(),
            gateway.admin()
        );
        http = format!(
            "\x20 curl http://{}/rerank -H 'content-type: application/json' -d '{{\"query\": \"a question\", \"texts\": [\"one text\", \"another\"]}}'\n",
            gateway.http()
        );
    }
    let endpoints: Vec<_> = fleet.addresses().map(|(_, address)| format!("http://{address}")).collect();
    text + &format!(
        "\nthey run until Ctrl-C; logs are in {}; try\n\
         \x20 {} --endpoint {} rerank 'a question' 'one text' 'another text'\n\
         {http}\
         \x20 prometheus --config.file={} --storage.tsdb.path={}\n",
        folder.display(),
        bin.join("sortie").display(),
        endpoints.join(","),
        prometheus.display(),
        folder.join("prometheus").display(),
    )
}

/// Tells of servers that die, and of the gateway; ends by the user's signal, or when no server is left.
fn watch(fleet: &mut LocalFleet, gateway: &mut Option<LocalGateway>) -> anyhow::Result<()> {
    loop {
        let dead = interrupt::poll(None, || {
            if let Some((status, tail)) = gateway.as_mut().map(LocalGateway::exited).transpose()?.flatten() {
                *gateway = None;
                return Ok(Some(("gateway".to_owned(), status, tail)));
            }
            fleet.reap_exited()
        })?;
        // The terminal's Ctrl-C reaches the servers too.
        interrupt::check()?;
        let Some((name, status, tail)) = dead else { continue };
        print(&format!("{name} ended ({status}); its log ends with\n{tail}\n"))?;
        if fleet.is_empty() {
            bail!("no server is left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_a_name_and_a_folder() {
        assert_eq!(model("m=/a=b"), Ok(("m".to_owned(), "/a=b".into())));
        for wrong in ["m", "=/a", "m=", ""] {
            assert!(model(wrong).is_err(), "{wrong}");
        }
    }
}
