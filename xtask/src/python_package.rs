//! `cargo xtask python`: the checks and tests of the Python package in `python/`, against the server built here.
//!
//! The tools, and what the package depends on, are pinned by digest in `python/requirements.lock` and live in the cache.
//! The types and the style are checked first, for they take seconds; the tests compare the generated files with what
//! `python/tools/generate.py` makes, and start servers on the tiny models of `tests/oracle`.

use std::{
    path::{self, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{cache::Cache, ort, process, site::Site, steps::Steps, workspace};

/// `cargo xtask python`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Make the generated files anew in place of checking anything
    #[arg(long)]
    generate: bool,
    /// Test this server rather than one built here
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Passed on to pytest
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Fetches, builds the server, runs every step and fails if one did.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (site, library) = {
        let cache = Cache::open()?;
        (Site::ensure(&cache, "package", "python/requirements.lock")?, ort::ensure(&cache)?)
    };
    if args.generate {
        return process::run(module(&site, "generate").current_dir(folder().join("tools")), "generate.py");
    }
    let server = match &args.server {
        Some(file) => path::absolute(file).with_context(|| format!("cannot find {}", file.display()))?,
        None => {
            process::run(workspace::cargo().args(["build", "-p", "sortie-server"]), "cargo build")?;
            workspace::target()?.join("debug/sortie-server")
        }
    };
    let mut steps = Steps::default();
    steps.run("format", module(&site, "ruff").args(["format", "--check"]))?;
    steps.run("lints", module(&site, "ruff").arg("check"))?;
    steps.run("types", &mut module(&site, "mypy"))?;
    let mut tests = module(&site, "pytest");
    tests.args(["-q", "-p", "no:cacheprovider"]).args(&args.rest);
    steps.run("tests", tests.env("SORTIE_SERVER", server).env("ORT_DYLIB_PATH", library))?;
    steps.finish()
}

/// The package.
fn folder() -> PathBuf {
    workspace::root().join("python")
}

/// A module of the tools, run in the package's folder.
fn module(site: &Site, name: &str) -> Command {
    let mut command = site.module(name);
    command.current_dir(folder());
    command
}
