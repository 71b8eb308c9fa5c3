//! `cargo xtask check`: what must hold besides the tests. Every step runs, so one
//! run tells everything; the first line of a failure is the tool's own.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::Command,
};

use anyhow::Context as _;

use crate::{
    cache::Cache,
    packages::{self, PackagePart},
    report,
    steps::Steps,
    workspace,
};

/// The `buf` tool, which lints the contract.
const BUF: PackagePart = PackagePart { package: "buf-bin", files: &[("bin/buf", "buf")] };

/// Path of `buf`; `None` where no package is known for this machine.
pub(crate) fn buf(cache: &Cache) -> anyhow::Result<Option<PathBuf>> {
    if BUF.pin().is_err() {
        return Ok(None);
    }
    packages::program(cache, "buf", &BUF).map(Some)
}

/// The feature of the timed server ([`crate::bench`]), which no other build has. It only adds code: all of it is linted
/// with the feature, and without it what is shipped, where the feature's absence could leave something unused.
const TIMED: &str = "sortie-server/timed";

/// Runs every step and fails if one did.
pub(crate) fn run() -> anyhow::Result<()> {
    // Of the whole workspace each: of one package alone its dependencies have other features, and are all built anew.
    let mut cargo_steps = vec![
        ("formatting", cargo(&["fmt", "--all", "--", "--check"])),
        ("lints", cargo(&["clippy", "--workspace", "--all-targets", "--features", TIMED, "--", "-D", "warnings"])),
        ("lints without timed", cargo(&["clippy", "--workspace", "--lib", "--bins", "--", "-D", "warnings"])),
        ("documentation", cargo(&["doc", "--workspace", "--no-deps"])),
        ("structure", cargo(&["test", "--quiet", "--workspace", "--test", "dependency_direction", "--test", "layout"])),
    ];
    if let Some((_, doc)) = cargo_steps.iter_mut().find(|(name, _)| *name == "documentation") {
        doc.env("RUSTDOCFLAGS", "-D warnings");
    }
    // Every file that a published crate needs is in its folder, and every crate it needs can be named. That each builds
    // from its package takes minutes and is for the day of a release.
    let mut packages = cargo(&["package", "--no-verify", "--allow-dirty", "--no-metadata", "--quiet"]);
    for name in workspace::published()? {
        packages.args(["-p", &name]);
    }
    cargo_steps.push(("packages", packages));
    let mut steps = Steps::default();
    for (name, command) in &mut cargo_steps {
        steps.run(name, command).context("is `rustup component add rustfmt clippy` missing?")?;
    }
    if report::folder().join(report::DATA).exists() {
        steps.take("report", report::check);
    }
    match buf(&Cache::open()?)? {
        Some(tool) => {
            let mut command = Command::new(tool);
            command.arg("lint").current_dir(workspace::root().join("proto"));
            steps.run("contract", &mut command)?;
        }
        None => eprintln!("contract: no buf is known for this machine; the contract is not linted here"),
    }
    steps.finish()
}

fn cargo(args: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(args);
    if !io::stderr().is_terminal() {
        command.env("CARGO_TERM_PROGRESS_WHEN", "never");
    }
    command
}
