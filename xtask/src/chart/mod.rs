//! `cargo xtask chart`: what `deploy/` holds, checked by the tools of its users.
//!
//! Helm 3 and 4 lint and render every example; the manifests are held against the
//! schemas of Kubernetes and of the operators, against policies and against what
//! `deploy/tests` says of them; Prometheus' own tool reads and tests the alerts. No
//! cluster is needed. Every tool is fetched first, pinned, into the cache.

mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    cache::Cache,
    fleet::ALERTS,
    process::{self, Keep},
    site::Site,
    steps::Steps,
    workspace,
};
use tools::{Helms, Tools};

/// `cargo xtask chart`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Without the policies, whose tool is half of what is fetched
    #[arg(long)]
    fast: bool,
    /// The server that reads rendered configurations; without it the newest in target/debug and target/release
    #[arg(long)]
    server: Option<PathBuf>,
    /// The gateway that reads rendered configurations; without it the newest in target/debug and target/release
    #[arg(long)]
    gateway: Option<PathBuf>,
}

/// Fetches, runs every check and fails if one did.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let tools = Tools::ensure(&Cache::open()?, !args.fast)?;
    let programs =
        [("sortie-server", "SORTIE_SERVER", &args.server), ("sortie-gateway", "SORTIE_GATEWAY", &args.gateway)];
    let mut readers = Vec::new();
    for (program, variable, named) in programs {
        let found = match named {
            Some(path) => Some(fs::canonicalize(path).with_context(|| format!("no {program} at {}", path.display()))?),
            None => newest_build(program)?,
        };
        match found {
            Some(path) => {
                println!("rendered configurations are read by {}", path.display());
                readers.push((variable, path));
            }
            None => eprintln!(
                "no {program} is built here, so none reads the rendered configurations: cargo build -p {program}"
            ),
        }
    }
    let deploy = workspace::root().join("deploy");
    let mut steps = Steps::default();

    let Helms { newest, oldest } = &tools.helms;
    let mut manifests = pytest(&tools.checks, newest, &readers, &deploy);
    manifests.envs(oldest.as_ref().map(|path| ("HELM_OLD", path)));
    steps.run("chart", &mut manifests)?;
    if let Some(oldest) = oldest {
        // The first run showed that both render the same of every set, and looked at that.
        steps.run("chart, helm 3", pytest(&tools.checks, oldest, &[], &deploy).env("HELM_ALIKE", "1"))?;
    }

    for (name, words) in [("alerts", ["check", "rules"]), ("alerts' tests", ["test", "rules"])] {
        let file =
            if name == "alerts" { workspace::root().join(ALERTS) } else { deploy.join("tests/alerts_test.yaml") };
        steps.run(name, Command::new(&tools.promtool).args(words).arg(file))?;
    }
    let mut scrapes = Command::new(&tools.promtool);
    scrapes.args(["check", "config", "--syntax-only"]).arg(deploy.join("prometheus.yml"));
    steps.run("scrape configuration", &mut scrapes)?;

    steps.run("Dockerfile", Command::new(&tools.hadolint).arg(deploy.join("Dockerfile")))?;
    let mut compose = tools.checks.module("check_jsonschema");
    compose.args(["--builtin-schema", "vendor.compose-spec"]);
    compose.args(["compose.yaml", "compose-tei.yaml"].map(|file| deploy.join(file)));
    steps.run("compose files", &mut compose)?;

    if let Some(checkov) = &tools.checkov {
        let rendered = tempfile::tempdir().context("cannot make a temporary folder")?;
        render_examples(newest, &deploy, rendered.path())?;
        fs::copy(deploy.join("Dockerfile"), rendered.path().join("Dockerfile"))
            .context("cannot copy the Dockerfile")?;
        let mut policies = checkov.module("checkov.main");
        policies.arg("--config-file").arg(deploy.join("tests/checkov.yaml"));
        policies.arg("--directory").arg(rendered.path());
        steps.run("policies", &mut policies)?;
    }
    steps.finish()
}

/// The tests of the chart, with one helm; `readers` are variables and the programs they name.
fn pytest(checks: &Site, helm: &Path, readers: &[(&str, PathBuf)], deploy: &Path) -> Command {
    let mut command = checks.module("pytest");
    command.args(["-q", "-p", "no:cacheprovider"]).arg(deploy.join("tests"));
    command.env("HELM", helm);
    for variable in ["HELM_ALIKE", "HELM_OLD", "SORTIE_SERVER", "SORTIE_GATEWAY"] {
        command.env_remove(variable);
    }
    command.envs(readers.iter().map(|(variable, path)| (*variable, path)));
    command
}

/// Each example as one file of manifests.
fn render_examples(helm: &Path, deploy: &Path, into: &Path) -> anyhow::Result<()> {
    let examples = deploy.join("examples");
    for item in fs::read_dir(&examples).with_context(|| format!("cannot list {}", examples.display()))? {
        let values = item?.path();
        let Some(name) = values.file_name() else { continue };
        let mut command = Command::new(helm);
        command.args(["template", "r"]).arg(deploy.join("helm/sortie")).args(["--namespace", "ns", "--values"]);
        let out = process::output(command.arg(&values), "helm", Keep::Both)?;
        anyhow::ensure!(out.status.success(), "helm does not render {}: {}", values.display(), out.stderr.trim());
        let file = into.join(name);
        fs::write(&file, out.stdout).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The program of this name that was built last, if any was.
fn newest_build(program: &str) -> anyhow::Result<Option<PathBuf>> {
    let target = workspace::target()?;
    let built = ["debug", "release"].map(|profile| target.join(profile).join(program));
    Ok(built
        .into_iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok()))
}
